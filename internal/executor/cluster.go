package executor

import (
	"context"
	"sync"
	"time"

	"gather/internal/job"
)

// Cluster is what several executors share their jobs through: it has the queue and decides which jobs are admitted, which
// node runs a task, and how a job ends.
type Cluster interface {
	// Leases returns the channel of this node's new leases. Every received lease is ended once, with Lease.End. The channel
	// may be closed after the last one.
	Leases() <-chan *job.Lease
	// RequestLeases changes how many leases this node requests; a negative n withdraws requests. Each lease received is one
	// request less. It must not block, or call the executor.
	RequestLeases(n int)
	// Cancel requests that a job stops, and returns the job when the request is durable; a job that has ended, or is being
	// cancelled, is returned unchanged. Errors: job.ErrNotFound, job.ErrExpired, *job.Rejection, the cause of ctx.
	Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Position returns the 1-based position of a job that has not started, and the time until its start at the pace of the
	// cluster; false for any other job.
	Position(id job.ID) (place int, wait time.Duration, ok bool)
	// Unfinished visits every job of the cluster that has not ended, with its size, under one lock: visit must call nothing.
	// It reports whether this node is the leader, whose metrics are those of the whole cluster.
	Unfinished(visit func(j *job.Job, s job.Size)) (leader bool)
}

// A clusterDispatcher is for an executor that shares the jobs with other nodes. The cluster grants leases of single tasks,
// which join the queue that the workers take tasks from, together with the tasks whose timers have fired.
//
// Guarantees. Every lease is ended once, after the last of its appends was answered. A rejected append is not repeated:
// another node has the task, or the job is ending. An error that the job did not cause releases the lease, and never fails the job.
//
// Goroutines. One receives leases, until drained is called. One waits for the last lease to end, after drained.
type clusterDispatcher struct {
	e       *Executor
	cluster Cluster

	receiving     context.Context //nolint:containedctx // of the goroutine that receives
	stopReceiving context.CancelFunc
	receiver      sync.WaitGroup
	open          sync.WaitGroup // leases that are not ended
	requested     int            // leases that have not come; guarded by Executor.mu
	used          cachedUsage
}

func newClusterDispatcher(e *Executor, c Cluster) *clusterDispatcher {
	d := &clusterDispatcher{e: e, cluster: c}
	d.receiving, d.stopReceiving = context.WithCancel(context.Background())
	return d
}

// receive queues new leases, and releases them when claiming has ended.
func (d *clusterDispatcher) receive() {
	for {
		select {
		case <-d.receiving.Done():
			return
		case t, ok := <-d.cluster.Leases():
			if !ok {
				return
			}
			h := d.join(t)
			d.e.mu.Lock()
			d.requested--
			d.e.mu.Unlock()
			if !d.e.enqueue(assignment{exec: h.exec, task: t.Task, held: h}, (*queue).pushLease) {
				h.release()
			}
		}
	}
}

// request implements taskSource. Requested and queued leases count for the free workers.
func (d *clusterDispatcher) request() {
	if n := d.e.free - d.requested - d.e.queue.leases(); n > 0 {
		d.requested += n
		d.cluster.RequestLeases(n)
	}
}

// stopClaiming implements taskSource. Other nodes continue the tasks without a worker.
func (d *clusterDispatcher) stopClaiming() {
	e := d.e
	e.endClaiming()
	e.mu.Lock()
	if d.requested > 0 {
		d.cluster.RequestLeases(-d.requested)
		d.requested = 0
	}
	var left []assignment
	for a, ok := e.queue.next(); ok; a, ok = e.queue.next() {
		left = append(left, a)
	}
	e.mu.Unlock()
	for _, x := range e.executions() {
		x.mu.Lock()
		for t, a := range x.waiting {
			if t.isEvent() {
				a.held.cancel(errStopping) // released after its effects
				continue
			}
			x.resume(t)
			left = append(left, a)
		}
		x.mu.Unlock()
	}
	for _, a := range left {
		a.held.release()
	}
}

// drained implements taskSource: every lease is ended.
func (d *clusterDispatcher) drained() <-chan struct{} {
	d.stopReceiving()
	done := make(chan struct{})
	go func() { // ends with the answer to the last append
		d.receiver.Wait()
		d.open.Wait()
		close(done)
	}()
	return done
}

// admit implements submitter: the cluster checks the bounds, which all nodes share, when it appends the batch.
func (d *clusterDispatcher) admit(tenant string, jobs int, execs []*jobExecution) (*job.Admission, error) {
	e := d.e
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
		Sizes: make([]job.Size, len(execs)),
		Jobs:  e.cfg.MaxJobs, TenantJobs: quota, Bytes: e.cfg.MaxBytes, Waiting: e.cfg.MaxWaiting,
	}
	for i, x := range execs {
		a.Sizes[i] = x.size
	}
	return a, nil
}

// submitted implements submitter. The plans are freed, because any node may run the jobs.
func (*clusterDispatcher) submitted(execs []*jobExecution) { rollback(execs) }

// cancel implements submitter.
func (d *clusterDispatcher) cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return d.cluster.Cancel(ctx, tenant, id)
}

// place implements submitter.
func (d *clusterDispatcher) place(id job.ID) (int, time.Duration, bool) {
	return d.cluster.Position(id)
}

// RecordEnd counts and logs a job that the cluster ended for this node: one that was cancelled, or whose end was decided
// with Lease.Decide. It is called when the end is durable, on the node that appended it, and does not block.
func (e *Executor) RecordEnd(j *job.Job) {
	p := plannedJob{e: e, job: *j, series: e.metrics.of(j), startedAt: j.StartedAt}
	if sc, ok := e.sampled(j); ok {
		p.traced.exemplar = exemplarLabels(sc)
	}
	p.recordEnd(&job.Finished{At: j.FinishedAt, State: j.State, Failure: j.Failure})
}
