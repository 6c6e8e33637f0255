package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
)

// waitDelay is how long a submission whose client waits for the result may wait for that result on its way to disk: a
// short job is then one write instead of two.
const waitDelay = time.Millisecond

// Submit admits jobs, all or none, and returns when they are durable. With wait the caller is going to wait for the
// results, so that submission and result of a short job may be made durable together.
//
// It returns a *fields.Errors with every fault (pointers lead with "/jobs/<i>" when there are several jobs) or a
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
	// The journal keeps the order, so the events that the tasks append from now on follow the submission.
	if err = e.commit(ctx, &batch, key, wait, func() { e.mode.submitted(runs) }); err != nil {
		rollback(runs)
		return nil, e.refused(err, len(runs))
	}
	for _, r := range runs {
		r.series.accepted()
	}
	return views, nil
}

// commit appends a batch of submissions, calls appended when the journal has it, and waits until it is durable.
func (e *Executor) commit(ctx context.Context, batch *job.Batch, key *job.Key, wait bool, appended func()) error {
	batch.Key = key
	if wait {
		batch.Delay = waitDelay
	}
	durable := make(chan error, 1)
	batch.Done = func(err error) { durable <- err }
	if err := e.cfg.Journal.Append(ctx, *batch); err != nil {
		return err
	}
	appended()
	// Even when the client has gone the outcome must be known here: a refused job has to be dropped.
	select {
	case err := <-durable:
		return err
	case <-e.work.Done():
		return &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "it may have accepted the job; ask again"}
	}
}

// prepare plans and admits jobs, and returns the batch that submits them. After an error nothing has to be rolled back.
func (e *Executor) prepare(ctx context.Context, subs []job.Submission) (batch job.Batch, runs []*run, views []job.Job, err error) {
	tenant := subs[0].Tenant
	if _, err = e.mode.admit(tenant, len(subs), nil); err != nil { // before the work of planning
		return batch, nil, nil, err
	}
	runs = make([]*run, 0, len(subs))
	defer func() {
		if err != nil {
			rollback(runs)
		}
	}()
	if err = e.plan(ctx, subs, func(p planned) { runs = append(runs, e.newRun(p)) }); err != nil {
		return batch, nil, nil, err
	}
	if batch.Admission, err = e.mode.admit(tenant, len(runs), runs); err != nil {
		return batch, nil, nil, err
	}
	batch.Entries, views = make([]job.Entry, len(runs)), make([]job.Job, len(runs))
	for i, r := range runs {
		if batch.Entries[i], views[i], err = r.entry(); err != nil {
			return batch, nil, nil, err
		}
		r.spec = nil // owned by the journal
	}
	return batch, runs, views, nil
}

// entry is the submission of a job, and its view.
func (p *planned) entry() (job.Entry, job.Job, error) {
	ev := job.Submitted{Job: p.job, Spec: p.spec}
	view, err := job.Apply(job.Job{}, ev)
	return job.Entry{ID: p.job.ID, Events: []job.Event{ev}}, view, err
}

// plan validates every submission, and reports the faults of all of them. Keep gets what was planned, also when an error
// follows.
func (e *Executor) plan(ctx context.Context, subs []job.Submission, keep func(planned)) error {
	now := e.wall()
	tenant := subs[0].Tenant
	var faults fields.Errors
	var bytes, waiting, results int64
	for i := range subs {
		s := &subs[i]
		prefix := ""
		if len(subs) > 1 {
			prefix = fmt.Sprintf("/jobs/%d", i)
		}
		start := s.StartAfter
		if s.Delay > 0 {
			start = now.Add(s.Delay)
		}
		if !start.After(now) {
			start = time.Time{}
		}
		if start.Sub(now) > e.cfg.MaxStartAfter {
			faults.Add(prefix+"/start_after", "at most %s ahead", e.cfg.MaxStartAfter)
		}
		plan, spec, err := e.cfg.Planner.Plan(ctx, s.Tenant, s.Kind, s.Spec)
		if err != nil {
			var v *fields.Errors
			if !errors.As(err, &v) {
				return err
			}
			faults.Merge(prefix, v)
			continue
		}
		p := e.planned(job.Job{
			ID: job.NewID(), Tenant: s.Tenant, Kind: s.Kind, Priority: s.Priority, Labels: s.Labels, State: job.Queued,
			CreatedAt: now, StartAfter: start, Delay: s.Delay, Timeout: s.Timeout, Retention: s.Retention,
			RequestID: s.RequestID, TraceParent: s.TraceParent,
		}, plan, spec)
		size := p.size
		p.job.Progress, p.job.Tasks = job.Progress{Total: size.Units, BytesTotal: size.Bytes}, size.Tasks
		keep(p)
		if size.Waiting > e.cfg.MaxWaiting {
			faults.Add(prefix, "%d items would wait at the same time; this server holds at most %d: set concurrency, or "+
				"split the job", size.Waiting, e.cfg.MaxWaiting)
		}
		if limit := e.jobResultLimit(tenant); limit > 0 && size.Results > limit {
			faults.Add(prefix, "the results would have at least %d bytes; a job may have at most %d: split the job", size.Results, limit)
		}
		if size.Memory > e.cfg.MaxBytes {
			faults.Add(prefix, "the job needs %d bytes of memory; this server holds at most %d", size.Memory, e.cfg.MaxBytes)
		}
		bytes, waiting, results = bytes+size.Memory, waiting+size.Waiting, results+size.Results
		if faults.Total() == 0 && i > 0 && (bytes > e.cfg.MaxBytes || waiting > e.cfg.MaxWaiting) {
			faults.Add(prefix, "up to here the batch needs %d bytes of memory, and %d items would wait at the same time; this "+
				"server holds at most %d and %d: split the batch", bytes, waiting, e.cfg.MaxBytes, e.cfg.MaxWaiting)
			break
		}
	}
	if err := faults.Err(); err != nil {
		return err
	}
	return e.resultRoom(tenant, len(subs), results)
}

