package journal

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"gather/internal/job"
)

// active is a job in memory: unfinished, or ended in one of the last writes.
type active struct {
	id job.ID
	// durable is the view that readers may see; nil before the submission is on disk.
	durable atomic.Pointer[job.Job]
	// results are the bytes of its results, changed by the writer.
	results atomic.Int64

	// Owned by the writer.

	// head is the job's state after all events that the writer has taken.
	head job.Job
	// written is the seq of the last event that is in a run.
	written uint64
	// submission is the batch that holds Submitted; nil after a restart.
	submission *request
	stored     bool // the job is in the space a
	place      specPlace
	logged     bool   // its log on disk has begun
	counted    bool   // its results are in the count of its tenant
	groupSeq   uint64 // number of its end in its group
	// delta is the change of the job in the write that is being built; nil for none.
	delta *jobDelta
}

// rejected reports whether the job's submission was rejected after the writer had taken it.
func (a *active) rejected() bool {
	return a.submission != nil && a.submission.state.Load() == requestRejected
}

// activeJobs holds the jobs in memory. Only the writer changes the map, so it reads without the lock.
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
