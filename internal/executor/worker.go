package executor

import (
	"context"
	"sync/atomic"
	"time"

	"gather/internal/job"
)

// A worker is a slot of the pool.
type worker struct {
	e       *Executor
	scratch job.Scratch

	// since is when the current assignment began, in nanoseconds since the executor was made; 0 when idle. busy is the time
	// of all assignments before. Both are read at scrape time, so that busy seconds accrue while a step runs.
	since atomic.Int64
	busy  atomic.Int64
}

// loop runs assignments until claiming ends.
func (w *worker) loop() {
	betweenSteps := func() {}
	if w.e.cfg.WorkerStart != nil {
		betweenSteps = w.e.cfg.WorkerStart()
	}
	for w.e.waitRoom() {
		a, ok := w.e.claim()
		if !ok {
			return
		}
		w.run(a)
		betweenSteps()
	}
}

// waitRoom waits until the journal takes results; it returns false when claiming has ended.
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

// claim waits for an assignment; it returns false when claiming has ended.
func (e *Executor) claim() (assignment, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.free++
	defer func() { e.free-- }()
	for {
		if !e.claiming {
			return assignment{}, false
		}
		e.source.request()
		if a, ok := e.queue.next(); ok {
			// A queued job wakes one worker. Each worker that finds more work than its own wakes the next.
			if !e.queue.empty() {
				e.ready.Signal()
			}
			return a, true
		}
		e.ready.Wait()
	}
}

// loopShort runs short new jobs until claiming ends.
func (w *worker) loopShort() {
	for w.e.waitRoom() {
		a, ok := w.e.claimShort()
		if !ok {
			return
		}
		w.run(a)
	}
}

// claimShort waits for a short new job; it returns false when claiming has ended.
func (e *Executor) claimShort() (assignment, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.claiming {
		if a, ok := e.queue.nextShort(); ok {
			return a, true
		}
		e.idle++
		e.short.Wait()
	}
	return assignment{}, false
}

// signalNew wakes a worker for a new job. A short worker that waits is the first choice. Caller holds e.mu.
func (e *Executor) signalNew(x *jobExecution) {
	if e.idle > 0 && isShort(x) {
		e.idle--
		e.short.Signal()
		return
	}
	e.ready.Signal()
}

// run runs one step of a task under its lease. The task then waits, or the lease is released.
func (w *worker) run(a assignment) {
	l := a.lease()
	start := time.Now()
	ctx, ok := l.begin(start, a.hasEffects())
	if !ok {
		l.release()
		return
	}
	w.since.Store(w.e.age(start))
	wake, await, end := w.step(ctx, l, &a, start)
	if a.held != nil { // the cluster's log may take a while to accept the outcome; a journal does not
		end = time.Now()
	}
	w.busy.Add(int64(end.Sub(start)))
	w.since.Store(0)
	switch {
	case await != nil:
		a.await(await)
	case wake.IsZero():
		l.release()
	default:
		a.park(wake)
	}
}

// step runs and records a step. It returns when the task continues, or the event that it awaits, and when the step ended.
func (w *worker) step(
	ctx context.Context, l lease, a *assignment, now time.Time,
) (wake time.Time, await func(ready func()), end time.Time) {
	x := a.exec
	var resume job.Resume
	if a.waited == nil {
		var ok bool
		if resume, now, ok = l.prepare(ctx, a.task, now); !ok {
			return now, nil, end
		}
	}
	var step job.Step
	if a.task == job.Reduction || x.size.Tasks == 0 {
		return l.record(ctx, *a, step, nil), nil, now
	}
	span := x.startTask(a.task, now)
	var task job.Task
	err := x.guard(func() (err error) {
		if a.waited != nil {
			task = a.waited.Task
		} else {
			task = x.plan.Task(a.task, resume)
		}
		step, err = task.Step(ctx, now, &w.scratch)
		return err
	})
	if err != nil || step.Retry != nil {
		w.scratch = job.Scratch{} // a failed step may leave half-done work in it
		step.Await = nil
	}
	elapsed := time.Since(now)
	endTask(span, &step, err)
	w.e.metrics.stepped(&x.plannedJob, &step, err, elapsed)
	if elapsed > maxStep {
		w.e.warnLongStep(&x.plannedJob, elapsed)
	}
	if a.waited == nil && step.Waits() {
		a.waited = &waitingTask{Task: task}
	}
	if a.waited != nil {
		a.waited.effects = step.Await != nil
	}
	return l.record(ctx, *a, step, err), step.Await, now.Add(elapsed)
}

// maxStep is the duration above which a step is logged. A step holds its worker, so other jobs wait for its end.
const maxStep = 100 * time.Millisecond

// warnLongStep logs the first long step of each kind. The metrics have all of them.
func (e *Executor) warnLongStep(p *plannedJob, elapsed time.Duration) {
	if _, warned := e.longSteps.LoadOrStore(p.job.Kind, true); !warned {
		p.log().Warn("a step of a task took long; further ones of this kind are not reported", "duration", elapsed, "limit", maxStep)
	}
}
