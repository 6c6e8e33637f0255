package executor

import (
	"time"

	"gather/internal/job"
)

// Position returns the 1-based place of a job that waits for its first turn, among those of its priority. It reports
// false for any other job, those with a later start included.
func (e *Executor) Position(id job.ID) (int, bool) {
	place, _, ok := e.mode.place(id)
	return place, ok
}

// place implements mode.
func (a alone) place(id job.ID) (int, time.Duration, bool) {
	e := a.Executor
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.runs[id]
	if !ok || !r.fresh || r.dead {
		return 0, 0, false
	}
	now := time.Now()
	place := e.queue.position(r)
	if busy, _ := e.load(now); place <= len(e.workers)-busy {
		return place, 0, true // a worker is about to take it; on an idle server few jobs have ended, so the rate is no measure
	}
	return place, e.finishes.RetryAfter(now, place), true
}

// RetryAfter is a hint when to look at a job again: from its own pace when it runs, from the measured drain rate when it
// is queued. It is at least a second.
func (e *Executor) RetryAfter(j job.Job) time.Duration {
	const most = 30 * time.Second
	now := e.wall()
	wait := time.Second
	switch j.State {
	case job.Queued:
		if d := j.StartAfter.Sub(now); d > 0 {
			wait = d
		} else if _, d, ok := e.mode.place(j.ID); ok {
			wait = d
		}
	case job.Running:
		if f := j.Progress.Fraction(); f > 0 {
			wait = time.Duration(float64(now.Sub(j.StartedAt)) * (1 - f) / f)
		}
	}
	return min(max(wait, time.Second), most)
}
