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
	jobs := e.mode.nodeJobs(maxNodeJobs)
	slices.SortFunc(jobs, func(a, b job.NodeJob) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return job.Work{Workers: len(e.workers), Busy: busy, Waiting: e.mode.waiting(), Jobs: jobs}
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

// waiting implements mode.
func (a alone) waiting() int64 { return a.tally(nil, a.wall()).waiting }

// nodeJobs implements mode.
func (a alone) nodeJobs(limit int) []job.NodeJob {
	e := a.Executor
	var started []*run
	e.mu.Lock()
	for _, r := range e.runs {
		if r.nextTask > 0 {
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

// nodeJobs implements mode.
func (s *shared) nodeJobs(limit int) []job.NodeJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []job.NodeJob
	for _, p := range s.parts {
		if p.running+p.parked > 0 {
			jobs = append(jobs, job.NodeJob{
				ID: p.job.ID, Tenant: p.job.Tenant, Kind: p.job.Kind, Running: p.running, Parked: p.parked,
			})
		}
		if len(jobs) == limit {
			break
		}
	}
	return jobs
}

// waiting implements mode. How the items are spread over the tasks is the plan's to know: they are taken to be so evenly.
func (s *shared) waiting() int64 {
	items := make(map[*part]int64)
	s.mu.Lock()
	for h := range s.parked {
		if size := h.part.size; size.Waiting > 0 {
			each := (size.Units + int64(size.Tasks) - 1) / int64(size.Tasks)
			items[h.part] += max(0, each-h.completed)
		}
	}
	s.mu.Unlock()
	var sum int64
	for p, n := range items {
		sum += min(n, p.size.Waiting)
	}
	return sum
}
