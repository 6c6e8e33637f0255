package executor

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"gather/internal/job"
)

// leases is the part of a jobExecution that only a cluster's job has: a plan that is made with the first lease, and the
// leases of its tasks.
type leases struct {
	planned sync.Once
	planErr error

	// Guarded by jobExecution.mu.
	traced    bool // the trace has begun
	held      map[*clusterLease]struct{}
	idleSince time.Time // when the last lease ended
	eviction  *timer    // ends planIdleTTL
	over      bool      // the job has ended
	evicted   bool
}

// planIdleTTL is how long a plan is kept without a lease: a running job has its leases one after the other.
const planIdleTTL = time.Second

// join adds a lease to this node's execution of its job.
func (d *clusterDispatcher) join(t *job.Lease) *clusterLease {
	e := d.e
	for {
		e.mu.Lock()
		x := e.jobs[t.Job.ID]
		if x == nil {
			x = &jobExecution{
				plannedJob: plannedJob{e: e, job: t.Job, series: e.metrics.of(&t.Job)}, state: job.Running,
				leases: &leases{held: make(map[*clusterLease]struct{})},
			}
			e.jobs[t.Job.ID] = x
		}
		e.mu.Unlock()
		x.mu.Lock()
		if !x.leases.evicted {
			e.timers.clear(x.leases.eviction)
			h := newClusterLease(d, x, t)
			x.leases.held[h] = struct{}{}
			x.mu.Unlock()
			return h
		}
		x.mu.Unlock() // it has just been removed from e.jobs
	}
}

// planJob makes the plan of the job, once. An error that is not the job's own is no *job.Failure.
func (x *jobExecution) planJob(ctx context.Context, spec []byte) error {
	x.leases.planned.Do(func() {
		err := x.guard(func() (err error) {
			x.plan, err = x.e.cfg.Planner.Replan(ctx, x.job.Tenant, x.job.Kind, spec)
			return err
		})
		switch {
		case err == nil:
			x.size = x.plan.Size()
			return
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case !errors.Is(err, job.ErrStorage):
			x.log().Error("plan a job of the cluster", "error", err)
			err = unplannable(err)
		}
		x.leases.planErr = err
		x.e.forget(x) // the next lease tries again
	})
	return x.leases.planErr
}

// unplannable returns the failure of a job that cannot be planned again.
func unplannable(err error) *job.Failure {
	if f, ok := errors.AsType[*job.Failure](err); ok {
		return f
	}
	return &job.Failure{Reason: job.FailedTask, Detail: "the job cannot be planned by this version: " + err.Error()}
}

// expireLeases is the callback of the timeout of a cluster's job: one of the leases decides that the job fails.
func (x *jobExecution) expireLeases(time.Time) {
	x.mu.Lock()
	var one *clusterLease
	for one = range x.leases.held {
		if one.startPending { // the job's only lease: its step fails, and appends the end
			one.cancel(x.timedOut())
			x.mu.Unlock()
			return
		}
		one.uses++ // its lease must not be ended before it has decided
		break
	}
	x.mu.Unlock()
	if one != nil {
		one.decide(x.timedOut())
		one.free(1)
	}
}

// idle is called when the last lease has ended; x.mu is held. The plan is kept for planIdleTTL if more leases may come,
// and otherwise closed by the timers: the caller must not block. A plan that needs no closing is freed immediately.
func (x *jobExecution) idle(over bool) {
	e, l := x.e, x.leases
	e.timers.clear(x.timeout)
	x.timeout, l.idleSince = nil, time.Now()
	if _, open := x.plan.(io.Closer); !e.isClaiming() || over && !open {
		x.evict()
		return
	}
	at := l.idleSince
	if !over {
		at = at.Add(planIdleTTL)
	}
	l.eviction = e.timers.set(at, func(time.Time) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(l.held) == 0 && !l.evicted {
			x.evict()
		}
	})
}

// evict ends an execution without leases. Caller holds x.mu.
func (x *jobExecution) evict() {
	x.leases.evicted = true
	x.e.forget(x)
	x.leave()
}

// forget removes an execution from the executor's, unless another has replaced it.
func (e *Executor) forget(x *jobExecution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.jobs[x.job.ID] == x {
		delete(e.jobs, x.job.ID)
	}
}
