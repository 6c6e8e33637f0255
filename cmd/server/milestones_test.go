package main

import (
	"context"
	"sync"
)

// milestones count what many clients do, and tell when it has come far enough. The zero value is ready.
type milestones struct {
	mu    sync.Mutex
	n     int
	moved chan struct{} // closed at the next add; nil while nobody waits
}

func (m *milestones) add() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// count returns how many were counted.
func (m *milestones) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// reach waits until n were counted, or ctx is done.
func (m *milestones) reach(ctx context.Context, n int) {
	for {
		m.mu.Lock()
		if m.n >= n {
			m.mu.Unlock()
			return
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}
