package journal

import (
	"slices"
	"sync"

	"gather/internal/job"
	"gather/internal/notify"
)

// watchers holds the channels of Watch by job, whether the job exists or not.
type watchers struct {
	mu sync.Mutex
	m  map[job.ID][]notify.Signal
}

func (s *watchers) init() { s.m = make(map[job.ID][]notify.Signal) }

// Watch returns a channel that receives a token after every durable change of the job, unless it still holds one. The change is
// visible to reads before the token is sent. The channel is never closed; the caller must call stop at least once.
func (j *Journal) Watch(id job.ID) (changed <-chan struct{}, stop func()) {
	c := notify.New()
	s := &j.watchers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[id] = append(s.m[id], c)
	return c, func() { s.remove(id, c) }
}

func (s *watchers) remove(id job.ID, c notify.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.m[id]
	i := slices.Index(list, c)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(s.m, id)
	default:
		s.m[id] = slices.Delete(list, i, i+1)
	}
}

func (s *watchers) signal(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signalLocked(id)
}

func (s *watchers) signalAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.m {
		s.signalLocked(id)
	}
}

func (s *watchers) signalLocked(id job.ID) {
	for _, c := range s.m[id] {
		c.Notify()
	}
}
