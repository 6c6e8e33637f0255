package executor

import (
	"context"
	"errors"
	"time"

	"gather/internal/job"
)

// A localLease is the lease of any task of a job that this executor has admitted: all its tasks are this executor's. The
// reducer gets the partials as tasks finish, and events of several steps can share one write of the journal.
type localLease struct{ x *jobExecution }

// writeDelay is how long the start and the results of a job may wait for other writes of the journal, and arrayWriteDelay
// those of a job that reduces an array, whose results few clients follow one by one: each write takes the workers' CPU.
const (
	writeDelay      = 2 * time.Millisecond
	arrayWriteDelay = 10 * time.Millisecond
)

// checkpointDelay is how long an event may wait that shows a client nothing but progress.
const checkpointDelay = 50 * time.Millisecond

// begin implements lease.
func (l localLease) begin(now time.Time, effects bool) (context.Context, bool) {
	x := l.x
	if effects {
		return x.ctx, true // the step before has not ended: see record
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ending != nil || x.state.Terminal() {
		return nil, false
	}
	if x.state == job.Queued {
		x.state, x.startedAt, x.started, x.startPending = job.Running, x.e.wall(), now, true
		x.startTrace(now, false)
		x.series.started(&x.plannedJob, x.startedAt)
		x.setTimeout()
		if !x.size.Short() {
			x.append(x.writeDelay())
		}
	}
	x.busy++
	return x.ctx, true
}

// prepare implements lease.
func (l localLease) prepare(_ context.Context, task int, now time.Time) (job.Resume, time.Time, bool) {
	x := l.x
	resume := job.Resume{Job: &x.job, TraceParent: x.job.TraceParent, Started: x.started, Steps: x.steps[task]}
	if x.size.Effects {
		x.mu.Lock()
		resume.TraceParent = x.traceParent()
		x.mu.Unlock()
	}
	return resume, now, true
}

// canWait implements lease.
func (l localLease) canWait() bool { return l.x.ending == nil && !l.x.state.Terminal() }

// release implements lease. A released task is resumed from the journal.
func (localLease) release() {}

// record implements lease.
func (l localLease) record(_ context.Context, a assignment, step job.Step, err error) (wake time.Time) {
	x := l.x
	x.mu.Lock()
	defer x.mu.Unlock()
	ends := 1 // a step that awaits an event stays counted in busy, so that the job does not end before
	if step.Await != nil {
		ends = 0
	}
	bytes := int64(step.Items.Size() + len(step.Partial))
	if err == nil {
		err = x.e.addResults(&x.job, &x.results, bytes)
	}
	if err == nil && x.size.Tasks > 0 && !step.Waits() {
		if err = x.guard(func() error { return x.reduction().Add(a.task, step.Partial) }); err == nil {
			x.done++
		}
	}
	if err != nil {
		x.busy -= ends
		x.failed(err)
		return time.Time{}
	}
	var events []job.Event
	if ev, recorded := advanced(a.task, &step); recorded && x.size.Tasks > 0 {
		x.completed += step.Completed + step.Failed
		events = append(make([]job.Event, 0, 3), ev)
	}
	if x.done == x.size.Tasks && x.ending == nil {
		x.reduce()
	}
	x.busy -= ends
	switch {
	case x.ending != nil:
		x.finishIfIdle(events...)
		return time.Time{}
	case len(events) > 0 && step.Items.Len() == 0:
		x.append(checkpointDelay, events...)
	case bytes >= countedBytes:
		x.e.written(x, bytes)
		x.appendBatch(job.Batch{Delay: x.writeDelay(), Done: func(error) { x.e.synced(x, bytes) }}, events...)
	case len(events) > 0:
		x.append(x.writeDelay(), events...)
	}
	return step.ResumeAt
}

// reduce makes the result of a job whose tasks are all done, unless the job ends before. Caller holds x.mu, which is
// unlocked during the reduction; busy keeps the job from being finished.
func (x *jobExecution) reduce() {
	x.mu.Unlock()
	var out job.Outcome
	err := x.guard(func() (err error) {
		out, err = x.reduction().Outcome()
		return err
	})
	x.mu.Lock()
	end := succeeded(&out)
	if err == nil {
		err = x.e.addResults(&x.job, &x.results, job.ResultBytes(end))
	}
	if err != nil {
		x.fail(err)
		return
	}
	x.end(errCancelled, end)
}

// failed takes the error of a step. Caller holds x.mu.
func (x *jobExecution) failed(err error) {
	// A stop ends the step without an outcome: the task is resumed after the restart.
	if context.Cause(x.e.work) != nil && x.ending == nil {
		return
	}
	x.fail(err)
	x.finishIfIdle()
}

// fail decides that the job fails, unless its end is decided. Caller holds x.mu.
func (x *jobExecution) fail(err error) {
	f := failure(err)
	x.end(f, job.Finished{State: job.Failed, Failure: f})
}

// setTimeout starts the timeout of a job. Caller holds x.mu.
func (x *jobExecution) setTimeout() {
	if x.job.Timeout > 0 {
		expire := x.expire
		if x.leases != nil {
			expire = x.expireLeases
		}
		x.timeout = x.e.timers.set(x.started.Add(x.job.Timeout), expire)
	}
}

// expire is the callback of the job's timeout.
func (x *jobExecution) expire(time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fail(x.timedOut())
	x.finishIfIdle()
}

// end decides how the job ends, unless that was decided before, and stops its tasks. Caller holds x.mu.
func (x *jobExecution) end(cause error, how job.Finished) {
	if x.ending != nil || x.state.Terminal() {
		return
	}
	x.ending = &how
	x.cancel(cause)
	for t := range x.waiting {
		if !t.isEvent() {
			x.e.timers.clear(t)
			delete(x.waiting, t)
		}
	}
	x.e.dropFromQueue(x)
}

// finishIfIdle appends the events before, and the job's last event if its end is decided and no step is running. Caller
// holds x.mu.
func (x *jobExecution) finishIfIdle(before ...job.Event) {
	if x.ending == nil || x.busy > 0 || x.state.Terminal() {
		if len(before) > 0 {
			x.append(0, before...)
		}
		if x.state.Terminal() && x.busy == 0 {
			x.freePlan() // of a rejected job, whose last step has just ended
		}
		return
	}
	how := *x.ending
	how.At = x.e.wall()
	x.state = how.State
	x.cancel(errCancelled) // frees the context; the cause no longer matters
	x.e.timers.clear(x.start)
	x.e.timers.clear(x.timeout)
	x.endTrace(&how)
	x.appendBatch(job.Batch{Done: func(err error) {
		// The end of a job that it waits for may have ended it before.
		if err == nil || errors.Is(err, job.ErrTransition) && len(x.job.After) > 0 {
			x.recordEnd(&how)
			x.e.dependencyEnded(x.job.ID)
		}
	}}, append(before, how)...)
	x.freePlan()
	x.e.release(x)
	x.e.mu.Lock()
	x.e.finishes.Add(time.Now())
	x.e.mu.Unlock()
}

// writeDelay returns how long the start and the results of the job may wait for other writes.
func (x *jobExecution) writeDelay() time.Duration {
	if x.size.Bytes > 0 {
		return arrayWriteDelay
	}
	return writeDelay
}

// append appends events, which may wait for other writes for a time, behind Started if that is pending. Caller holds x.mu.
func (x *jobExecution) append(delay time.Duration, events ...job.Event) {
	x.appendBatch(job.Batch{Delay: delay}, events...)
}

// appendBatch adds the events to a batch and appends it. Caller holds x.mu.
func (x *jobExecution) appendBatch(b job.Batch, events ...job.Event) {
	if x.startPending {
		x.startPending = false
		events = append([]job.Event{job.Started{At: x.startedAt}}, events...)
	}
	b.Entries = []job.Entry{{ID: x.job.ID, Events: events}}
	err := x.e.cfg.Journal.Append(x.e.work, b)
	if err == nil {
		return
	}
	if b.Done != nil {
		b.Done(err)
	}
	// At a stop the work is resumed from the journal; a rejected submission no longer has a job.
	if context.Cause(x.e.work) == nil && !errors.Is(context.Cause(x.ctx), job.ErrStorage) {
		x.log().Error("append events", "error", err)
	}
}
