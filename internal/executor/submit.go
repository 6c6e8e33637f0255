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

// waitDelay is how long a submission may wait for the job's result on its way to disk, when the client waits for the result:
// a short job is then one write instead of two.
const waitDelay = time.Millisecond

// Submit admits jobs, all or none, and returns when they are durable. With wait, which is for callers that wait for the
// results, submission and result of a short job may be made durable together.
//
// It returns a *fields.Errors with every error (pointers lead with "/jobs/<i>" when there are several jobs) or a
// *job.Rejection. The caller has reserved the key; Submit uses or releases it. The end of ctx no longer stops Submit once
// the journal has the batch.
func (e *Executor) Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error) {
	batch, execs, views, err := e.prepare(ctx, subs)
	if err != nil {
		if key != nil {
			e.cfg.Journal.Release(*key)
		}
		return nil, err
	}
	// The journal keeps the order, so the events that the tasks append from now on follow the submission.
	early, durable := splitEarly(execs)
	if err = e.commit(ctx, &batch, key, wait, func() { e.submit.submitted(early) }); err != nil {
		rollback(execs)
		if full, ok := errors.AsType[*job.TooManyDependentsError](err); ok {
			return nil, tooManyDependents(batch.Entries, full)
		}
		return nil, e.rejected(err, len(execs))
	}
	e.submit.submitted(durable)
	for _, x := range execs {
		x.series.accepted()
		if x.unmet != nil {
			x.recordEnd(x.unmet)
			x.rollback()
		}
	}
	return views, nil
}

// splitEarly returns the jobs that may start before their submission is durable, and the jobs with effects or that wait for others.
// Jobs that have ended with their submission are in neither.
func splitEarly(execs []*jobExecution) (early, durable []*jobExecution) {
	waits := func(x *jobExecution) bool { return x.size.Effects || len(x.job.After) > 0 }
	if !slices.ContainsFunc(execs, waits) {
		return execs, nil
	}
	for _, x := range execs {
		switch {
		case x.unmet != nil:
		case waits(x):
			durable = append(durable, x)
		default:
			early = append(early, x)
		}
	}
	return early, durable
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
	// The outcome matters even when the client has gone: a rejected job has to be dropped.
	select {
	case err := <-durable:
		return err
	case <-e.work.Done():
		return &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "it may have accepted the job; ask again"}
	}
}

// prepare plans and admits jobs, and returns the batch that submits them. It rolls back after an error.
func (e *Executor) prepare(ctx context.Context, subs []job.Submission) (batch job.Batch, execs []*jobExecution, views []job.Job, err error) {
	tenant := subs[0].Tenant
	if _, err = e.submit.admit(tenant, len(subs), nil); err != nil { // before the work of planning
		return batch, nil, nil, err
	}
	execs = make([]*jobExecution, 0, len(subs))
	defer func() {
		if err != nil {
			rollback(execs)
		}
	}()
	results, err := e.plan(ctx, subs, func(p plannedJob) { execs = append(execs, e.newExecution(p)) })
	if err == nil {
		err = e.resultRoom(tenant, len(subs), results)
	}
	if err != nil {
		return batch, nil, nil, err
	}
	if batch.Admission, err = e.submit.admit(tenant, len(execs), execs); err != nil {
		return batch, nil, nil, err
	}
	batch.Entries, views = make([]job.Entry, len(execs)), make([]job.Job, len(execs))
	for i, x := range execs {
		if batch.Entries[i], views[i], err = x.entry(); err != nil {
			return batch, nil, nil, err
		}
		x.spec = nil // owned by the journal
	}
	return batch, execs, views, nil
}

// entry returns the submission of a job, and its view.
func (p *plannedJob) entry() (job.Entry, job.Job, error) {
	events := []job.Event{job.Submitted{Job: p.job, Spec: p.spec}}
	view, err := job.Apply(job.Job{}, events[0])
	if p.unmet != nil && err == nil {
		events = append(events, *p.unmet)
		view, err = job.Apply(view, *p.unmet)
	}
	return job.Entry{ID: p.job.ID, Events: events}, view, err
}

// plan validates every submission, and returns the errors of all of them. Keep gets every planned job, also when an error
// follows. It returns the minimum size of all results.
func (e *Executor) plan(ctx context.Context, subs []job.Submission, keep func(plannedJob)) (results int64, err error) {
	now := e.wall()
	tenant := subs[0].Tenant
	var faults fields.Errors
	var bytes, waiting int64
	after := afterResolver{e: e, now: now, ids: make([]job.ID, len(subs)), unmet: make([]*job.Finished, len(subs))}
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
		own := job.Job{
			Tenant: s.Tenant, Kind: s.Kind, Priority: s.Priority, Labels: s.Labels, Group: s.Group, RetryOf: s.RetryOf, State: job.Queued,
			CreatedAt: now, StartAfter: start, Delay: s.Delay, Timeout: s.Timeout, Retention: s.Retention, FailedRetention: s.FailedRetention, Webhooks: s.Webhooks,
			RequestID: s.RequestID, TraceParent: s.TraceParent,
		}
		if err := after.resolve(ctx, i, s, &own, prefix, &faults); err != nil {
			return 0, err
		}
		plan, spec, err := e.cfg.Planner.Plan(ctx, s.Tenant, s.Kind, s.Spec)
		if err != nil {
			var v *fields.Errors
			if !errors.As(err, &v) {
				return 0, err
			}
			faults.Merge(prefix, v)
			continue
		}
		p := e.newPlannedJob(own, plan, spec)
		p.unmet = after.unmet[i]
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
		return 0, err
	}
	if quota := e.resultQuota(tenant); quota > 0 && results > quota {
		return 0, fields.Invalidf("/jobs", "the results would have at least %d bytes; your quota is %d: split the batch", results, quota)
	}
	return results, nil
}

