package executor

import (
	"context"
	"errors"
	"sync"
	"time"

	"gather/internal/job"
)

// A run is the execution of a job on this node: of an admitted one from admission to its last event, and of a cluster's job
// from the first lease to the last.
//
// Lock order: run.mu before Executor.mu. Whoever decides on an event holds run.mu until the event is appended, so the
// journal sees the events of a job in the order in which they were decided.
type run struct {
	planned             // its startedAt, closed and traced are guarded by mu
	reducer job.Reducer // nil until the first task is done

	// ctx is the context of the job's tasks; its cause tells a cancel from a stop.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Guarded by Executor.mu.
	nextTask int    // the next task that was never handed out
	ticket   uint64 // place among the new jobs of its priority
	fresh    bool   // among the new jobs
	dead     bool   // takes no more turns
	counted  bool   // in the admission counts
	unsynced int64  // bytes of results that wait for the disk
	held     bool   // has tasks, and waits for its results to be synced
	delayed  bool   // its start has not come

	mu    sync.Mutex
	state job.State
	// unsaid is the Started event as long as it is not appended: a job of one short task says it with its end.
	unsaid bool
	busy   int // steps under way
	done   int // tasks finished
	// ending is how the job will end once busy is 0; nil while it runs normally.
	ending *job.Finished
	parked map[*alarm]unit // tasks that wait on a timer
	start  *alarm          // of a delayed start
	// due is when the start comes that was given as a duration, on the monotonic clock.
	due     time.Time
	timeout *alarm

	// finished tells, after a recovery, which tasks are done; steps has what is known of unfinished ones. Both are nil
	// for a job that was not recovered, and not changed after recovery.
	finished []bool
	steps    map[int][]job.Advanced
	// results are the bytes of results and partials so far.
	results int64
	// completed counts the items that are no longer waiting.
	completed int64

	part *part // of a job of a cluster; else nil
}

func (e *Executor) newRun(p planned) *run {
	r := &run{planned: p, state: p.job.State, due: time.Now().Add(p.job.Delay)}
	r.ctx, r.cancel = context.WithCancelCause(e.work)
	return r
}

// after returns the first unfinished task behind task i.
func (r *run) after(i int) int {
	for i++; i < len(r.finished) && r.finished[i]; i++ {
	}
	return i
}

// startedDelay is how long the news that a job has started may wait for company on its way to disk.
const startedDelay = 2 * time.Millisecond

// checkpointDelay is the same for a checkpoint that shows a client nothing but progress.
const checkpointDelay = 50 * time.Millisecond

// begin registers a step. It reports false when the job takes no more turns. Caller holds r.mu.
func (r *run) begin(now time.Time) bool {
	if r.ending != nil || r.state.Terminal() {
		return false
	}
	if r.state == job.Queued {
		r.state, r.startedAt, r.started, r.unsaid = job.Running, r.e.wall(), now, true
		r.startTrace(now, false)
		r.series.started(&r.planned, r.startedAt)
		r.armTimeout()
		if !r.size.Short() {
			r.append(startedDelay)
		}
	}
	r.busy++
	return true
}

func (r *run) armTimeout() {
	if r.job.Timeout > 0 {
		r.timeout = r.e.alarms.set(r.started.Add(r.job.Timeout), r.expire)
	}
}

// append writes events, led by Started if that was not said yet. Caller holds r.mu.
func (r *run) append(delay time.Duration, events ...job.Event) {
	r.appendDone(delay, nil, events...)
}

func (r *run) appendDone(delay time.Duration, done func(error), events ...job.Event) {
	r.appendBatch(job.Batch{Delay: delay, Done: done}, events...)
}

// appendBatch adds the events to a batch and appends it. Caller holds r.mu.
func (r *run) appendBatch(b job.Batch, events ...job.Event) {
	if r.unsaid {
		r.unsaid = false
		events = append([]job.Event{job.Started{At: r.startedAt}}, events...)
	}
	b.Entries = []job.Entry{{ID: r.job.ID, Events: events}}
	err := r.e.cfg.Journal.Append(r.e.work, b)
	if err == nil {
		return
	}
	if b.Done != nil {
		b.Done(err)
	}
	// At a stop the work is resumed from the journal; a refused submission has no job any more.
	if context.Cause(r.e.work) == nil && !errors.Is(context.Cause(r.ctx), job.ErrStorage) {
		r.log().Error("append events", "error", err)
	}
}

// end decides how the job ends, unless that was decided before, and stops its tasks. Caller holds r.mu.
func (r *run) end(cause error, how job.Finished) {
	if r.ending != nil || r.state.Terminal() {
		return
	}
	r.ending = &how
	r.cancel(cause)
	for al := range r.parked {
		r.e.alarms.clear(al)
	}
	r.parked = nil
	r.e.bury(r)
}

// bury takes a run out of the queue.
func (e *Executor) bury(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !r.dead {
		r.dead = true
		e.queue.abandon(r)
	}
}

// settle writes the job's last event if it is decided and no step is under way. Caller holds r.mu.
func (r *run) settle(before ...job.Event) {
	if r.ending == nil || r.busy > 0 || r.state.Terminal() {
		if len(before) > 0 {
			r.append(0, before...)
		}
		if r.state.Terminal() && r.busy == 0 {
			r.letGo() // a refused job, whose last step has just ended
		}
		return
	}
	how := *r.ending
	how.At = r.e.wall()
	r.state = how.State
	r.cancel(errCancelled) // frees the context; the cause no longer matters
	r.e.alarms.clear(r.start)
	r.e.alarms.clear(r.timeout)
	r.endTrace(&how)
	r.appendDone(0, func(err error) {
		if err != nil {
			return
		}
		r.recordEnd(&how)
	}, append(before, how)...)
	r.letGo()
	r.e.release(r)
	r.e.mu.Lock()
	r.e.finishes.Add(time.Now())
	r.e.mu.Unlock()
}

// release forgets a run and gives back what admission counted for it.
func (e *Executor) release(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !r.counted {
		return
	}
	r.counted, r.dead, r.finished = false, true, nil
	delete(e.runs, r.job.ID)
	if e.tenants[r.job.Tenant]--; e.tenants[r.job.Tenant] == 0 {
		delete(e.tenants, r.job.Tenant)
	}
	e.bytes -= r.size.Memory
	e.waiting -= r.size.Waiting
}

// letGo frees the plan of a run that has ended: its place in the queue may be there for long. Caller holds r.mu.
func (r *run) letGo() {
	r.closePlan()
	r.plan, r.reducer, r.steps = nil, nil, nil
}

// reduction returns the reducer, which is made when it is first needed. Caller holds r.mu, or is alone.
func (r *run) reduction() job.Reducer {
	if r.reducer == nil {
		r.reducer = r.plan.Reducer()
	}
	return r.reducer
}

// expire is the alarm of the job's timeout.
func (r *run) expire(time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.timedOut()
	r.end(f, job.Finished{State: job.Failed, Failure: f})
	r.settle()
}

// rollback drops a run whose job was not submitted, or is run by the nodes of a cluster.
func (r *run) rollback() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(job.ErrStorage, job.Finished{State: job.Cancelled})
	r.state = job.Cancelled
	r.e.alarms.clear(r.start)
	r.e.alarms.clear(r.timeout)
	if r.busy == 0 {
		r.letGo()
	}
	r.e.release(r)
}
