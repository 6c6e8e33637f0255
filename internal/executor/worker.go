package executor

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
)

// A worker is a slot of the pool.
type worker struct {
	e     *Executor
	local job.Local

	// since is when the current step began, in nanoseconds since the executor was made; 0 when idle. busy is the time of all steps
	// before. Both are read at scrape time, so that busy seconds accrue while a step runs.
	since atomic.Int64
	busy  atomic.Int64

	demand demand // of a node of a cluster
}

// loop takes turns until claiming ends.
func (w *worker) loop() {
	if w.e.cfg.WorkerStart != nil {
		w.e.cfg.WorkerStart()
	}
	for {
		if !w.e.mode.serve(w) {
			return
		}
	}
}

// step does a step of a task, and measures it.
func (w *worker) step(p *planned, start time.Time, span trace.Span, do func() (job.Step, error)) (
	step job.Step, elapsed time.Duration, err error,
) {
	err = p.guard(func() (err error) {
		step, err = do()
		return err
	})
	elapsed = time.Since(start)
	endTask(span, &step, err)
	w.e.metrics.stepped(p, &step, err, elapsed)
	if elapsed > maxStep {
		w.e.warnLongStep(p, elapsed)
	}
	return step, elapsed, err
}

// maxStep is how long a step may take before it is reported. A step holds its worker, so other jobs wait for its end.
const maxStep = 100 * time.Millisecond

// warnLongStep logs the first long step of each kind. The metrics have all of them.
func (e *Executor) warnLongStep(p *planned, elapsed time.Duration) {
	if _, warned := e.longSteps.LoadOrStore(p.job.Kind, true); !warned {
		p.log().Warn("a step of a task took long; further ones of this kind are not reported", "duration", elapsed, "limit", maxStep)
	}
}

// serve implements mode.
func (a alone) serve(w *worker) bool {
	if !a.waitRoom() {
		return false
	}
	u, ok := a.claim()
	if ok {
		w.turn(u)
	}
	return ok
}

// waitRoom waits until the journal takes results; it reports false when claiming has ended.
func (e *Executor) waitRoom() bool {
	if e.cfg.Room == nil {
		return true
	}
	for {
		changed := e.cfg.Room()
		if changed == nil {
			return true
		}
		select {
		case <-changed:
		case <-e.claims.Done():
			return false
		}
	}
}

// claim waits for a unit; it reports false when claiming has ended.
func (e *Executor) claim() (unit, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if !e.claiming {
			return unit{}, false
		}
		if u, ok := e.queue.next(); ok {
			// Whoever queued a job woke one worker; each that finds more work than its own wakes the next.
			if !e.queue.empty() {
				e.ready.Signal()
			}
			return u, true
		}
		e.ready.Wait()
	}
}

// turn does one step of one task.
func (w *worker) turn(u unit) {
	r := u.run
	start := time.Now()
	r.mu.Lock()
	if !r.begin(start) {
		r.mu.Unlock()
		return
	}
	span := r.startTask(u.task, start)
	r.mu.Unlock()
	w.since.Store(w.e.age(start))
	var task job.Task
	step, elapsed, err := w.step(&r.planned, start, span, func() (job.Step, error) {
		if r.size.Tasks == 0 {
			return job.Step{}, nil
		}
		if u.woken != nil {
			task = *u.woken
		} else {
			task = r.plan.Task(u.task, job.Resume{Started: r.started, Steps: r.steps[u.task]})
		}
		return task.Step(r.ctx, start, &w.local)
	})
	if u.woken == nil && err == nil && !step.Wake.IsZero() {
		parked := task
		u.woken = &parked
	}
	r.stepped(u, &step, err)
	w.busy.Add(int64(elapsed))
	w.since.Store(0)
}

// stepped takes the outcome of a step: it records it, parks the task if it waits, and ends the job after the last one.
func (r *run) stepped(u unit, step *job.Step, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.busy--
		r.failed(err)
		return
	}
	bytes := int64(step.Items.Size() + len(step.Partial))
	if err := r.e.addResults(&r.job, &r.results, bytes); err != nil {
		r.busy--
		r.failed(err)
		return
	}
	finished := step.Wake.IsZero()
	if r.size.Tasks > 0 && finished {
		if err := r.guard(func() error { return r.reduction().Add(u.task, step.Partial) }); err != nil {
			r.busy--
			r.failed(err)
			return
		}
		r.done++
	}
	var events []job.Event
	if a, recorded := advanced(u.task, step); recorded && r.size.Tasks > 0 {
		r.completed += step.Completed + step.Failed
		events = append(make([]job.Event, 0, 3), a)
	}
	if r.done == r.size.Tasks && r.ending == nil {
		r.reduce()
	}
	r.busy--
	switch {
	case r.ending != nil:
		r.settle(events...)
		return
	case len(events) > 0 && step.Items.Len() == 0:
		r.append(checkpointDelay, events...)
	case len(events) > 0:
		if bytes >= countedBytes {
			r.e.written(r, bytes)
			r.appendDone(0, func(error) { r.e.synced(r, bytes) }, events...)
		} else {
			r.append(0, events...)
		}
	}
	if !finished {
		r.park(u, step.Wake)
	}
}

// reduce makes the result of a job whose tasks are all done, unless the job is ended meanwhile. Caller holds r.mu, which
// is let go during the reduction; busy keeps the job from being settled.
func (r *run) reduce() {
	r.mu.Unlock()
	var out job.Outcome
	err := r.guard(func() (err error) {
		out, err = r.reduction().Outcome()
		return err
	})
	r.mu.Lock()
	end := succeeded(&out)
	if err == nil {
		err = r.e.addResults(&r.job, &r.results, job.ResultBytes(end))
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.end(errCancelled, end)
}

// failed takes the error of a step. Caller holds r.mu.
func (r *run) failed(err error) {
	// A stop ends the step without an outcome: the task is resumed after the restart.
	if context.Cause(r.e.work) != nil && r.ending == nil {
		return
	}
	r.fail(err)
	r.settle()
}

// fail decides that the job fails, unless its end is decided. Caller holds r.mu.
func (r *run) fail(err error) {
	f := failure(err)
	r.end(f, job.Finished{State: job.Failed, Failure: f})
}

// park lets a task wait without a worker. Caller holds r.mu.
func (r *run) park(u unit, wake time.Time) (al *alarm) {
	if r.parked == nil {
		r.parked = make(map[*alarm]unit)
	}
	al = r.e.alarms.set(wake, func(time.Time) {
		r.mu.Lock()
		u, parked := r.parked[al]
		delete(r.parked, al)
		giveUp := false
		if h := u.hold; h != nil && parked {
			h.unpark()
			giveUp = h.over || h.paused
		}
		r.mu.Unlock()
		if parked && (giveUp || !r.e.requeue(u, (*queue).pushWoken)) {
			r.e.mode.giveUp(u)
		}
	})
	r.parked[al] = u
	return al
}

// requeue hands a unit to the workers; false when it takes no more turns.
func (e *Executor) requeue(u unit, push func(*queue, unit)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.claiming || u.run.dead {
		return false
	}
	push(&e.queue, u)
	e.ready.Signal()
	return true
}
