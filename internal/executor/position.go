package executor

import (
	"time"

	"gather/internal/job"
)

// Outlook returns the position of a queued job among the jobs of its priority, from 1, and the time after which to request
// the job again, from 1 s to 30 s: by the job's own pace when it runs, by the measured drain rate when it is queued. The
// position of any other job is 0, also of a job with a later start.
func (e *Executor) Outlook(j *job.Job) (position int, retryAfter time.Duration) {
	const most = 30 * time.Second
	now := e.wall()
	wait := time.Second
	switch j.State {
	case job.Queued:
		if place, d, ok := e.submit.place(j.ID); ok {
			position, wait = place, d
		}
		if d := j.StartAfter.Sub(now); d > 0 {
			wait = d
		}
	case job.Running:
		if f := j.Progress.Fraction(); f > 0 {
			wait = time.Duration(float64(now.Sub(j.StartedAt)) * (1 - f) / f)
		}
	}
	return position, min(max(wait, time.Second), most)
}

// place implements submitter.
func (d localDispatcher) place(id job.ID) (int, time.Duration, bool) {
	e := d.Executor
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.jobs[id]
	if !ok || !x.queued || x.dead {
		return 0, 0, false
	}
	now := time.Now()
	place := e.queue.position(x)
	if busy, _ := e.load(now); place <= len(e.workers)-busy {
		return place, 0, true // a worker is about to take it; on an idle server few jobs have ended, so the rate is no measure
	}
	return place, e.finishes.RetryAfter(now, place), true
}
