package executor

import (
	"context"
	"time"

	"gather/internal/job"
)

// A mode is what an executor that has its jobs to itself (alone) and one that shares them with other nodes (shared) do
// differently. Both have the same workers, queue, runs, alarms and locks.
type mode interface {
	desk
	pool
	book
}

// A desk is the side of the clients. Its methods are as those of Executor.
type desk interface {
	// admit checks whether jobs of a tenant may be submitted now: before they are planned without runs, and then with them,
	// which takes what they need of the bounds. It returns the bounds that the journal is to check; *job.Rejection.
	admit(tenant string, jobs int, runs []*run) (*job.Admission, error)
	// submitted takes over jobs whose submission was appended, and need not be durable yet.
	submitted(runs []*run)
	cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// place is a queued job's, with how long it takes until its turn.
	place(id job.ID) (place int, wait time.Duration, ok bool)
}

// A pool is the side of the workers.
type pool interface {
	// serve waits for the next thing that a worker has to do, and does it; false when claiming has ended.
	serve(w *worker) bool
	// halt ends claiming, and gives up what holds no worker. It may be called again.
	halt()
	// giveUp ends a task that waited and takes no more turns.
	giveUp(u unit)
	// settled returns a channel that is closed when nothing is left to wait for. It is called when the workers and the
	// alarms have ended.
	settled() <-chan struct{}
	// leave is called when no step will come, before all plans are closed.
	leave()
}

// A book is the side of those who only look.
type book interface {
	// tally counts the jobs.
	tally(kinds []string, now time.Time) *tally
}

// alone is the mode of an executor that has its jobs to itself.
type alone struct{ *Executor }
