package executor_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gather/internal/job"
)

// fakeLease is the cluster's end of a turn.
type fakeLease struct {
	m    *fakeNode
	s    *fakeJob
	msg  message
	turn *job.Lease
	// Guarded by fakeCluster.mu.
	asked   int // appends under way
	ended   bool
	revoked bool // the task was given to another
}

// revoke gives the turn's task to another node, as when the node was silent for long. Caller holds mu.
func (h *fakeLease) revoke() {
	h.revoked = true
	h.s.out--
	h.m.push(h.msg)
}

func (h *fakeLease) lost() bool { return h.revoked || h.s.ending != nil }

func (h *fakeLease) Start(context.Context) error {
	r := h.m.fakeCluster
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.lost() || h.s.view.State.Terminal() {
		return job.ErrTransition
	}
	if h.s.view.State == job.Queued {
		if err := r.apply(h.s, job.Started{At: time.Now().Add(r.skew)}); err != nil {
			r.t.Errorf("start: %v", err)
		}
	}
	h.turn.Job, h.turn.Started = h.s.view, h.s.view.StartedAt.Add(-r.skew)
	if !h.s.spread {
		h.s.spread = true
		for task := 1; task < min(h.s.size.Tasks, r.partitions); task++ {
			r.push(message{h.msg.id, task})
		}
	}
	return nil
}

func (h *fakeLease) Log(context.Context) job.LogSeq {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	log := slices.Clone(h.s.log)
	return func(yield func(job.LogRecord, error) bool) {
		for _, rec := range log {
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func (h *fakeLease) Append(ctx context.Context, done func(error), events ...job.Event) error {
	r := h.m.fakeCluster
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.mu.Lock()
	if h.ended {
		r.t.Error("an append after the end of its turn")
	}
	r.appends[h.msg.id]++
	h.asked++
	err := error(nil)
	switch {
	case h.lost(), r.refuse != nil && r.refuse(events):
		err = fmt.Errorf("%w: not yours", job.ErrTransition)
	default:
		err = r.apply(h.s, events...)
	}
	slow := r.slow
	r.mu.Unlock()
	answer := func() {
		r.mu.Lock()
		h.asked--
		r.mu.Unlock()
		done(err)
	}
	if slow > 0 {
		time.AfterFunc(slow, answer)
	} else {
		answer()
	}
	return nil
}

func (h *fakeLease) Decide(how job.Finished) {
	r := h.m.fakeCluster
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.ended {
		r.t.Error("a decision after the end of its turn")
	}
	if !h.revoked && r.decide(h.m, h.s, how) != nil {
		r.t.Error("a job ended while its turn was held")
	}
}

func (h *fakeLease) End() {
	r := h.m.fakeCluster
	r.mu.Lock()
	if h.ended || h.asked > 0 {
		r.t.Errorf("task %d: ended before: %v; appends under way: %d", h.msg.task, h.ended, h.asked)
	}
	h.ended = true
	r.out--
	delete(r.leases, h)
	if !h.revoked {
		h.s.out--
	}
	ended := r.lastOut(h.m, h.s)
	next := h.msg
	if h.s.done[next.task] {
		next.task += r.partitions
	}
	switch s := h.s; {
	case h.revoked, s.ending != nil, s.view.State.Terminal():
	case next.task == job.Reduction:
		r.push(next)
	case s.view.TasksDone == s.size.Tasks && s.size.Tasks > 0:
		if !s.reduce {
			s.reduce = true
			r.push(message{h.msg.id, job.Reduction})
		}
	case next.task < s.size.Tasks:
		r.push(next)
	}
	r.mu.Unlock()
	h.m.tell(ended)
}
