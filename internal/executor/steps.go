package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
)

// pause is how long a turn is kept that cannot be begun now, before it is given up for another node to try.
const pause = time.Second

// step does one step of a turn's task on a worker, and then parks the task or gives it up.
func (s *shared) step(w *worker, h *hold) {
	ctx, cancel := context.WithCancelCause(h.turn.Context)
	defer cancel(nil)
	if !s.enter(h, cancel) {
		s.release(h)
		return
	}
	start := time.Now()
	w.since.Store(w.e.age(start))
	wake := s.perform(ctx, w, h)
	w.busy.Add(int64(time.Since(start)))
	w.since.Store(0)
	h.exit()
	if wake.IsZero() {
		s.release(h)
	} else {
		s.park(h, wake)
	}
}

// perform does a step, and returns when the task goes on; the zero time when this turn has no more to do.
func (s *shared) perform(ctx context.Context, w *worker, h *hold) (wake time.Time) {
	if !h.ready {
		if err := s.ready(ctx, h); err != nil {
			return s.unready(ctx, h, err)
		}
		h.ready = true
	}
	p, t := h.run, h.turn
	if t.Task == job.Reduction || p.size.Tasks == 0 {
		return s.conclude(ctx, h)
	}
	start := time.Now()
	step, _, err := w.step(&p.planned, start, p.startSpan(t.Task, start), func() (job.Step, error) {
		if h.task == nil {
			h.task = p.plan.Task(t.Task, h.resume)
		}
		return h.task.Step(ctx, start, &w.local)
	})
	if f, ok := errors.AsType[*job.Failure](context.Cause(ctx)); ok {
		err = f // expire ended the step
	}
	if err != nil {
		s.failed(ctx, h, failure(err))
		return time.Time{}
	}
	return s.stepped(ctx, h, &step)
}

// failed takes a failure that came of a step.
func (s *shared) failed(ctx context.Context, h *hold, f *job.Failure) {
	if f == context.Cause(ctx) { //nolint:errorlint // it is this very one
		again, cancel := context.WithCancelCause(h.turn.Context)
		defer cancel(nil)
		h.run.mu.Lock()
		h.cancel = cancel
		h.run.mu.Unlock()
		if ctx = again; context.Cause(s.e.work) != nil {
			return
		}
	}
	switch {
	case ctx.Err() != nil: // at a stop, or when the turn is lost, somebody else takes the task
	case h.startPending:
		s.end(ctx, h, job.Finished{State: job.Failed, Failure: f})
	default:
		s.fail(h, f)
	}
}

func (r *run) startSpan(task int, now time.Time) trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startTask(task, now)
}

// errDone: the task was done before, and only the news of it was lost.
var errDone = errors.New("the task is done")

// ready does what comes before the first step. An error that is not the job's own is no *job.Failure.
func (s *shared) ready(ctx context.Context, h *hold) error {
	if err := s.plan(ctx, h); err != nil {
		return err
	}
	p, t := h.run, h.turn
	if t.Task >= max(1, p.size.Tasks) {
		return &job.Failure{Reason: job.FailedTask, Detail: "its plan differs from the one it was begun with"}
	}
	if t.Job.State == job.Queued && t.Task != job.Reduction && p.size.Short() {
		h.resume.Started, h.startedAt = time.Now(), s.e.wall()
		h.setStartPending(true)
		s.begin(h, true)
		return nil
	}
	if err := s.start(ctx, h); err != nil {
		return err
	}
	if !t.Resumed || t.Task == job.Reduction {
		return nil
	}
	for rec, err := range t.Log(ctx) {
		if err != nil {
			return fmt.Errorf("%w: %w", errLog, err)
		}
		a, ok := rec.Event.(job.Advanced)
		switch {
		case !ok || a.Task != t.Task:
		case a.Done:
			return errDone
		default:
			h.resume.Steps = append(h.resume.Steps, a)
			h.completed += a.Completed + a.Failed
			h.results += job.ResultBytes(a)
		}
	}
	return nil
}

// start makes the job running, and this node a part of that.
func (s *shared) start(ctx context.Context, h *hold) error {
	t := h.turn
	first := t.Job.State == job.Queued
	if err := t.Start(ctx); err != nil {
		return err
	}
	if h.resume.Started.IsZero() {
		h.resume.Started = t.Started
	}
	h.startedAt = t.Job.StartedAt
	s.begin(h, first)
	if first {
		h.run.observe(func(p *planned) { p.series.started(p, p.startedAt) })
	}
	return nil
}

// observe measures what is known of a job.
func (r *run) observe(f func(p *planned)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.planned)
}

