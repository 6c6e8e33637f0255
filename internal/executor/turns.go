package executor

import (
	"context"

	"gather/internal/job"
)

// offer is what a worker has told the cluster of itself.
type offer struct {
	wanted bool // a turn, which has not come yet
	woke   bool // the worker's last task was a woken one
}

// serve implements mode.
func (s *shared) serve(w *worker) bool {
	h, ok := s.claim(&w.offer)
	if ok {
		s.step(w, h)
	}
	return ok
}

// claim waits for a turn of the cluster or a task that woke up, and takes them by turns while there are both. A turn takes
// a while to come, so a worker that did one woken task goes on wanting it while it does a second.
func (s *shared) claim(o *offer) (*hold, bool) {
	if s.isHalting() {
		s.withdraw(o)
		return nil, false
	}
	if !o.wanted {
		o.wanted = true
		s.cluster.Want(1)
	}
	turns := s.cluster.Turns()
	if o.woke {
		select {
		case t, ok := <-turns:
			if ok {
				return s.take(o, t), true
			}
			turns = nil
		default:
		}
	}
	for {
		if h := s.nextWoken(); h != nil {
			if !o.woke {
				s.withdraw(o)
			}
			o.woke = true
			return h, true
		}
		select {
		case <-s.halted:
			s.withdraw(o)
			return nil, false
		case <-s.stirred:
		case t, ok := <-turns:
			if ok {
				return s.take(o, t), true
			}
			turns = nil
		}
	}
}

func (s *shared) take(o *offer, t *job.Turn) *hold {
	*o = offer{}
	return s.join(t)
}

// withdraw tells the cluster that the worker wants no turn now.
func (s *shared) withdraw(o *offer) {
	if o.wanted {
		o.wanted = false
		s.cluster.Want(-1)
	}
}

// nextWoken takes the task that woke up first; nil when there is none.
func (s *shared) nextWoken() *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken.n == 0 || s.halting {
		return nil
	}
	h := s.woken.pop()
	if s.woken.n > 0 {
		s.stir()
	}
	return h
}

// stir has some worker look for woken tasks.
func (s *shared) stir() {
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

func (s *shared) isHalting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halting
}

// halt implements mode: workers take nothing more, and whatever has none is given up, so that other nodes go on with it.
func (s *shared) halt() {
	s.mu.Lock()
	if s.halting {
		s.mu.Unlock()
		return
	}
	s.halting = true
	close(s.halted)
	var left []*hold
	for h := range s.parked {
		s.unpark(h)
		left = append(left, h)
	}
	for s.woken.n > 0 {
		left = append(left, s.woken.pop())
	}
	s.mu.Unlock()
	for _, h := range left {
		s.release(h)
	}
}

// settled implements mode: every turn is ended.
func (s *shared) settled() <-chan struct{} {
	for again := true; again; {
		select {
		case t, ok := <-s.cluster.Turns(): // that no worker has taken
			if again = ok; ok {
				s.release(s.join(t))
			}
		default:
			again = false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	s.checkEnded()
	return s.ended
}

// checkEnded tells when no turn is left. Caller holds s.mu.
func (s *shared) checkEnded() {
	if s.leaving && s.turns == 0 && !s.left {
		s.left = true
		close(s.ended)
	}
}

// abort ends the steps under way, at the end of Stop's grace.
func (s *shared) abort() {
	defer close(s.aborted)
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.running {
		h.cancel(context.Cause(s.e.work))
	}
}

// leave implements mode. Turns whose appends are not answered yet are ended when they are.
func (s *shared) leave() {
	<-s.aborted
	s.mu.Lock()
	left := make([]*part, 0, len(s.parts))
	for _, p := range s.parts {
		left = append(left, p)
	}
	s.mu.Unlock()
	for _, p := range left {
		p.close()
	}
}
