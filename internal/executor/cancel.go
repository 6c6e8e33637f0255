package executor

import (
	"context"

	"gather/internal/job"
)

// Cancel asks a job to stop and returns it once the request is durable. The job is cancelled, as its state will tell, when
// none of its tasks runs any more. A terminal job, or one that is being cancelled, is returned as it is. It returns
// job.ErrNotFound or job.ErrExpired.
func (e *Executor) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return e.mode.cancel(ctx, tenant, id)
}

// cancel implements mode.
func (a alone) cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	e := a.Executor
	if _, err := e.cfg.Journal.Get(ctx, tenant, id); err != nil {
		return job.Job{}, err
	}
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r != nil {
		if err := r.askCancel(ctx); err != nil {
			return job.Job{}, err
		}
	}
	return e.cfg.Journal.Get(ctx, tenant, id)
}

// askCancel records the request, ends the tasks and waits until the request is durable.
func (r *run) askCancel(ctx context.Context) error {
	durable := make(chan error, 1)
	done := func(err error) { durable <- err }
	r.mu.Lock()
	switch {
	case r.state.Terminal() || r.ending != nil && r.state != job.Cancelling:
		r.mu.Unlock()
		return nil
	case r.state == job.Cancelling:
		// Somebody else has asked: what they appended is durable when this is.
		r.appendDone(0, done)
	default:
		r.state = job.Cancelling
		r.appendDone(0, done, job.CancelRequested{At: r.e.wall()})
		r.end(errCancelled, job.Finished{State: job.Cancelled})
		r.settle()
	}
	r.mu.Unlock()
	select {
	case err := <-durable:
		return err
	case <-r.e.work.Done():
		return &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "ask again when it is back"}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