// unready takes the error of ready: a failure of the job, or nothing that a later turn could not do.
func (s *shared) unready(ctx context.Context, h *hold, err error) (wake time.Time) {
	if ctx.Err() != nil || errors.Is(err, job.ErrTransition) || errors.Is(err, errDone) {
		return time.Time{}
	}
	if f, ok := errors.AsType[*job.Failure](err); ok {
		s.failed(ctx, h, f)
		return time.Time{}
	}
	h.run.log().Warn("a task cannot be begun now", "error", err, "task", h.turn.Task)
	h.run.mu.Lock()
	h.paused = true
	h.run.mu.Unlock()
	return time.Now().Add(pause)
}

// stepped takes the outcome of a step: it records it, and ends the job if that was all of it.
func (s *shared) stepped(ctx context.Context, h *hold, step *job.Step) (wake time.Time) {
	p := h.run
	h.completed += step.Completed + step.Failed
	a, recorded := advanced(h.turn.Task, step)
	if err := s.e.addResults(&p.job, &h.results, job.ResultBytes(a)); err != nil {
		return s.unready(ctx, h, err)
	}
	switch {
	case a.Done && p.size.Tasks == 1:
		return s.finish(ctx, h, func(r job.Reducer) error { return r.Add(a.Task, a.Partial) }, a)
	case a.Done:
		s.append(ctx, h, nil, a)
		return time.Time{}
	case h.startPending:
		if err := s.start(ctx, h); err != nil {
			return s.unready(ctx, h, err)
		}
		h.setStartPending(false)
	}
	if recorded && !s.append(ctx, h, nil, a) {
		return time.Time{}
	}
	return step.Wake
}

// errLog: the log cannot be read, which is not the job's fault.
var errLog = errors.New("read the log of the job")

// conclude ends a job that has no task to do, or none any more.
func (s *shared) conclude(ctx context.Context, h *hold) (wake time.Time) {
	return s.finish(ctx, h, func(r job.Reducer) error {
		if h.turn.Task != job.Reduction {
			return nil
		}
		added := make([]bool, h.run.size.Tasks)
		left := len(added)
		for rec, err := range h.turn.Log(ctx) {
			if err != nil {
				return fmt.Errorf("%w: %w", errLog, err)
			}
			a, ok := rec.Event.(job.Advanced)
			switch {
			case !ok || !a.Done:
				continue
			case a.Task >= len(added) || added[a.Task]:
				return fmt.Errorf("its log has an end of task %d that it cannot have", a.Task)
			}
			added[a.Task] = true
			left--
			if err := r.Add(a.Task, a.Partial); err != nil {
				return err
			}
		}
		if left > 0 {
			return fmt.Errorf("its log lacks the end of %d tasks", left)
		}
		return nil
	})
}

// finish reduces what add adds, and appends the end of the job behind the events that lead to it.
func (s *shared) finish(
	ctx context.Context, h *hold, add func(job.Reducer) error, before ...job.Event,
) (wake time.Time) {
	p := h.run
	var out job.Outcome
	err := p.guard(func() (err error) {
		reducer := p.plan.Reducer()
		if err = add(reducer); err == nil {
			out, err = reducer.Outcome()
		}
		return err
	})
	how := succeeded(&out)
	if err == nil {
		err = s.e.addResults(&p.job, &h.results, job.ResultBytes(how))
	}
	if err != nil {
		if !errors.Is(err, errLog) {
			err = failure(err)
		}
		return s.unready(ctx, h, err)
	}
	s.end(ctx, h, how, before...)
	return time.Time{}
}

// end appends the end of the job, which is this turn's to say, behind the events that lead to it.
func (s *shared) end(ctx context.Context, h *hold, how job.Finished, before ...job.Event) {
	how.At = s.e.wall()
	events := make([]job.Event, 0, len(before)+2)
	if h.startPending {
		events = append(events, job.Started{At: h.startedAt})
	}
	events = append(append(events, before...), how)
	s.append(ctx, h, func() { s.finished(h, &how) }, events...)
}

// setStartPending sets whether the Started event is appended with the end of the job.
func (h *hold) setStartPending(pending bool) {
	h.run.mu.Lock()
	h.startPending = pending
	h.run.mu.Unlock()
}

// finished is called when the end of the job is durable.
func (s *shared) finished(h *hold, how *job.Finished) {
	p := h.run
	p.mu.Lock()
	p.state = how.State
	if h.startPending {
		p.series.started(&p.planned, p.startedAt)
	}
	p.recordEnd(how)
	p.part.over = true
	p.mu.Unlock()
}
