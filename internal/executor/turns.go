package executor

import (
	"context"
	"maps"
	"slices"
)

// demand is what a worker has requested of the cluster.
type demand struct {
	requested bool // one lease
	timerRan  bool // the worker's last task was one whose timer had fired
}

// receive queues the leases that the cluster gives, until claiming ends.
func (s *shared) receive() {
	for {
		select {
		case <-s.e.claims.Done():
			return
		case t, ok := <-s.cluster.Turns():
			if !ok {
				return
			}
			h := s.join(t)
			if !s.e.requeue(unit{run: h.run, hold: h}, (*queue).pushLease) {
				s.release(h)
			}
		}
	}
}

// serve implements mode. A lease takes a while to come, so a worker that ran one task whose timer had fired keeps its
// request while it runs a second. The requests of all workers are as many as the leases that are on their way or queued.
func (s *shared) serve(w *worker) bool {
	d := &w.demand
	if !d.requested {
		d.requested = true
		s.cluster.Want(1)
	}
	u, ok := s.e.claim()
	switch {
	case ok && !u.hold.ready: // a lease; a task whose timer has fired has run before
		*d = demand{}
	case !ok || !d.timerRan:
		d.requested, d.timerRan = false, true
		s.cluster.Want(-1)
	}
	if ok {
		s.step(w, u.hold)
	}
	return ok
}

// halt implements mode: what has no worker is given up, so that other nodes go on with it.
func (s *shared) halt() {
	e := s.e
	e.endClaiming()
	e.mu.Lock()
	var left []*hold
	for u, ok := e.queue.next(); ok; u, ok = e.queue.next() {
		left = append(left, u.hold)
	}
	held := slices.Collect(maps.Keys(s.holds))
	e.mu.Unlock()
	for _, h := range held {
		h.run.mu.Lock()
		if h.unpark() {
			left = append(left, h)
		}
		h.run.mu.Unlock()
	}
	for _, h := range left {
		s.release(h)
	}
}

// giveUp implements mode.
func (s *shared) giveUp(u unit) { s.release(u.hold) }

// settled implements mode: every turn is ended.
func (s *shared) settled() <-chan struct{} {
	for again := true; again; {
		select {
		case t, ok := <-s.cluster.Turns(): // that was not received
			if again = ok; ok {
				s.release(s.join(t))
			}
		default:
			again = false
		}
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.leaving = true
	s.checkEnded()
	return s.ended
}

// checkEnded closes ended when no lease is left. Caller holds Executor.mu.
func (s *shared) checkEnded() {
	if s.leaving && len(s.holds) == 0 && !s.left {
		s.left = true
		close(s.ended)
	}
}

// abort ends the steps under way, at the end of Stop's grace.
func (s *shared) abort() {
	defer close(s.aborted)
	s.e.mu.Lock()
	held := slices.Collect(maps.Keys(s.holds))
	s.e.mu.Unlock()
	for _, h := range held {
		h.run.mu.Lock()
		if h.cancel != nil {
			h.cancel(context.Cause(s.e.work))
		}
		h.run.mu.Unlock()
	}
}

// leave implements mode. Leases whose appends are not answered yet are ended when they are.
func (s *shared) leave() { <-s.aborted }
