package executor

import (
	"context"
	"errors"

	"gather/internal/job"
)

// Cancel requests that a job stops, and returns the job when the request is durable. Its state is cancelled once none of its
// tasks runs. A job that has ended, or is being cancelled, is returned unchanged. Errors: job.ErrNotFound, job.ErrExpired,
// or job.ErrStorage while the disk fails: then the job stops, and a crash may undo that.
func (e *Executor) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return e.submit.cancel(ctx, tenant, id)
}

// cancel implements submitter.
func (d localDispatcher) cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	e := d.Executor
	view, err := e.cfg.Journal.Get(ctx, tenant, id)
	if err != nil || view.State.Terminal() {
		return view, err
	}
	e.mu.Lock()
	x := e.jobs[id]
	e.mu.Unlock()
	durable := make(chan error, 1)
	b := job.Batch{Done: func(err error) { durable <- err }, Prompt: true}
	if x != nil {
		x.requestCancel(b)
	} else {
		// It has ended, and the end is on its way to disk.
		b.Entries = []job.Entry{{ID: id}}
		if err := e.cfg.Journal.Append(e.work, b); err != nil {
			return job.Job{}, err
		}
	}
	select {
	case err = <-durable:
	case <-e.work.Done():
		err = &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "ask again when it is back"}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, job.ErrTransition) { // otherwise a job that it waits for has just ended it
		return job.Job{}, err
	}
	return e.cfg.Journal.Get(ctx, tenant, id)
}

// requestCancel appends the request and ends the tasks. To a job that is ending it only appends the batch, which is durable
// when everything before it is.
func (x *jobExecution) requestCancel(request job.Batch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state.Terminal() || x.ending != nil {
		x.appendBatch(request)
		return
	}
	x.state = job.Cancelling
	x.appendBatch(request, job.CancelRequested{At: x.e.wall()})
	x.end(errCancelled, job.Finished{State: job.Cancelled})
	x.finishIfIdle()
}
