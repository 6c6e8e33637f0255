package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// A clusterLease is the lease of one task that a cluster granted to this node. Its task is queued, runs on a worker, or waits on a
// timer; when the task is done or dropped, the lease waits for its pending appends.
type clusterLease struct {
	d      *clusterDispatcher
	exec   *jobExecution
	handle *job.Lease
	// ctx is the context of the steps. It ends with the context of the lease and with the grace period of Stop; a job.Failure is the cause
	// when the job's timeout ends the step.
	ctx     context.Context //nolint:containedctx // of the lease, as a request has one
	cancel  context.CancelCauseFunc
	unwatch func() bool // stops the drop of the lease at the end of the cluster's context

	// Owned by the goroutine that runs the task.
	started   time.Time // of the job, on the monotonic clock
	startedAt time.Time // the same by the wall clock
	completed int64     // units of the task
	results   int64     // bytes of results of the task

	// Guarded by jobExecution.mu.
	uses         int // by the task, the watch of the context, pending appends and timeouts; 0 ends the lease
	state        leaseState
	startPending bool   // the Started event is appended with the job's end
	timer        *timer // while the task waits
}

// leaseState is the state of a lease.
type leaseState byte

const (
	leaseActive leaseState = iota
	leasePaused            // the task cannot start now: the lease is released after retryPause
	leaseOver              // the task runs no more steps
)

// retryPause is how long a lease is kept whose task cannot start now, before another node may try.
const retryPause = time.Second

func newClusterLease(d *clusterDispatcher, x *jobExecution, t *job.Lease) *clusterLease {
	h := &clusterLease{d: d, exec: x, handle: t, uses: 2} // by the task, and by the watch
	h.ctx, h.cancel = context.WithCancelCause(d.e.work)
	d.open.Add(1)
	h.unwatch = context.AfterFunc(t.Context, func() {
		h.drop(context.Cause(t.Context))
		h.free(1)
	})
	return h
}

// release implements lease.
func (h *clusterLease) release() {
	if h.unwatch() {
		h.free(2)
	} else {
		h.free(1)
	}
}

// free ends uses of the lease, and the lease with the last.
func (h *clusterLease) free(uses int) {
	x := h.exec
	x.mu.Lock()
	h.uses -= uses
	if h.uses > 0 {
		x.mu.Unlock()
		return
	}
	delete(x.leases.held, h)
	if len(x.leases.held) == 0 {
		x.idle(h.handle.Context.Err() != nil || x.leases.planErr != nil || x.leases.over)
	}
	x.mu.Unlock()
	h.cancel(nil)
	h.handle.End()
	h.d.open.Done()
}

// drop releases a lease whose job is ending, or whose task another node runs.
func (h *clusterLease) drop(cause error) {
	h.exec.mu.Lock()
	h.state = leaseOver
	h.cancel(cause)
	waiting := false
	if h.timer != nil {
		_, waiting = h.exec.resume(h.timer)
	}
	h.exec.mu.Unlock()
	if waiting {
		h.release()
	}
}

// begin implements lease.
func (h *clusterLease) begin(_ time.Time, effects bool) (context.Context, bool) {
	h.exec.mu.Lock()
	defer h.exec.mu.Unlock()
	if !effects && (h.state != leaseActive || !h.d.e.isClaiming() || h.ctx.Err() != nil || h.handle.Context.Err() != nil) {
		return nil, false
	}
	h.exec.busy++
	return h.ctx, true
}

// endStep ends what begin began.
func (h *clusterLease) endStep() {
	h.exec.mu.Lock()
	h.exec.busy--
	h.exec.mu.Unlock()
}

// canWait implements lease.
func (h *clusterLease) canWait() bool { return h.state != leaseOver && h.d.e.isClaiming() }

// prepare implements lease: it makes the plan, starts the job and reads the recorded steps of the task.
func (h *clusterLease) prepare(ctx context.Context, task int, _ time.Time) (job.Resume, time.Time, bool) {
	resume, err := h.startTask(ctx, task)
	if err != nil {
		defer h.endStep()
		return resume, h.handleStartError(ctx, err), false
	}
	return resume, time.Now(), true
}

// record implements lease.
func (h *clusterLease) record(ctx context.Context, a assignment, step job.Step, err error) (wake time.Time) {
	defer h.endStep()
	x := h.exec
	if a.task == job.Reduction || x.size.Tasks == 0 {
		return h.reduceAndFinish(ctx, h.addLog)
	}
	if err == nil {
		h.completed += step.Completed + step.Failed
		err = x.e.addResults(&x.job, &h.results, int64(step.Items.Size()+len(step.Partial)))
	}
	if f, ok := errors.AsType[*job.Failure](context.Cause(ctx)); ok {
		err = f // the timeout ended the step
	}
	if err != nil {
		h.fail(failure(err))
		return time.Time{}
	}
	ev, recorded := advanced(a.task, &step)
	switch {
	case ev.Done && x.size.Tasks == 1:
		return h.reduceAndFinish(ctx, func(_ context.Context, r job.Reducer) error { return r.Add(a.task, ev.Partial) }, ev)
	case ev.Done:
		h.append(ctx, nil, ev)
		return time.Time{}
	case h.startPending:
		if err := h.startJob(ctx); err != nil {
			return h.handleStartError(ctx, err)
		}
		h.setStartPending(false)
	}
	if recorded && !h.append(ctx, nil, ev) {
		return time.Time{}
	}
	return step.ResumeAt
}

