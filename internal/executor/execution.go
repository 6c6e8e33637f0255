package executor

import (
	"context"
	"sync"
	"time"

	"gather/internal/job"
)

// A jobExecution is the execution of a job by this executor: of an admitted job from its admission to its last event, and
// of a cluster's job from the first lease of a task to the last.
//
// Lock order: jobExecution.mu before Executor.mu. An event is decided and appended under one hold of jobExecution.mu, so
// the journal has the events of a job in the order of the decisions.
type jobExecution struct {
	plannedJob             // job.Waits, job.ReleasedAt, startedAt, closed and traced are guarded by mu
	reducer    job.Reducer // nil until the first task is done

	// ctx is the context of a local job's tasks; its cause distinguishes a cancel from a stop.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Guarded by Executor.mu.
	nextTask int    // the next task that was never assigned
	sequence uint64 // place among the new jobs of its priority
	queued   bool   // among the new jobs
	dead     bool   // takes no more steps
	counted  bool   // in the admission counts
	unsynced int64  // bytes of results that are not on disk yet
	held     bool   // has tasks left, and waits until its results are on disk
	delayed  bool   // its start is in the future
	waits    bool   // for other jobs to succeed

	mu    sync.Mutex
	state job.State
	// startPending is true until the Started event is appended. A job with one short task appends Started and Finished
	// together.
	startPending bool
	busy         int // running steps
	done         int // finished tasks
	// ending is the end of the job, appended when busy is 0; nil while the job runs normally.
	ending  *job.Finished
	waiting map[*timer]assignment // tasks that wait on a timer or for an event
	start   *timer                // of a delayed start
	due     time.Time             // of a start that was given as a delay, on the monotonic clock
	timeout *timer

	// finished has the tasks that were done before a recovery, and steps the recorded steps of the others. Both are nil for
	// a job that was not recovered, and do not change after recovery.
	finished  []bool
	steps     map[int][]job.TaskProgress
	results   int64 // bytes of results and partials so far
	completed int64 // items that no longer wait

	leases *leases // of a cluster's job; else nil
}

func (e *Executor) newExecution(p plannedJob) *jobExecution {
	x := &jobExecution{plannedJob: p, state: p.job.State, due: time.Now().Add(p.job.Delay)}
	x.ctx, x.cancel = context.WithCancelCause(e.work)
	return x
}

// after returns the first unfinished task behind task i.
func (x *jobExecution) after(i int) int {
	for i++; i < len(x.finished) && x.finished[i]; i++ {
	}
	return i
}

// dropFromQueue takes a job out of the queue.
func (e *Executor) dropFromQueue(x *jobExecution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !x.dead {
		x.dead = true
		delete(e.paused, x)
		e.queue.abandon(x)
	}
}

// release removes a job, and subtracts it from the admission counts.
func (e *Executor) release(x *jobExecution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !x.counted {
		return
	}
	x.counted, x.dead, x.finished = false, true, nil
	delete(e.jobs, x.job.ID)
	e.stopWaiting(x)
	if e.tenants[x.job.Tenant]--; e.tenants[x.job.Tenant] == 0 {
		delete(e.tenants, x.job.Tenant)
	}
	e.bytes -= x.size.Memory
	e.waiting -= x.size.Waiting
}

// freePlan frees the plan of a job that has ended: the job may stay in the queue for long. Caller holds x.mu.
func (x *jobExecution) freePlan() {
	x.closePlan()
	x.plan, x.reducer, x.steps = nil, nil, nil
}

// reduction returns the reducer, which is made when it is first needed. Caller holds x.mu, or has x for itself.
func (x *jobExecution) reduction() job.Reducer {
	if x.reducer == nil {
		x.reducer = x.plan.Reducer()
	}
	return x.reducer
}

// leave closes the plan and ends the trace of a job that does not end here. Caller holds x.mu.
func (x *jobExecution) leave() {
	x.closePlan()
	at := x.e.wall()
	if x.leases != nil && !x.leases.idleSince.IsZero() {
		at = at.Add(-time.Since(x.leases.idleSince))
	}
	x.endTrace(&job.Finished{At: at, State: x.state})
}

// rollback drops a job that was not submitted, or whose tasks the nodes of a cluster run.
func (x *jobExecution) rollback() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.end(job.ErrStorage, job.Finished{State: job.Cancelled})
	x.state = job.Cancelled
	x.e.timers.clear(x.start)
	x.e.timers.clear(x.timeout)
	if x.busy == 0 {
		x.freePlan()
	}
	x.e.release(x)
}
