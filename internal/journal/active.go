package journal

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"gather/internal/job"
)

// active is a job that has not ended, or whose end is not long durable.
type active struct {
	id job.ID
	// durable is the view that readers may see; nil before the submission is on disk.
	durable atomic.Pointer[job.Job]
	// results are the bytes of its results, changed by the writer.
	results atomic.Int64

	// Owned by the writer.

	// head is the fold of all events that the writer has taken, and written the seq of the last one in a run.
	head    job.Job
	written uint64
	// submission is the batch that holds Submitted; nil after a restart.
	submission *request
	// stored is true when the job is in the space a, long when its spec is in s, logged when its log has begun.
	stored, long, logged bool
	// counted is whether the job's results are in the count of its tenant.
	counted bool
	// jobDelta is the job's part in the write that is being built.
	jobDelta *jobDelta
}

// refused reports whether the job's submission was refused after the writer had taken it.
func (a *active) refused() bool {
	return a.submission != nil && a.submission.state.Load() == itemRefused
}

// activeJobs are the jobs in memory. Only the writer changes the map, so that it may read without the lock.
type activeJobs struct {
	mu sync.RWMutex
	m  map[job.ID]*active
}

func (s *activeJobs) init() { s.m = make(map[job.ID]*active) }

func (s *activeJobs) get(id job.ID) *active {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[id]
}

func (s *activeJobs) add(a *active) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[a.id] = a
}

func (s *activeJobs) remove(ids []job.ID) {
	if len(ids) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.m, id)
	}
}

func (s *activeJobs) ids() []job.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.m))
}

func (s *activeJobs) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.m)
}
