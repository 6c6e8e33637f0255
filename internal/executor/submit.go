package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// waitDelay is how long a submission whose client waits for the result may wait for that result on its way to disk: a
// short job is then one write instead of two.
const waitDelay = time.Millisecond

// Submit admits jobs, all or none, and returns when they are durable. With wait the caller is going to wait for the
// results, so that submission and result of a short job may be made durable together.
//
// It returns a *job.ValidationError with every fault (pointers lead with "/jobs/<i>" when there are several jobs) or a
// *job.Rejection. The key was reserved by the caller, and is Submit's from here on. The end of ctx no longer stops it once
// the journal has the batch.
func (e *Executor) Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error) {
	batch, runs, views, err := e.prepare(ctx, subs)
	if err != nil {
		if key != nil {
			e.cfg.Journal.Release(*key)
		}
		return nil, err
	}
	batch.Key = key
	if wait {
		batch.Delay = waitDelay
	}
	durable := make(chan error, 1)
	batch.Done = func(err error) { durable <- err }
	if err := e.cfg.Journal.Append(ctx, batch); err != nil {
		e.refuse(runs)
		return nil, e.storage(err, len(runs))
	}
	// The journal keeps the order, so whatever the tasks append now comes after the submission, and shows after it.
	e.enqueue(runs)
	// Even when the client has gone the outcome must be known here: a refused job has to be dropped.
	select {
	case err = <-durable:
	case <-e.work.Done():
		err = &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "it may have accepted the job; ask again"}
	}
	if err != nil {
		e.refuse(runs)
		return nil, e.storage(err, len(runs))
	}
	for _, r := range runs {
		r.series.accepted()
	}
	return views, nil
}

// prepare makes the batch that submits jobs, and counts them in. After an error nothing is left to undo.
func (e *Executor) prepare(ctx context.Context, subs []job.Submission) (batch job.Batch, runs []*run, views []job.Job, err error) {
	e.mu.Lock()
	err = e.room(subs[0].Tenant, len(subs), 0, 0) // before the work of planning
	e.mu.Unlock()
	if err != nil {
		return batch, nil, nil, err
	}
	if runs, err = e.plan(ctx, subs); err != nil {
		return batch, nil, nil, err
	}
	if err = e.admit(runs); err != nil {
		e.refuse(runs)
		return batch, nil, nil, err
	}
	batch.Entries, views = make([]job.Entry, len(runs)), make([]job.Job, len(runs))
	for i, r := range runs {
		ev := job.Submitted{Job: r.job, Spec: r.spec}
		r.spec = nil // the journal's
		if views[i], err = job.Apply(job.Job{}, ev); err != nil {
			e.refuse(runs)
			return batch, nil, nil, err
		}
		batch.Entries[i] = job.Entry{ID: r.job.ID, Events: []job.Event{ev}}
	}
	return batch, runs, views, nil
}

// plan validates every submission, and reports the faults of all of them.
func (e *Executor) plan(ctx context.Context, subs []job.Submission) (_ []*run, err error) {
	now := time.Now().UTC()
	var faults job.ValidationError
	runs := make([]*run, 0, len(subs))
	var bytes, waiting int64
	defer func() {
		if err != nil {
			e.refuse(runs)
		}
	}()
	for i := range subs {
		s := &subs[i]
		prefix := ""
		if len(subs) > 1 {
			prefix = fmt.Sprintf("/jobs/%d", i)
		}
		if s.StartAfter.Sub(now) > e.cfg.MaxStartAfter {
			faults.Add(prefix+"/start_after", "at most %s ahead", e.cfg.MaxStartAfter)
		}
		plan, spec, err := e.cfg.Planner.Plan(ctx, s.Tenant, s.Kind, s.Spec)
		if err != nil {
			var v *job.ValidationError
			if !errors.As(err, &v) {
				return nil, err
			}
			v.Prefix(prefix)
			faults.Faults = append(faults.Faults, v.Faults...)
			continue
		}
		size := plan.Size()
		if size.Waiting > e.cfg.MaxWaiting {
			faults.Add(prefix, "%d items would wait at the same time; this server holds at most %d: set concurrency, or "+
				"split the job", size.Waiting, e.cfg.MaxWaiting)
		}
		if size.Memory > e.cfg.MaxBytes {
			faults.Add(prefix, "the job needs %d bytes of memory; this server holds at most %d", size.Memory, e.cfg.MaxBytes)
		}
		r := e.newRun(job.Job{
			ID: job.NewID(), Tenant: s.Tenant, Kind: s.Kind, Priority: s.Priority, Labels: s.Labels, State: job.Queued,
			Progress: job.Progress{Total: size.Units, BytesTotal: size.Bytes}, Tasks: size.Tasks,
			CreatedAt: now, StartAfter: s.StartAfter, Timeout: s.Timeout, Retention: s.Retention,
			RequestID: s.RequestID, TraceParent: s.TraceParent,
		}, plan)
		r.spec = spec
		runs = append(runs, r)
		bytes, waiting = bytes+size.Memory, waiting+size.Waiting
		if len(faults.Faults) == 0 && i > 0 && (bytes > e.cfg.MaxBytes || waiting > e.cfg.MaxWaiting) {
			faults.Add(prefix, "up to here the batch needs %d bytes of memory, and %d items would wait at the same time; this "+
				"server holds at most %d and %d: split the batch", bytes, waiting, e.cfg.MaxBytes, e.cfg.MaxWaiting)
			break
		}
	}
	return runs, faults.Err()
}

