package executor

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"gather/internal/job"
)

// A part is what the run of a job has besides when several nodes share the job: a plan that is made with the first lease,
// and the leases.
type part struct {
	made sync.Once
	err  error // why there is no plan

	// Guarded by run.mu.
	begun   bool // the trace
	holds   map[*hold]struct{}
	idleAt  time.Time // since when it has no leases
	linger  *alarm    // until then its plan is kept
	over    bool      // the job has ended
	retired bool
}

// lingering is how long a plan is kept for the next lease: a job under way has its leases one after the other.
const lingering = time.Second

// join takes a lease into this node's run of its job.
func (s *shared) join(t *job.Turn) *hold {
	e := s.e
	for {
		e.mu.Lock()
		r := e.runs[t.Job.ID]
		if r == nil {
			r = &run{
				planned: planned{e: e, job: t.Job, series: e.metrics.of(&t.Job)}, state: job.Running,
				part: &part{holds: make(map[*hold]struct{})},
			}
			e.runs[t.Job.ID] = r
		}
		e.mu.Unlock()
		r.mu.Lock()
		if !r.part.retired {
			e.alarms.clear(r.part.linger)
			h := &hold{run: r, turn: t, uses: 1}
			r.part.holds[h] = struct{}{}
			e.mu.Lock()
			s.holds[h] = struct{}{}
			e.mu.Unlock()
			r.mu.Unlock()
			return h
		}
		r.mu.Unlock() // it has just been removed from e.runs
	}
}

// plan makes the plan, unless it is there. An error that is not the job's own is no *job.Failure.
func (s *shared) plan(ctx context.Context, h *hold) error {
	r := h.run
	r.part.made.Do(func() {
		err := r.guard(func() (err error) {
			r.plan, err = s.e.cfg.Planner.Replan(ctx, r.job.Tenant, r.job.Kind, h.turn.Spec)
			return err
		})
		switch {
		case err == nil:
			r.size = r.plan.Size()
			return
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case !errors.Is(err, job.ErrStorage):
			r.log().Error("plan a job of the cluster", "error", err)
			err = &job.Failure{Reason: job.FailedTask, Detail: "the job cannot be planned by this version: " + err.Error()}
		}
		r.part.err = err
		s.e.forget(r) // the next lease tries again
	})
	return r.part.err
}

// begin records that the job has started, here or elsewhere.
func (s *shared) begin(h *hold, first bool) {
	r := h.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.startedAt, r.started = h.startedAt, h.resume.Started
	if !r.part.begun {
		r.part.begun = true
		r.startTrace(time.Now(), !first)
	}
	if r.job.Timeout > 0 && r.timeout == nil && s.e.isClaiming() {
		r.timeout = s.e.alarms.set(r.started.Add(r.job.Timeout), func(time.Time) { s.expire(r) })
	}
}

// expire is the alarm of the job's timeout.
func (s *shared) expire(r *run) {
	r.mu.Lock()
	var one *hold
	for one = range r.part.holds {
		if one.startPending { // the job's only lease: its step fails, and appends the end
			if one.cancel != nil {
				one.cancel(r.timedOut())
			}
			r.mu.Unlock()
			return
		}
		one.uses++ // so that its lease is not ended before it has decided
		break
	}
	r.mu.Unlock()
	if one != nil {
		s.fail(one, r.timedOut())
		s.release(one)
	}
}

// fail decides that the job fails.
func (s *shared) fail(h *hold, f *job.Failure) {
	h.run.mu.Lock()
	h.run.state = job.Failed
	h.run.mu.Unlock()
	h.turn.Decide(job.Finished{State: job.Failed, Failure: f})
}

// idle is called when a run has no lease left; run.mu is held. The plan is kept for a moment if there may be more leases,
// and otherwise closed by the alarms: the caller must not wait. A plan that needs no closing is freed immediately.
func (s *shared) idle(r *run, over bool) {
	s.e.alarms.clear(r.timeout)
	r.timeout, r.part.idleAt = nil, time.Now()
	if _, open := r.plan.(io.Closer); !s.e.isClaiming() || over && !open {
		r.retire()
		return
	}
	at := r.part.idleAt
	if !over {
		at = at.Add(lingering)
	}
	r.part.linger = s.e.alarms.set(at, func(time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.part.holds) == 0 && !r.part.retired {
			r.retire()
		}
	})
}

// retire ends a run without leases. Caller holds r.mu.
func (r *run) retire() {
	r.part.retired = true
	r.e.forget(r)
	r.leave()
}

// leave closes the plan and ends the trace of a run that is not ended here. Caller holds r.mu.
func (r *run) leave() {
	r.closePlan()
	at := r.e.wall()
	if r.part != nil && !r.part.idleAt.IsZero() {
		at = at.Add(-time.Since(r.part.idleAt))
	}
	r.endTrace(&job.Finished{At: at, State: r.state})
}

// forget removes a run from the executor's, unless another has replaced it.
func (e *Executor) forget(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.runs[r.job.ID] == r {
		delete(e.runs, r.job.ID)
	}
}
