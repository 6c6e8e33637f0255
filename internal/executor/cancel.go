package executor

import (
	"context"

	"gather/internal/job"
)

// Cancel asks a job to stop and returns it once the request is durable. The job is cancelled, as its state will tell, when
// none of its tasks runs any more. A terminal job, or one that is being cancelled, is returned as it is. It returns
// job.ErrNotFound, job.ErrExpired, or job.ErrStorage while the disk fails: then the job stops, and a crash may undo it.
func (e *Executor) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return e.mode.cancel(ctx, tenant, id)
}

// cancel implements mode.
func (a alone) cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	e := a.Executor
	view, err := e.cfg.Journal.Get(ctx, tenant, id)
	if err != nil || view.State.Terminal() {
		return view, err
	}
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	request := cancelRequest{durable: make(chan error, 1)}
	if r != nil {
		r.askCancel(request.batch())
	} else {
		// It has ended, and the end is on its way to disk.
		b := request.batch()
		b.Entries = []job.Entry{{ID: id}}
		err = e.cfg.Journal.Append(e.work, b)
	}
	if err == nil {
		err = request.wait(ctx, e)
	}
	if err != nil {
		return job.Job{}, err
	}
	return e.cfg.Journal.Get(ctx, tenant, id)
}

// cancelRequest waits until what was appended to a job is durable.
type cancelRequest struct{ durable chan error }

// batch returns the batch to append. While the disk fails its outcome is job.ErrStorage, although the job stops.
func (c cancelRequest) batch() job.Batch {
	return job.Batch{Done: func(err error) { c.durable <- err }, Prompt: true}
}

func (c cancelRequest) wait(ctx context.Context, e *Executor) error {
	select {
	case err := <-c.durable:
		return err
	case <-e.work.Done():
		return &job.Rejection{Err: job.ErrDraining, Reason: reasonDraining, Detail: "ask again when it is back"}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// askCancel appends the request and ends the tasks. Of a job that is ending it only appends the batch, which is durable when
// everything before it is.
func (r *run) askCancel(request job.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Terminal() || r.ending != nil {
		r.appendBatch(request)
		return
	}
	r.state = job.Cancelling
	r.appendBatch(request, job.CancelRequested{At: r.e.wall()})
	r.end(errCancelled, job.Finished{State: job.Cancelled})
	r.settle()
}
