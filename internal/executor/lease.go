package executor

import (
	"context"
	"time"

	"gather/internal/job"
)

// An assignment is a task whose next step a worker can run. It has four words, so that it is passed in registers.
type assignment struct {
	exec *jobExecution
	task int
	// waited is the task that waited; nil before the first step.
	waited *waitingTask
	// held is the lease of a cluster's task; nil for a local one.
	held *clusterLease
}

// A waitingTask is a task that has taken a step and takes another one. It is owned by its assignment.
type waitingTask struct {
	job.Task
	// effects is true if the last step returned an Await: the task takes steps until it returns no other one, also when its
	// job is ending.
	effects bool
}

// hasEffects reports whether the task may have effects under way.
func (a assignment) hasEffects() bool { return a.waited != nil && a.waited.effects }

// A lease is the right of this executor to run one task. Workers run every task the same way; a lease connects it to the
// record of its job: the journal of one server, or the log of a cluster.
type lease interface {
	// begin registers a step and returns its context. It returns false when the task takes no more steps; then release
	// follows. After true, prepare or record ends the step. With effects of the previous step under way it returns true.
	begin(now time.Time, effects bool) (context.Context, bool)
	// prepare returns, before the first step of a task, its progress so far and the current time. After an error, which it
	// has handled, it returns false, and the time of the next try; the zero time for none.
	prepare(ctx context.Context, task int, now time.Time) (resume job.Resume, at time.Time, ok bool)
	// record takes the outcome of a step: the task's progress, the failure of its job, or the end of both. It returns when
	// the task continues; the zero time when it does not, or awaits an event. The job does not end before the event.
	record(ctx context.Context, a assignment, step job.Step, err error) (wake time.Time)
	// canWait reports whether the task may wait on a timer. Caller holds jobExecution.mu.
	canWait() bool
	// release ends the lease of a task that is done or dropped.
	release()
}

// lease returns the lease of the task.
func (a assignment) lease() lease {
	if a.held != nil {
		return a.held
	}
	return localLease{a.exec}
}

// park lets the task wait on a timer, without a worker.
func (a assignment) park(wake time.Time) {
	x, l := a.exec, a.lease()
	x.mu.Lock()
	if !l.canWait() {
		x.mu.Unlock()
		l.release()
		return
	}
	defer x.mu.Unlock()
	if x.waiting == nil {
		x.waiting = make(map[*timer]assignment)
	}
	var t *timer
	t = x.e.timers.set(wake, func(time.Time) {
		x.mu.Lock()
		a, waiting := x.resume(t)
		x.mu.Unlock()
		if waiting && !x.e.enqueue(a, (*queue).pushTimerReady) {
			a.lease().release()
		}
	})
	x.waiting[t] = a
	if a.held != nil {
		a.held.timer = t
	}
}

// await lets the task wait for an event, without a worker. The event resumes it also when its job is ending.
func (a assignment) await(register func(ready func())) {
	x := a.exec
	t := &timer{index: -1} // not pending
	x.mu.Lock()
	if x.waiting == nil {
		x.waiting = make(map[*timer]assignment)
	}
	x.waiting[t] = a
	if a.held != nil && !x.e.isClaiming() {
		a.held.cancel(errStopping) // stopClaiming may have been called before
	}
	x.mu.Unlock()
	register(func() {
		x.mu.Lock()
		a, waiting := x.resume(t)
		x.mu.Unlock()
		if waiting && !x.e.enqueue(a, (*queue).pushTimerReady) {
			a.lease().release()
		}
	})
}

// isEvent reports whether a task waits for an event, not on a timer.
func (t *timer) isEvent() bool { return t.in == nil }

// resume ends the waiting of a task; false when it does not wait. Caller holds x.mu.
func (x *jobExecution) resume(t *timer) (a assignment, waiting bool) {
	a, waiting = x.waiting[t]
	delete(x.waiting, t)
	if waiting && a.held != nil {
		a.held.timer = nil
	}
	x.e.timers.clear(t)
	return a, waiting
}

// enqueue queues a task for the workers; false when it takes no more steps.
func (e *Executor) enqueue(a assignment, push func(*queue, assignment)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.claiming || a.exec.dead && !a.hasEffects() {
		return false
	}
	push(&e.queue, a)
	e.ready.Signal()
	return true
}
