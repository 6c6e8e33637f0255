package executor

import (
	"bytes"
	"cmp"
	"slices"

	"gather/internal/job"
)

// SetPauses replaces the pauses. A job that has not started waits while a pause holds it, and then starts in the order of
// submission. Jobs that have started continue. In a cluster the cluster holds the jobs, and the executor only counts them.
func (e *Executor) SetPauses(p job.Pauses) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pauses = p
	var hold, resume []*jobExecution
	for _, x := range e.jobs {
		if x.queued && !x.dead && p.Holds(&x.job) {
			hold = append(hold, x)
		}
	}
	for x := range e.paused {
		if !p.Holds(&x.job) {
			resume = append(resume, x)
		}
	}
	// In the order of the queue, in which abandoning is cheap.
	slices.SortFunc(hold, func(a, b *jobExecution) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, x := range hold {
		e.queue.hold(x)
		e.paused[x] = struct{}{}
	}
	slices.SortFunc(resume, func(a, b *jobExecution) int { return bytes.Compare(a.job.ID[:], b.job.ID[:]) })
	for _, x := range resume {
		delete(e.paused, x)
		e.queue.pushNew(x)
	}
	e.ready.Broadcast()
}

// isPaused reports whether a pause holds a job. Caller holds e.mu.
func (e *Executor) isPaused(x *jobExecution) bool {
	_, paused := e.paused[x]
	return paused
}
