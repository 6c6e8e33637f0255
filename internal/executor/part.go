package executor

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"gather/internal/job"
)

// A part is this node's part in a job that several nodes share: its plan, made once, and the turns that it has.
type part struct {
	planned // its startedAt, closed and traced are guarded by mu; its plan is not used before made
	made    sync.Once
	err     error // why there is no plan

	mu    sync.Mutex
	begun bool      // the trace
	state job.State // as far as this node knows

	// Guarded by shared.mu.
	holds           map[*hold]struct{}
	running, parked int
	timeout, linger *alarm
	idleAt          time.Time // since when it has no turns
	over            bool      // the job has ended
	retired         bool
}

// lingering is how long a plan is kept for the next turn: a job under way has its turns one after the other.
const lingering = time.Second

// join takes a turn into this node's part in its job.
func (s *shared) join(t *job.Turn) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[t.Job.ID]
	if p == nil {
		p = &part{holds: make(map[*hold]struct{}), state: job.Running}
		p.planned = planned{e: s.e, job: t.Job, series: s.e.metrics.of(&t.Job)}
		s.parts[t.Job.ID] = p
	}
	s.e.alarms.clear(p.linger)
	h := &hold{part: p, turn: t, uses: 1}
	p.holds[h] = struct{}{}
	s.turns++
	return h
}

// plan makes the plan, unless it is there. An error that is not the job's own is no *job.Failure.
func (s *shared) plan(ctx context.Context, h *hold) error {
	p := h.part
	p.made.Do(func() {
		err := p.guard(func() (err error) {
			p.plan, err = s.e.cfg.Planner.Replan(ctx, p.job.Tenant, p.job.Kind, h.turn.Spec)
			return err
		})
		switch {
		case err == nil:
			p.size = p.plan.Size()
			return
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case !errors.Is(err, job.ErrStorage):
			p.log().Error("plan a job of the cluster", "error", err)
			err = &job.Failure{Reason: job.FailedTask, Detail: "the job cannot be planned by this version: " + err.Error()}
		}
		p.err = err
		s.mu.Lock()
		if s.parts[p.job.ID] == p {
			delete(s.parts, p.job.ID) // the next turn tries again
		}
		s.mu.Unlock()
	})
	return p.err
}

// begin notes that the job has started, here or elsewhere.
func (s *shared) begin(h *hold, first bool) {
	p := h.part
	p.mu.Lock()
	p.startedAt = h.startedAt
	if !p.begun {
		p.begun = true
		p.startTrace(time.Now(), !first)
	}
	p.mu.Unlock()
	s.mu.Lock()
	if p.job.Timeout > 0 && p.timeout == nil && !s.halting {
		p.timeout = s.e.alarms.set(h.resume.Started.Add(p.job.Timeout), func(time.Time) { s.expire(p) })
	}
	s.mu.Unlock()
}

// expire is the alarm of the job's timeout.
func (s *shared) expire(p *part) {
	s.mu.Lock()
	var one *hold
	for one = range p.holds {
		if one.unsaid { // the one there is: its step tells
			if one.cancel != nil {
				one.cancel(p.timedOut())
			}
			s.mu.Unlock()
			return
		}
		one.uses++ // so that its turn is not ended before it has decided
		break
	}
	s.mu.Unlock()
	if one != nil {
		s.fail(one, p.timedOut())
		s.release(one)
	}
}

// fail decides that the job fails.
func (s *shared) fail(h *hold, f *job.Failure) {
	h.part.now(job.Failed)
	h.turn.Decide(job.Finished{State: job.Failed, Failure: f})
}

// now notes the state of the job.
func (p *part) now(state job.State) {
	p.mu.Lock()
	p.state = state
	p.mu.Unlock()
}

// idle is called when a part has no turn any more; shared.mu is held. It keeps the plan for a moment if there may be more
// turns, and otherwise has it closed by the alarms: who calls this must not wait. A part that can be closed at once is
// returned.
func (s *shared) idle(p *part, over bool) *part {
	s.e.alarms.clear(p.timeout)
	p.timeout, p.idleAt = nil, time.Now()
	if _, open := p.plan.(io.Closer); s.halting || over && !open {
		p.retired = true
		if s.parts[p.job.ID] == p {
			delete(s.parts, p.job.ID)
		}
		return p
	}
	at := p.idleAt
	if !over {
		at = at.Add(lingering)
	}
	p.linger = s.e.alarms.set(at, func(time.Time) { s.retire(p) })
	return nil
}

// retire is the alarm that ends a part without turns.
func (s *shared) retire(p *part) {
	s.mu.Lock()
	stay := len(p.holds) > 0 || p.retired
	if !stay {
		p.retired = true
		if s.parts[p.job.ID] == p {
			delete(s.parts, p.job.ID)
		}
	}
	s.mu.Unlock()
	if !stay {
		p.close()
	}
}

// close lets go of the plan, and ends the trace.
func (p *part) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closePlan()
	at := p.e.wall()
	if !p.idleAt.IsZero() {
		at = at.Add(-time.Since(p.idleAt))
	}
	p.endTrace(&job.Finished{At: at, State: p.state})
}