// admit counts the jobs in, all or none.
func (e *Executor) admit(runs []*run) error {
	var bytes, waiting int64
	for _, r := range runs {
		bytes += r.size.Memory
		waiting += r.size.Waiting
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.room(runs[0].job.Tenant, len(runs), bytes, waiting); err != nil {
		return err
	}
	for _, r := range runs {
		e.count(r)
	}
	return nil
}

// room rejects what does not fit now, and faults what never will. Caller holds e.mu.
func (e *Executor) room(tenant string, jobs int, bytes, waiting int64) error {
	quota := 0
	if e.cfg.TenantJobs != nil {
		quota = e.cfg.TenantJobs(tenant)
	}
	if jobs > e.cfg.MaxJobs || quota > 0 && jobs > quota {
		return job.Faultf("/jobs", "%d jobs are more than may be unfinished at the same time: split the batch", jobs)
	}
	reject := func(sentinel error, reason, format string, args ...any) error {
		e.metrics.rejected(reason, jobs)
		return &job.Rejection{
			Err: sentinel, Reason: reason, Detail: fmt.Sprintf(format, args...),
			RetryAfter: e.finishes.retryAfter(time.Now(), e.cfg.MaxJobs/20),
		}
	}
	switch {
	case e.draining:
		return reject(job.ErrDraining, reasonDraining, "it admits no more jobs")
	case len(e.runs)+jobs > e.cfg.MaxJobs:
		return reject(job.ErrQueueFull, reasonJobs, "%d of at most %d jobs are admitted", len(e.runs), e.cfg.MaxJobs)
	case e.bytes+bytes > e.cfg.MaxBytes:
		return reject(job.ErrQueueFull, reasonBytes, "admitted jobs hold %d of at most %d bytes", e.bytes, e.cfg.MaxBytes)
	case e.waiting+waiting > e.cfg.MaxWaiting:
		return reject(job.ErrQueueFull, reasonWaiting, "%d of at most %d items wait", e.waiting, e.cfg.MaxWaiting)
	case quota > 0 && e.tenants[tenant]+jobs > quota:
		return reject(job.ErrQuota, reasonQuota, "%d of at most %d jobs are admitted", e.tenants[tenant], quota)
	}
	return nil
}

// count enters a run in the admission counts. Caller holds e.mu.
func (e *Executor) count(r *run) {
	r.counted = true
	e.runs[r.job.ID] = r
	e.tenants[r.job.Tenant]++
	e.bytes += r.size.Memory
	e.waiting += r.size.Waiting
}

// enqueue hands runs to the queue, now or when their time has come.
func (e *Executor) enqueue(runs []*run) {
	now := time.Now()
	for _, r := range runs {
		if r.job.StartAfter.After(now) {
			r.mu.Lock()
			if r.ending == nil {
				r.start = e.alarms.set(r.job.StartAfter, func(time.Time) { e.enqueue([]*run{r}) })
			}
			r.mu.Unlock()
			continue
		}
		e.mu.Lock()
		if !r.dead {
			e.queue.pushFresh(r)
			e.ready.Signal()
		}
		e.mu.Unlock()
	}
}

func (e *Executor) refuse(runs []*run) {
	for _, r := range runs {
		r.refuse()
	}
}

// storage counts jobs that the journal refused.
func (e *Executor) storage(err error, jobs int) error {
	if errors.Is(err, job.ErrStorage) {
		e.metrics.rejected(reasonStorage, jobs)
	}
	return err
}

// Position returns the 1-based place of a job that waits for its first turn, among those of its priority. It reports
// false for any other job, those with a later start included.
func (e *Executor) Position(id job.ID) (int, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.runs[id]
	if !ok || !r.fresh || r.dead {
		return 0, false
	}
	return e.queue.position(r), true
}

// RetryAfter is a hint when to look at a job again: from its own pace when it runs, from the measured drain rate when it
// is queued. It is at least a second.
func (e *Executor) RetryAfter(j job.Job) time.Duration {
	const most = 30 * time.Second
	now := time.Now()
	wait := time.Second
	switch j.State {
	case job.Queued:
		if d := j.StartAfter.Sub(now); d > 0 {
			wait = d
		} else if place, ok := e.Position(j.ID); ok {
			e.mu.Lock()
			wait = e.finishes.retryAfter(now, place)
			e.mu.Unlock()
		}
	case job.Running:
		if f := j.Progress.Fraction(); f > 0 {
			wait = time.Duration(float64(now.Sub(j.StartedAt)) * (1 - f) / f)
		}
	}
	return min(max(wait, time.Second), most)
}