// fail ends the job with a failure, unless another node runs the task now.
func (h *clusterLease) fail(f *job.Failure) {
	cause := context.Cause(h.ctx)
	switch {
	case cause != nil && cause != f, context.Cause(h.d.e.work) != nil: //nolint:errorlint // f itself, of the timeout
	case h.startPending:
		h.finish(h.d.e.work, job.Finished{State: job.Failed, Failure: f})
	default:
		h.decide(f)
	}
}

// decide decides that the job fails.
func (h *clusterLease) decide(f *job.Failure) {
	h.exec.mu.Lock()
	h.exec.state = job.Failed
	h.exec.mu.Unlock()
	h.handle.Decide(job.Finished{State: job.Failed, Failure: f})
}

// append appends events of the task. Then is called when they are durable; nil for nothing. It returns false when the
// lease is lost, and then the task must not continue.
func (h *clusterLease) append(ctx context.Context, then func(), events ...job.Event) bool {
	h.exec.mu.Lock()
	h.uses++
	h.exec.mu.Unlock()
	err := h.handle.Append(ctx, func(err error) {
		switch {
		case err != nil:
			h.lost(err)
		case then != nil:
			then()
		}
		h.free(1)
	}, events...)
	if err != nil {
		if ctx.Err() == nil {
			h.lost(err)
		}
		h.free(1)
	}
	return err == nil
}

// lost drops a lease whose events were rejected.
func (h *clusterLease) lost(err error) {
	if !errors.Is(err, job.ErrTransition) {
		h.exec.log().Error("append events", "error", err, "task", h.handle.Task)
	}
	h.drop(job.ErrTransition)
}

// errLog means that the log cannot be read; it does not fail the job.
var errLog = errors.New("read the log of the job")

// addLog adds the partials of all tasks to the reducer of a job whose tasks are done.
func (h *clusterLease) addLog(ctx context.Context, r job.Reducer) error {
	added := make([]bool, h.exec.size.Tasks)
	left := len(added)
	if left == 0 {
		return nil
	}
	for rec, err := range h.handle.Log(ctx) {
		if err != nil {
			return fmt.Errorf("%w: %w", errLog, err)
		}
		a, ok := rec.Event.(job.TaskProgress)
		switch {
		case !ok || !a.Done:
			continue
		case a.Task >= len(added) || added[a.Task]:
			return fmt.Errorf("its log has an end of task %d that it cannot have", a.Task)
		}
		added[a.Task] = true
		left--
		if err := r.Add(a.Task, a.Partial); err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("its log lacks the end of %d tasks", left)
	}
	return nil
}

// reduceAndFinish reduces the partials that add adds, and appends the end of the job behind the events before.
func (h *clusterLease) reduceAndFinish(
	ctx context.Context, add func(context.Context, job.Reducer) error, before ...job.Event,
) (wake time.Time) {
	x := h.exec
	var out job.Outcome
	err := x.guard(func() (err error) {
		reducer := x.plan.Reducer()
		if err = add(ctx, reducer); err == nil {
			out, err = reducer.Outcome()
		}
		return err
	})
	how := succeeded(&out)
	if err == nil {
		err = x.e.addResults(&x.job, &h.results, job.ResultBytes(how))
	}
	if err != nil {
		if !errors.Is(err, errLog) && !errors.Is(err, job.ErrVersion) { // a node of a later version may reduce it
			err = failure(err)
		}
		return h.handleStartError(ctx, err)
	}
	h.finish(ctx, how, before...)
	return time.Time{}
}

// finish appends the end of the job, which this lease decides, behind the events before.
func (h *clusterLease) finish(ctx context.Context, how job.Finished, before ...job.Event) {
	how.At = h.d.e.wall()
	events := make([]job.Event, 0, len(before)+2)
	if h.startPending {
		events = append(events, job.Started{At: h.startedAt})
	}
	h.append(ctx, func() { h.finished(&how) }, append(append(events, before...), how)...)
}

// finished is called when the end of the job is durable.
func (h *clusterLease) finished(how *job.Finished) {
	x := h.exec
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state = how.State
	if h.startPending {
		x.series.started(&x.plannedJob, x.startedAt)
	}
	x.recordEnd(how)
	x.leases.over = true
}
