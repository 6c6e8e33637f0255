package executor

import (
	"context"
	"errors"
	"time"

	"gather/internal/job"
)

// A hold is a lease that this node has of a task. It is queued, with a worker, or parked; then, when its task is done or
// given up, it waits for its appends to be answered.
type hold struct {
	run  *run
	turn *job.Turn

	// Owned by the goroutine that runs the task.
	ready     bool
	task      job.Task   // nil until its first step
	resume    job.Resume // its Started is of the monotonic clock
	startedAt time.Time  // the same by the wall clock
	completed int64      // units of the task
	results   int64      // bytes of results of the task

	// Guarded by run.mu.
	uses         int                     // by its task, by appends and alarms under way; the lease is ended when it is 0
	startPending bool                    // the Started event is not in the log, and is appended with the job's end
	over         bool                    // takes no further step
	paused       bool                    // it cannot be begun now, and is given up when the alarm comes
	cancel       context.CancelCauseFunc // of the step under way
	alarm        *alarm                  // while parked
	watch        func() bool             // stops watching the lease's context, while parked
}

// release ends a use of the lease, and the lease with the last.
func (s *shared) release(h *hold) {
	r := h.run
	r.mu.Lock()
	h.uses--
	if h.uses > 0 {
		r.mu.Unlock()
		return
	}
	delete(r.part.holds, h)
	if len(r.part.holds) == 0 {
		s.idle(r, h.turn.Context.Err() != nil || r.part.err != nil || r.part.over)
	}
	r.mu.Unlock()
	h.turn.End()
	s.e.mu.Lock()
	delete(s.holds, h)
	s.checkEnded()
	s.e.mu.Unlock()
}

// drop gives up a lease whose job is ending, or whose task is no longer this node's.
func (s *shared) drop(h *hold) {
	h.run.mu.Lock()
	h.over = true
	if h.cancel != nil {
		h.cancel(job.ErrTransition)
	}
	parked := h.unpark()
	h.run.mu.Unlock()
	if parked {
		s.release(h)
	}
}

// enter registers a step; false when the lease takes none.
func (s *shared) enter(h *hold, cancel context.CancelCauseFunc) bool {
	h.run.mu.Lock()
	defer h.run.mu.Unlock()
	if h.over || !s.e.isClaiming() || h.turn.Context.Err() != nil {
		return false
	}
	h.cancel = cancel
	h.run.busy++
	return true
}

// exit ends what enter began.
func (h *hold) exit() {
	h.run.mu.Lock()
	h.cancel = nil
	h.run.busy--
	h.run.mu.Unlock()
}

// park lets a task wait without a worker, until its time has come or its lease is dropped.
func (s *shared) park(h *hold, wake time.Time) {
	h.run.mu.Lock()
	if !s.e.isClaiming() || h.over {
		h.run.mu.Unlock()
		s.release(h)
		return
	}
	h.uses++ // of the watch
	h.alarm = h.run.park(unit{run: h.run, hold: h}, wake)
	h.watch = context.AfterFunc(h.turn.Context, func() {
		s.drop(h)
		s.release(h)
	})
	h.run.mu.Unlock()
}

// unpark ends the waiting of a task; false when it does not wait. Caller holds run.mu.
func (h *hold) unpark() bool {
	if h.alarm == nil {
		return false
	}
	delete(h.run.parked, h.alarm)
	h.run.e.alarms.clear(h.alarm)
	if h.watch() {
		h.uses-- // never the last: the task's own is left
	}
	h.alarm, h.watch = nil, nil
	return true
}

// append appends events of the turn's task. Then is called when they are durable; nil for nothing. It reports false when
// the turn is lost, and then the task must not go on.
func (s *shared) append(ctx context.Context, h *hold, then func(), events ...job.Event) bool {
	h.run.mu.Lock()
	h.uses++
	h.run.mu.Unlock()
	err := h.turn.Append(ctx, func(err error) {
		switch {
		case err != nil:
			s.lost(h, err)
		case then != nil:
			then()
		}
		s.release(h)
	}, events...)
	if err != nil {
		if ctx.Err() == nil {
			s.lost(h, err)
		}
		s.release(h)
	}
	return err == nil
}

// lost drops a turn whose events were not taken.
func (s *shared) lost(h *hold, err error) {
	if !errors.Is(err, job.ErrTransition) {
		h.run.log().Error("append events", "error", err, "task", h.turn.Task)
	}
	s.drop(h)
}
