package executor

import (
	"context"
	"time"

	"gather/internal/job"
)

// shared is the mode of an executor that shares the jobs with other nodes. The cluster has the queue, and gives this node
// turns, which are leases of one task each: the task is this node's until it ends the turn. Leases join the queue that the
// workers take tasks from, together with the tasks whose timers have fired.
//
// Guarantees. Every turn is ended once, after the last of its appends was answered. What was refused is not tried again:
// the task is another's, or the job is to end. An error that is not the job's own gives the turn up, never the job.
//
// Locks are as in one node. Nothing of the cluster is called under a lock.
type shared struct {
	e       *Executor
	cluster Cluster
	// aborted is closed when the steps under way were cancelled, at the end of Stop's grace.
	aborted chan struct{}

	// Guarded by Executor.mu.
	holds map[*hold]struct{} // whose leases are not ended
	// ended is closed, and left set, when no lease is left after leaving was set.
	ended         chan struct{}
	leaving, left bool
}

func newShared(e *Executor, c Cluster) *shared {
	s := &shared{
		e: e, cluster: c, aborted: make(chan struct{}), holds: make(map[*hold]struct{}), ended: make(chan struct{}),
	}
	context.AfterFunc(e.work, s.abort) // leave waits for it
	return s
}

// admit implements mode: the cluster checks the bounds, which all nodes share, when it appends the batch.
func (s *shared) admit(tenant string, jobs int, runs []*run) (*job.Admission, error) {
	e := s.e
	quota, err := e.quota(tenant, jobs)
	if err != nil {
		return nil, err
	}
	if e.isDraining() {
		e.metrics.rejected(reasonDraining, jobs)
		return nil, &job.Rejection{
			Err: job.ErrDraining, Reason: reasonDraining, Detail: "this node admits no more jobs", RetryAfter: time.Second,
		}
	}
	a := &job.Admission{
		Sizes: make([]job.Size, len(runs)),
		Jobs:  e.cfg.MaxJobs, TenantJobs: quota, Bytes: e.cfg.MaxBytes, Waiting: e.cfg.MaxWaiting,
	}
	for i, r := range runs {
		a.Sizes[i] = r.size
	}
	return a, nil
}

// submitted implements mode. The plans are freed, because any node may run the jobs.
func (*shared) submitted(runs []*run) { rollback(runs) }

// cancel implements mode.
func (s *shared) cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return s.cluster.Cancel(ctx, tenant, id)
}

// place implements mode.
func (s *shared) place(id job.ID) (int, time.Duration, bool) { return s.cluster.Position(id) }

// Ended counts a job that the cluster ended on behalf of this node: one that was cancelled, or whose end was decided with
// Turn.Decide. It is called when the end is durable, on the node that appended it, and does not block.
func (e *Executor) Ended(j *job.Job) {
	p := planned{e: e, job: *j, series: e.metrics.of(j), startedAt: j.StartedAt}
	if sc, ok := e.sampled(j); ok {
		p.traced.exemplar = example(sc)
	}
	p.recordEnd(&job.Finished{At: j.FinishedAt, State: j.State, Failure: j.Failure})
}