// admit implements mode: it counts the jobs in, all or none.
func (a alone) admit(tenant string, jobs int, runs []*run) (*job.Admission, error) {
	var bytes, waiting int64
	for _, r := range runs {
		bytes += r.size.Memory
		waiting += r.size.Waiting
	}
	e := a.Executor
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.room(tenant, jobs, bytes, waiting); err != nil {
		return nil, err
	}
	for _, r := range runs {
		e.count(r)
	}
	return nil, nil //nolint:nilnil // the journal of one node has no bounds to check
}

// submitted implements mode.
func (a alone) submitted(runs []*run) { a.enqueue(runs) }

// room rejects what does not fit now, and faults what never will. Caller holds e.mu.
func (e *Executor) room(tenant string, jobs int, bytes, waiting int64) error {
	quota, err := e.quota(tenant, jobs)
	if err != nil {
		return err
	}
	reject := func(sentinel error, reason, format string, args ...any) error {
		e.metrics.rejected(reason, jobs)
		return &job.Rejection{
			Err: sentinel, Reason: reason, Detail: fmt.Sprintf(format, args...),
			RetryAfter: e.finishes.RetryAfter(time.Now(), e.cfg.MaxJobs/20),
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

// quota returns the tenant's, 0 for none, and faults a batch that is larger than it, or than the queue.
func (e *Executor) quota(tenant string, jobs int) (quota int, err error) {
	if e.cfg.TenantJobs != nil {
		quota = e.cfg.TenantJobs(tenant)
	}
	if jobs > e.cfg.MaxJobs || quota > 0 && jobs > quota {
		err = fields.Invalidf("/jobs", "%d jobs are more than may be unfinished at the same time: split the batch", jobs)
	}
	return quota, err
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
	for _, r := range runs {
		if e.delay(r) {
			continue
		}
		e.mu.Lock()
		r.delayed = false
		if !r.dead {
			e.queue.pushFresh(r)
			e.ready.Signal()
		}
		e.mu.Unlock()
	}
}

// delay sets the alarm of a run whose start has not come; false when it has.
func (e *Executor) delay(r *run) bool {
	again := func(time.Time) { e.enqueue([]*run{r}) }
	set := func() *alarm { return e.alarms.setInstant(r.job.StartAfter, again) }
	if r.job.Delay > 0 {
		if !r.due.After(time.Now()) {
			return false
		}
		set = func() *alarm { return e.alarms.set(r.due, again) }
	} else if !r.job.StartAfter.After(e.wall()) {
		return false
	}
	e.mu.Lock()
	r.delayed = true
	e.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending == nil {
		r.start = set()
	}
	return true
}

// rollback drops jobs that are not submitted.
func rollback(runs []*run) {
	for _, r := range runs {
		r.rollback()
	}
}

// refused counts jobs that the journal refused.
func (e *Executor) refused(err error, jobs int) error {
	if errors.Is(err, job.ErrStorage) {
		e.metrics.rejected(reasonStorage, jobs)
	} else if r, ok := errors.AsType[*job.Rejection](err); ok && !errors.Is(err, job.ErrDraining) {
		e.metrics.rejected(r.Reason, jobs) // a bound that several nodes share
	}
	return err
}
