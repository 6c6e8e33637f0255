package main

import (
	"context"
	"sync"
)

// milestones counts events of many clients, and signals when a count is reached. The zero value is ready.
type milestones struct {
	mu    sync.Mutex
	n     int
	moved chan struct{} // closed at the next add; nil without waiters
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

// count returns the number of events.
func (m *milestones) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// reach waits until n events were counted, or ctx is done.
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
