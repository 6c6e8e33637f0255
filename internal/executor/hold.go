package executor

import (
	"context"
	"errors"
	"time"

	"gather/internal/job"
)

// A hold is a turn that this node has. It is with a worker, parked, or among the woken tasks; then, when its task is done
// or given up, it waits for its appends to be answered.
type hold struct {
	part *part
	turn *job.Turn

	// Of whoever has it.
	ready     bool
	task      job.Task   // nil until its first step
	resume    job.Resume // its Started is of the monotonic clock
	startedAt time.Time  // the same by the wall clock
	paused    bool       // it cannot be begun now, and is given up when the alarm comes
	completed int64      // units of the task
	results   int64      // bytes of results of the task

	// Guarded by shared.mu.
	uses   int                     // by its task, by appends and alarms under way; the turn is ended when it is 0
	unsaid bool                    // the job's start is not in the log, but goes there with its end; set by who has it
	over   bool                    // takes no step any more
	cancel context.CancelCauseFunc // of the step under way
	alarm  *alarm                  // while parked
	watch  func() bool             // ends what watches the turn's context while parked
}

// release ends a use of the turn, and the turn with the last.
func (s *shared) release(h *hold) {
	var gone *part
	s.mu.Lock()
	h.uses--
	if h.uses > 0 {
		s.mu.Unlock()
		return
	}
	p := h.part
	delete(p.holds, h)
	if len(p.holds) == 0 {
		gone = s.idle(p, h.turn.Context.Err() != nil || p.err != nil || p.over)
	}
	s.mu.Unlock()
	if gone != nil {
		gone.close()
	}
	h.turn.End()
	s.mu.Lock()
	s.turns--
	s.checkEnded()
	s.mu.Unlock()
}

// drop gives a turn up whose job is to end, or whose task is no longer this node's.
func (s *shared) drop(h *hold) {
	s.mu.Lock()
	h.over = true
	if h.cancel != nil {
		h.cancel(job.ErrTransition)
	}
	was := s.unpark(h)
	s.mu.Unlock()
	if was {
		s.release(h)
	}
}

// enter registers a step; false when none is to be taken.
func (s *shared) enter(h *hold, cancel context.CancelCauseFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.over || s.halting || h.turn.Context.Err() != nil {
		return false
	}
	h.cancel = cancel
	s.running[h] = struct{}{}
	h.part.running++
	return true
}

// exit ends what enter began.
func (s *shared) exit(h *hold) {
	s.mu.Lock()
	h.cancel = nil
	delete(s.running, h)
	h.part.running--
	s.mu.Unlock()
}

// park lets a task wait without a worker, until its time has come or its turn is dropped.
func (s *shared) park(h *hold, wake time.Time) {
	s.mu.Lock()
	if s.halting || h.over {
		s.mu.Unlock()
		s.release(h)
		return
	}
	s.parked[h] = struct{}{}
	h.part.parked++
	h.uses++ // of the watch
	h.alarm = s.e.alarms.set(wake, func(time.Time) { s.wake(h) })
	h.watch = context.AfterFunc(h.turn.Context, func() {
		s.drop(h)
		s.release(h)
	})
	s.mu.Unlock()
}

// unpark ends the waiting of a task; false when it does not wait. Caller holds s.mu.
func (s *shared) unpark(h *hold) bool {
	if _, ok := s.parked[h]; !ok {
		return false
	}
	delete(s.parked, h)
	h.part.parked--
	s.e.alarms.clear(h.alarm)
	if h.watch() {
		h.uses-- // never the last: the task's own is left
	}
	h.alarm, h.watch = nil, nil
	return true
}

// wake is the alarm of a parked task.
func (s *shared) wake(h *hold) {
	s.mu.Lock()
	was := s.unpark(h)
	over := h.over || h.paused
	if was && !over {
		s.woken.push(h)
		s.stir()
	}
	s.mu.Unlock()
	if was && over {
		s.release(h)
	}
}

// append appends events of the turn's task. Then is called when they are durable; nil for nothing. It reports false when
// the turn is lost, and then the task must not go on.
func (s *shared) append(ctx context.Context, h *hold, then func(), events ...job.Event) bool {
	s.mu.Lock()
	h.uses++
	s.mu.Unlock()
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
		h.part.log().Error("append events", "error", err, "task", h.turn.Task)
	}
	s.drop(h)
}
