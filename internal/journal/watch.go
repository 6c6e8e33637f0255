package journal

import (
	"slices"
	"sync"

	"gather/internal/job"
)

// watchers has the watches of jobs, existing or not.
type watchers struct {
	mu sync.Mutex
	m  map[job.ID][]chan struct{}
}

func (s *watchers) init() { s.m = make(map[job.ID][]chan struct{}) }

// Watch returns a channel that gets a token, unless it still has one, after every durable change of the job. The change
// can be read before the token is sent. The channel is never closed; stop must be called, once or more.
func (j *Journal) Watch(id job.ID) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s := &j.watchers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[id] = append(s.m[id], c)
	return c, func() { s.remove(id, c) }
}

func (s *watchers) remove(id job.ID, c chan struct{}) {
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
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
