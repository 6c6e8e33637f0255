package journal

import (
	"bytes"
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

// ending lists the jobs whose end is in the engine and not published yet, because it is not durable: readers see them as they were before.
type ending struct{ jobs atomic.Pointer[[]*active] }

// set lists the jobs of a write that end in it.
func (e *ending) set(w *write) {
	var jobs []*active
	for _, d := range w.jobDeltas {
		if d.view.State.Terminal() {
			jobs = append(jobs, d.a)
		}
	}
	if jobs != nil {
		e.jobs.Store(&jobs)
	}
}

// clear empties the list, once the ends are published.
func (e *ending) clear() { e.jobs.Store(nil) }

// before returns the jobs of a tenant that are older than a job, newest first; all of them for the zero ID.
func (e *ending) before(tenant string, before job.ID) (ids []job.ID) {
	jobs := e.jobs.Load()
	if jobs == nil {
		return nil
	}
	for _, a := range *jobs {
		v := a.durable.Load()
		if v != nil && v.Tenant == tenant && (before == (job.ID{}) || bytes.Compare(a.id[:], before[:]) < 0) {
			ids = append(ids, a.id)
		}
	}
	slices.SortFunc(ids, func(a, b job.ID) int { return bytes.Compare(b[:], a[:]) })
	return ids
}
