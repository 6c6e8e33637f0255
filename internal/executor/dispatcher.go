package executor

import (
	"context"
	"time"

	"gather/internal/job"
)

// The dispatchers connect an executor to its jobs: localDispatcher to the journal of one server, clusterDispatcher to the log
// that the nodes of a cluster share. Everything else is the same for both: workers, queue, timers, locks.

// A submitter admits jobs and answers clients. Its methods are as the executor's.
type submitter interface {
	// admit checks whether jobs of a tenant may be submitted now: before they are planned without execs, and then with
	// execs, whose sizes it counts. It returns the bounds that the journal has to check; *job.Rejection.
	admit(tenant string, jobs int, execs []*jobExecution) (*job.Admission, error)
	// submitted takes over jobs whose submission was appended, and need not be durable yet.
	submitted(execs []*jobExecution)
	cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// place returns the position of a queued job, and the time until its start.
	place(id job.ID) (place int, wait time.Duration, ok bool)
}

// A taskSource fills the queue that the workers take tasks from.
type taskSource interface {
	// request requests tasks for the workers that are free. Caller holds Executor.mu.
	request()
	// stopClaiming stops claiming tasks, and releases tasks without a worker. It may be called again.
	stopClaiming()
	// drained returns a channel that is closed when no task is left to wait for. It is called when the workers and timers
	// have ended, and may be called again.
	drained() <-chan struct{}
	// countJobs counts the jobs and their tasks for the metrics.
	countJobs(kinds []string, now time.Time) *jobCounts
	// usage returns how much of the bounds the admitted jobs use. It does not change the maps it has returned.
	usage(now time.Time) usage
}

// A localDispatcher is for an executor that has all jobs to itself.
type localDispatcher struct{ *Executor }

// request implements taskSource: tasks are queued when their jobs are.
func (localDispatcher) request() {}

// stopClaiming implements taskSource. Tasks that wait are resumed from the journal.
func (d localDispatcher) stopClaiming() { d.endClaiming() }

// drained implements taskSource: the journal has all events that were appended.
func (localDispatcher) drained() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}