// admit implements submitter: it counts the jobs, all or none.
func (d localDispatcher) admit(tenant string, jobs int, execs []*jobExecution) (*job.Admission, error) {
	var bytes, waiting int64
	for _, x := range execs {
		bytes += x.size.Memory
		waiting += x.size.Waiting
	}
	e := d.Executor
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.checkCapacity(tenant, jobs, bytes, waiting); err != nil {
		return nil, err
	}
	for _, x := range execs {
		e.count(x)
	}
	return nil, nil //nolint:nilnil // the journal of one node has no bounds to check
}

// submitted implements submitter.
func (d localDispatcher) submitted(execs []*jobExecution) { d.queueJobs(d.hold(execs)) }

// checkCapacity rejects jobs that do not fit now; a batch that never fits is invalid. Caller holds e.mu.
func (e *Executor) checkCapacity(tenant string, jobs int, bytes, waiting int64) error {
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
	case len(e.jobs)+jobs > e.cfg.MaxJobs:
		return reject(job.ErrQueueFull, reasonJobs, "%d of at most %d jobs are admitted", len(e.jobs), e.cfg.MaxJobs)
	case e.bytes+bytes > e.cfg.MaxBytes:
		return reject(job.ErrQueueFull, reasonBytes, "admitted jobs hold %d of at most %d bytes", e.bytes, e.cfg.MaxBytes)
	case e.waiting+waiting > e.cfg.MaxWaiting:
		return reject(job.ErrQueueFull, reasonWaiting, "%d of at most %d items wait", e.waiting, e.cfg.MaxWaiting)
	case quota > 0 && e.tenants[tenant]+jobs > quota:
		return reject(job.ErrQuota, reasonQuota, "%d of at most %d jobs are admitted", e.tenants[tenant], quota)
	}
	return nil
}

// quota returns the tenant's quota of jobs, 0 for none; a batch that is larger than it, or than the queue, is invalid.
func (e *Executor) quota(tenant string, jobs int) (quota int, err error) {
	if e.cfg.TenantJobs != nil {
		quota = e.cfg.TenantJobs(tenant)
	}
	if jobs > e.cfg.MaxJobs || quota > 0 && jobs > quota {
		err = fields.Invalidf("/jobs", "%d jobs are more than may be unfinished at the same time: split the batch", jobs)
	}
	return quota, err
}

// count adds a job to the admission counts. Caller holds e.mu.
func (e *Executor) count(x *jobExecution) {
	x.counted = true
	e.jobs[x.job.ID] = x
	e.tenants[x.job.Tenant]++
	e.bytes += x.size.Memory
	e.waiting += x.size.Waiting
}

// queueJobs queues jobs, now or when their start comes.
func (e *Executor) queueJobs(execs []*jobExecution) {
	for _, x := range execs {
		if e.delay(x) {
			continue
		}
		e.mu.Lock()
		x.delayed = false
		switch {
		case x.dead:
		case e.pauses.Holds(&x.job):
			e.paused[x] = struct{}{}
		default:
			e.queue.pushNew(x)
			e.signalNew(x)
		}
		e.mu.Unlock()
	}
}

// delay sets the timer of a job that starts later; false for any other job.
func (e *Executor) delay(x *jobExecution) bool {
	again := func(time.Time) { e.queueJobs([]*jobExecution{x}) }
	set := func() *timer { return e.timers.setInstant(x.job.StartAfter, again) }
	if x.job.Delay > 0 {
		if !x.due.After(time.Now()) {
			return false
		}
		set = func() *timer { return e.timers.set(x.due, again) }
	} else if !x.job.StartAfter.After(e.wall()) {
		return false
	}
	e.mu.Lock()
	x.delayed = true
	e.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ending == nil {
		x.start = set()
	}
	return true
}

// rollback drops jobs that were not submitted.
func rollback(execs []*jobExecution) {
	for _, x := range execs {
		x.rollback()
	}
}

// rejected counts jobs that the journal rejected.
func (e *Executor) rejected(err error, jobs int) error {
	if errors.Is(err, job.ErrStorage) {
		e.metrics.rejected(reasonStorage, jobs)
	} else if r, ok := errors.AsType[*job.Rejection](err); ok && !errors.Is(err, job.ErrDraining) {
		e.metrics.rejected(r.Reason, jobs) // a bound that several nodes share
	}
	return err
}
