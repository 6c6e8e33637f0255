package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// errDone: the task was done before, and the cluster had not received the end of its lease.
var errDone = errors.New("the task is done")

// startTask makes the task ready for its first step here. An error that is not the job's own is no *job.Failure.
func (h *clusterLease) startTask(ctx context.Context, task int) (resume job.Resume, err error) {
	x, t := h.exec, h.handle
	if err := x.planJob(ctx, t.Spec); err != nil {
		return resume, err
	}
	if task >= max(1, x.size.Tasks) {
		return resume, &job.Failure{Reason: job.FailedTask, Detail: "its plan differs from the one it was begun with"}
	}
	if t.Job.State == job.Queued && task != job.Reduction && x.size.Short() {
		h.started, h.startedAt = time.Now(), h.d.e.wall()
		h.setStartPending(true)
		h.jobStarted(true)
	} else if err := h.startJob(ctx); err != nil {
		return resume, err
	}
	x.mu.Lock()
	resume.Job, resume.TraceParent, resume.Started = &x.job, x.traceParent(), h.started
	x.mu.Unlock()
	if !t.Resumed || task == job.Reduction {
		return resume, nil
	}
	for rec, err := range t.Log(ctx) {
		if err != nil {
			return resume, fmt.Errorf("%w: %w", errLog, err)
		}
		a, ok := rec.Event.(job.TaskProgress)
		switch {
		case !ok || a.Task != task:
		case a.Done:
			return resume, errDone
		default:
			resume.Steps = append(resume.Steps, withoutValues(a))
			h.completed += a.Completed + a.Failed
			h.results += job.ResultBytes(a)
		}
	}
	return resume, nil
}

// startJob makes the job running, with this node among those that run it.
func (h *clusterLease) startJob(ctx context.Context) error {
	t := h.handle
	first := t.Job.State == job.Queued
	if err := t.Start(ctx); err != nil {
		return err
	}
	if h.started.IsZero() {
		h.started = t.Started
	}
	h.startedAt = t.Job.StartedAt
	h.jobStarted(first)
	if first {
		h.exec.mu.Lock()
		h.exec.series.started(&h.exec.plannedJob, h.startedAt)
		h.exec.mu.Unlock()
	}
	return nil
}

// jobStarted records when the job started, here or on another node, and starts its timeout and its trace here.
func (h *clusterLease) jobStarted(first bool) {
	x := h.exec
	x.mu.Lock()
	defer x.mu.Unlock()
	x.startedAt, x.started = h.startedAt, h.started
	if !x.leases.traced {
		x.leases.traced = true
		x.startTrace(time.Now(), !first)
	}
	if x.timeout == nil && x.e.isClaiming() {
		x.setTimeout()
	}
}

// setStartPending sets whether the Started event is appended with the end of the job.
func (h *clusterLease) setStartPending(pending bool) {
	h.exec.mu.Lock()
	h.startPending = pending
	h.exec.mu.Unlock()
}

// handleStartError takes an error of a task, or of a reduction, that did not run: a failure of the job, or a transient
// error. It returns when the lease is released for another try; the zero time for now.
func (h *clusterLease) handleStartError(ctx context.Context, err error) (wake time.Time) {
	if f, ok := errors.AsType[*job.Failure](context.Cause(ctx)); ok {
		err = f // the timeout
	} else if ctx.Err() != nil || errors.Is(err, job.ErrTransition) || errors.Is(err, errDone) {
		return time.Time{}
	}
	if f, ok := errors.AsType[*job.Failure](err); ok {
		h.fail(f)
		return time.Time{}
	}
	h.exec.log().Warn("a task cannot be started now", "error", err, "task", h.handle.Task)
	h.exec.mu.Lock()
	h.state = max(h.state, leasePaused)
	h.exec.mu.Unlock()
	return time.Now().Add(retryPause)
}
