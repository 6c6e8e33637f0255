package executor_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gather/internal/job"
)

// fakeLease implements job.LeaseHandle.
type fakeLease struct {
	m     *fakeNode
	s     *fakeJob
	msg   message
	lease *job.Lease
	// Guarded by fakeCluster.mu.
	pending int // appends in progress
	ended   bool
	revoked bool // the task was requeued
}

// revoke makes the task available to other nodes, as after a node's missed heartbeats. Caller holds mu.
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
	h.lease.Job, h.lease.Started = h.s.view, h.s.view.StartedAt.Add(-r.skew)
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
		r.t.Error("an append under a released lease")
	}
	r.appends[h.msg.id]++
	h.pending++
	err := error(nil)
	switch {
	case h.lost(), r.reject != nil && r.reject(events):
		err = fmt.Errorf("%w: lease revoked", job.ErrTransition)
	default:
		err = r.apply(h.s, events...)
	}
	slow := r.slow
	r.mu.Unlock()
	finish := func() {
		r.mu.Lock()
		h.pending--
		r.mu.Unlock()
		done(err)
	}
	if slow > 0 {
		time.AfterFunc(slow, finish)
	} else {
		finish()
	}
	return nil
}

func (h *fakeLease) Decide(how job.Finished) {
	r := h.m.fakeCluster
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.ended {
		r.t.Error("a decision under a released lease")
	}
	if !h.revoked && r.decide(h.m, h.s, how) != nil {
		r.t.Error("a job ended while one of its tasks was leased")
	}
}

func (h *fakeLease) End() {
	r := h.m.fakeCluster
	r.mu.Lock()
	if h.ended || h.pending > 0 {
		r.t.Errorf("task %d: ended before: %v; appends in progress: %d", h.msg.task, h.ended, h.pending)
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
	h.m.recordEnd(ended)
}
