package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
)

// # Jobs that wait for jobs
//
// The journal decides: it appends the events of the jobs that wait for a job together with the end of that job. On one server the
// executor follows: it reads the view of a waiting job when it is held, and after each end of a job that it waits for.

// An afterResolver resolves the jobs that the submissions of a request wait for.
type afterResolver struct {
	e   *Executor
	now time.Time
	// ids and unmet have the ids of the jobs of the request, and the ends of those that end with their submission.
	ids   []job.ID
	unmet []*job.Finished
	views map[job.ID]job.State
}

// resolve sets the id of job i of a request, and what it waits for.
func (r *afterResolver) resolve(ctx context.Context, i int, s *job.Submission, own *job.Job, prefix string, faults *fields.Errors) error {
	own.ID = job.NewID()
	r.ids[i] = own.ID
	if len(s.After) == 0 {
		return nil
	}
	longest := r.e.cfg.MaxStartAfter
	if own.AfterTimeout = s.AfterTimeout; s.AfterTimeout > longest {
		faults.Add(prefix+"/after_timeout", "at most %s", longest)
	} else if s.AfterTimeout == 0 {
		own.AfterTimeout = longest
	}
	own.After = make([]job.ID, len(s.After))
	for k, d := range s.After {
		id, state := d.ID, job.Queued
		if id == (job.ID{}) {
			if id = r.ids[d.Index]; r.unmet[d.Index] != nil {
				state = job.Cancelled
			}
		} else {
			var err error
			state, err = r.state(ctx, s.Tenant, id)
			switch {
			case errors.Is(err, job.ErrNotFound):
				faults.Add(fmt.Sprintf("%s/after/%d", prefix, k), "no job has this id; GET /v1/jobs lists the jobs")
			case errors.Is(err, job.ErrExpired):
				faults.Add(fmt.Sprintf("%s/after/%d", prefix, k), "the job was deleted, or its retention has passed; leave it out if it had succeeded")
			case err != nil:
				return err
			}
		}
		if own.After[k] = id; state == job.Succeeded {
			continue
		}
		own.Waits |= 1 << k
		if state.Terminal() && r.unmet[i] == nil {
			r.unmet[i] = &job.Finished{At: r.now, State: job.Cancelled, Failure: job.DependencyFailure(id, state)}
		}
	}
	return nil
}

// tooManyDependents returns where a submission has a job that too many jobs wait for.
func tooManyDependents(entries []job.Entry, full *job.TooManyDependentsError) error {
	i := slices.IndexFunc(entries, func(e job.Entry) bool { return e.ID == full.Job })
	prefix := ""
	if len(entries) > 1 {
		prefix = fmt.Sprintf("/jobs/%d", i)
	}
	k := slices.Index(entries[i].Events[0].(job.Submitted).Job.After, full.After)
	return fields.Invalidf(fmt.Sprintf("%s/after/%d", prefix, k), "%d jobs wait for this job already, and no more may: wait for one of "+
		"them, or for a job that follows this one", job.MaxDependents)
}

// state returns the state of a job.
func (r *afterResolver) state(ctx context.Context, tenant string, id job.ID) (job.State, error) {
	if state, ok := r.views[id]; ok {
		return state, nil
	}
	view, err := r.e.cfg.Journal.Get(ctx, tenant, id)
	if err != nil {
		return 0, err
	}
	if r.views == nil {
		r.views = make(map[job.ID]job.State)
	}
	r.views[id] = view.State
	return view.State, nil
}

// hold holds the jobs that wait for others, and returns the other jobs.
func (e *Executor) hold(execs []*jobExecution) (others []*jobExecution) {
	for _, x := range execs {
		if x.job.Waits == 0 {
			others = append(others, x)
			continue
		}
		e.mu.Lock()
		x.waits = true
		for id := range x.job.Pending() {
			if e.dependents[id] == nil {
				e.dependents[id] = make(map[*jobExecution]struct{})
			}
			e.dependents[id][x] = struct{}{}
		}
		e.mu.Unlock()
		x.mu.Lock()
		if x.ending == nil {
			x.start = e.timers.set(x.due.Add(x.job.AfterTimeout-x.job.Delay), x.waitedTooLong)
		}
		x.mu.Unlock()
		e.reread(x) // a job that it waits for may have ended since the submission
	}
	return others
}

// stopWaiting removes a job from the jobs that wait. Caller holds e.mu.
func (e *Executor) stopWaiting(x *jobExecution) (waited bool) {
	if !x.waits {
		return false
	}
	x.waits = false
	for id := range x.job.Pending() {
		if delete(e.dependents[id], x); len(e.dependents[id]) == 0 {
			delete(e.dependents, id)
		}
	}
	return true
}

// dependencyEnded is called when the end of a job is durable. It does not block.
func (e *Executor) dependencyEnded(id job.ID) {
	e.mu.Lock()
	waiting := e.dependents[id]
	delete(e.dependents, id)
	e.mu.Unlock()
	if len(waiting) > 0 {
		e.timers.set(time.Now(), func(time.Time) {
			for x := range waiting {
				e.reread(x)
			}
		})
	}
}

// reread reads the view of a job that waits for others, and starts or drops the job when it waits no longer.
func (e *Executor) reread(x *jobExecution) {
	view, err := e.cfg.Journal.Get(e.work, x.job.Tenant, x.job.ID)
	switch {
	case errors.Is(err, job.ErrNotFound), errors.Is(err, job.ErrExpired): // it was ended, and then deleted
		view.State = job.Cancelled
		x.endedByOther(&view)
	case err != nil:
		if e.work.Err() == nil {
			x.log().Warn("read a job that waits for other jobs; trying again", "error", err)
			e.timers.set(time.Now().Add(retryPause), func(time.Time) { e.reread(x) })
		}
	case view.State.Terminal():
		x.endedByOther(&view)
	case view.Waits == 0:
		x.stopWaiting(&view)
	}
}

// stopWaiting queues a job that waits for no job any longer.
func (x *jobExecution) stopWaiting(view *job.Job) {
	x.mu.Lock()
	if x.ending != nil || x.state != job.Queued {
		x.mu.Unlock()
		return
	}
	x.e.mu.Lock()
	waited := x.e.stopWaiting(x)
	if waited {
		x.job.Waits, x.job.ReleasedAt = 0, view.ReleasedAt
		x.delayed = true // until queueJobs
	}
	x.e.mu.Unlock()
	x.e.timers.clear(x.start)
	x.mu.Unlock()
	if waited {
		x.e.queueJobs([]*jobExecution{x})
	}
}

// endedByOther drops a job that the end of another has ended.
func (x *jobExecution) endedByOther(view *job.Job) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state.Terminal() {
		return
	}
	how := job.Finished{At: view.FinishedAt, State: view.State, Failure: view.Failure}
	x.end(errCancelled, how)
	x.state = how.State
	x.e.timers.clear(x.start)
	x.freePlan()
	x.e.release(x)
	x.recordEnd(&how)
	x.e.dependencyEnded(x.job.ID)
}

// waitedTooLong is the callback of the timeout of the wait for other jobs.
func (x *jobExecution) waitedTooLong(time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.e.mu.Lock()
	waits := x.waits
	x.e.mu.Unlock()
	if waits {
		x.end(errCancelled, x.job.WaitTooLong())
		x.finishIfIdle()
	}
}
