package executor

import (
	"bytes"
	"slices"
	"time"

	"gather/internal/job"
)

// maxNodeJobs bounds the jobs that Work names.
const maxNodeJobs = 100

// Work tells what this node is busy with.
func (e *Executor) Work() job.Work {
	now := time.Now()
	busy, _ := e.load(now)
	jobs := e.nodeJobs(maxNodeJobs)
	slices.SortFunc(jobs, func(a, b job.NodeJob) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return job.Work{Workers: len(e.workers), Busy: busy, Waiting: e.waitingItems(), Jobs: jobs}
}

// load counts the busy workers, and the seconds that all have been busy.
func (e *Executor) load(now time.Time) (busy int, seconds float64) {
	for _, w := range e.workers {
		ns := w.busy.Load()
		if since := w.since.Load(); since != 0 {
			busy++
			ns += max(0, e.age(now)-since)
		}
		seconds += float64(ns) / 1e9
	}
	return busy, seconds
}

// age returns the nanoseconds from the making of the executor to now, at least 1.
func (e *Executor) age(now time.Time) int64 { return max(1, int64(now.Sub(e.born))) }

// nodeJobs lists at most limit of the jobs that this node has tasks of.
func (e *Executor) nodeJobs(limit int) []job.NodeJob {
	var started []*run
	e.mu.Lock()
	for _, r := range e.runs {
		if r.part != nil || r.nextTask > 0 {
			started = append(started, r)
		}
	}
	e.mu.Unlock()
	var jobs []job.NodeJob
	for _, r := range started {
		r.mu.Lock()
		one := job.NodeJob{ID: r.job.ID, Tenant: r.job.Tenant, Kind: r.job.Kind, Running: r.busy, Parked: len(r.parked)}
		r.mu.Unlock()
		if one.Running+one.Parked > 0 {
			jobs = append(jobs, one)
		}
		if len(jobs) == limit {
			break
		}
	}
	return jobs
}

// waitingItems counts the items of a run that wait on a timer here. Of a cluster's job this node has some tasks only: the
// items are taken to be spread evenly over the tasks, because only the plan has their distribution.
func (r *run) waitingItems() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.parked) == 0 || r.size.Waiting == 0:
		return 0
	case r.part == nil:
		n = r.size.Units - r.completed
	default:
		each := (r.size.Units + int64(r.size.Tasks) - 1) / int64(r.size.Tasks)
		for _, u := range r.parked {
			n += max(0, each-u.hold.completed)
		}
	}
	return max(0, min(r.size.Waiting, n))
}

// waitingItems counts the items that wait on a timer on this node.
func (e *Executor) waitingItems() (n int64) {
	e.mu.Lock()
	var runs []*run
	for _, r := range e.runs {
		if r.part != nil || r.size.Waiting > 0 && !r.fresh && !r.delayed {
			runs = append(runs, r)
		}
	}
	e.mu.Unlock()
	for _, r := range runs {
		n += r.waitingItems()
	}
	return n
}
