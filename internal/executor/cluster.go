package executor

import (
	"context"
	"time"

	"gather/internal/job"
)

// Cluster is what several executors share their jobs through: it has the queue and decides who is admitted, who does which
// task and how a job ends.
type Cluster interface {
	// Turns are the tasks given to this node, which wants one for each free worker. Every turn that is received is ended,
	// once, with Turn.End. The channel may be closed when no more will come.
	Turns() <-chan *job.Turn
	// Want changes how many turns the node wants: 1 for a worker that became free, -1 for one that took something else.
	// Each turn received is one wanted less. It must not block.
	Want(n int)
	// Cancel asks a job to stop, and returns its view when that is durable; a job that has ended, or is being cancelled, as
	// it is. Errors: job.ErrNotFound, job.ErrExpired, *job.Rejection, the cause of ctx.
	Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Position returns the 1-based place of a job that waits for its first turn, and how long that will take at the pace of
	// the cluster; false for any other job.
	Position(id job.ID) (place int, wait time.Duration, ok bool)
	// Unfinished visits every job of the cluster that has not ended, with its size, under one lock: visit must call nothing.
	// It reports whether this node is the one that speaks for all.
	Unfinished(visit func(j *job.Job, s job.Size)) (chief bool)
}
