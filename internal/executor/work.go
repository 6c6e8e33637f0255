package executor

import (
	"bytes"
	"slices"
	"time"

	"gather/internal/job"
)

// maxNodeJobs is how many jobs Work lists at most.
const maxNodeJobs = 100

// Work returns the load of this node, and the jobs with tasks on it.
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

// nodeJobs lists at most limit of the jobs with tasks on this node.
func (e *Executor) nodeJobs(limit int) []job.NodeJob {
	var jobs []job.NodeJob
	for _, x := range e.started() {
		x.mu.Lock()
		one := job.NodeJob{ID: x.job.ID, Tenant: x.job.Tenant, Kind: x.job.Kind, Running: x.running(), Waiting: len(x.waiting)}
		x.mu.Unlock()
		if one.Running+one.Waiting > 0 {
			jobs = append(jobs, one)
		}
		if len(jobs) == limit {
			break
		}
	}
	return jobs
}

// running returns how many steps are under way. A local task that awaits an event is counted in busy. Caller holds x.mu.
func (x *jobExecution) running() int {
	n := x.busy
	for t := range x.waiting {
		if t.isEvent() && x.leases == nil {
			n--
		}
	}
	return n
}

// started returns the jobs that have tasks here.
func (e *Executor) started() (list []*jobExecution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.jobs {
		if x.leases != nil || x.nextTask > 0 {
			list = append(list, x)
		}
	}
	return list
}

// waitingItems returns how many items of a job wait here. Of a cluster's job this node has some tasks only: the
// items are assumed to be spread evenly over the tasks, because only the plan has their distribution.
func (x *jobExecution) waitingItems() (n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case len(x.waiting) == 0 || x.size.Waiting == 0:
		return 0
	case x.leases == nil:
		n = x.size.Units - x.completed
	default:
		each := (x.size.Units + int64(x.size.Tasks) - 1) / int64(x.size.Tasks)
		for _, a := range x.waiting {
			n += max(0, each-a.held.completed)
		}
	}
	return max(0, min(x.size.Waiting, n))
}

// waitingItems returns how many items wait on this node.
func (e *Executor) waitingItems() (n int64) {
	for _, x := range e.started() {
		n += x.waitingItems()
	}
	return n
}
