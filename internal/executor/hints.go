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
	place := e.queue.position(r)
	return place, e.finishes.RetryAfter(time.Now(), place), true
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
