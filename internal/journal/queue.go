package journal

import (
	"context"
	"slices"
	"sync"
	"time"

	"gather/internal/job"
)

// queue is where items wait for the writer.
type queue struct {
	mu sync.Mutex
	h  hooks
	// items are waiting; bytes is the size of all that are not durable.
	items []*request
	bytes int64
	// awake is true when the writer has to take the items, deadline is when that comes because of a Delay.
	awake    bool
	deadline time.Time
	stop     func() bool
	closed   bool
	// wake holds at most one token, for the writer.
	wake chan struct{}
	// room is closed, and replaced, when bytes has decreased or held has ended; nil without a waiter.
	room chan struct{}
	// held is true when no results are taken, because free space is low.
	held bool
	// inFlight is the write that is built or waits for the disk.
	inFlight *write
	// ended are jobs whose end is durable: the writer drops them from memory.
	ended []job.ID
}

func (q *queue) init(h hooks) { q.h, q.wake = h, make(chan struct{}, 1) }

// put queues an item; a submission is refused when more than limit bytes wait.
func (q *queue) put(it *request, delay time.Duration, limit int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.submits && !q.closed && q.bytes > 0 && q.bytes+it.bytes > limit {
		return storage("journal-full", "too much is waiting for the disk", time.Second)
	}
	if q.closed {
		if it.submits {
			return storage("closed", "the journal is closed", 0)
		}
		return ErrClosed
	}
	q.bytes += it.bytes
	q.items = append(q.items, it)
	if delay <= 0 {
		q.wakeLocked()
		return nil
	}
	if at := q.h.now().Add(delay); !q.awake && (q.stop == nil || at.Before(q.deadline)) {
		q.disarmLocked()
		q.deadline, q.stop = at, q.h.after(delay, q.wakeUp)
	}
	return nil
}

func (q *queue) wakeUp() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		q.wakeLocked()
	}
}

func (q *queue) wakeLocked() {
	if q.awake {
		return
	}
	q.awake = true
	q.disarmLocked()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) disarmLocked() {
	if q.stop != nil {
		q.stop()
		q.stop = nil
	}
}

// take waits for items and moves them into w, at most about limit bytes of them. It returns false when the queue was
// closed and is empty.
func (q *queue) take(w *write, limit int64) bool {
	q.mu.Lock()
	for !q.awake || len(q.items) == 0 {
		q.awake = false
		if q.closed && len(q.items) == 0 {
			q.mu.Unlock()
			return false
		}
		q.mu.Unlock()
		<-q.wake
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	n := 0
	for n < len(q.items) && (n == 0 || w.bytes+q.items[n].bytes <= limit) {
		w.bytes += q.items[n].bytes
		n++
	}
	w.items = append(w.items, q.items[:n]...)
	if n == len(q.items) {
		clear(q.items)
		q.items = q.items[:0]
		if cap(q.items) > 1<<14 {
			q.items = nil
		}
		q.awake = q.closed
	} else {
		q.items = slices.Delete(q.items, 0, n)
	}
	q.disarmLocked()
	w.began = q.h.now()
	q.inFlight = w
	w.ended = append(w.ended, q.ended...)
	q.ended = q.ended[:0]
	return true
}

// finish takes a write out of flight; its bytes are durable or refused.
func (q *queue) finish(w *write, ended []job.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight = nil
	q.ended = append(q.ended, ended...)
	q.releaseLocked(w.bytes)
}

// busySince returns when the write in flight began, or the zero time.
func (q *queue) busySince() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inFlight == nil {
		return time.Time{}
	}
	return q.inFlight.began
}

// waiting returns every submission that is not yet durable and can be refused, and every prompt item.
func (q *queue) waiting() (submissions, prompt []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	add := func(items []*request) {
		for _, it := range items {
			if it.refusable && it.state.Load() == itemWaiting {
				submissions = append(submissions, it)
			}
			if it.prompt {
				prompt = append(prompt, it)
			}
		}
	}
	if q.inFlight != nil {
		add(q.inFlight.items)
	}
	add(q.items)
	return submissions, prompt
}

func (q *queue) releaseLocked(bytes int64) {
	q.bytes -= bytes
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// hold sets whether results are taken.
func (q *queue) hold(held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = held
	if !held {
		q.releaseLocked(0)
	}
}

// full returns nil while results are taken, otherwise a channel that is closed when that may have changed.
func (q *queue) full(limit int64) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || !q.held && q.bytes < limit {
		return nil
	}
	return q.roomLocked()
}

func (q *queue) roomLocked() <-chan struct{} {
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room
}

// waitRoom waits until so many bytes more may wait for the disk, or nothing does.
func (q *queue) waitRoom(ctx context.Context, bytes, limit int64) error {
	q.mu.Lock()
	for !q.closed && q.bytes > 0 && q.bytes+bytes > limit {
		room := q.roomLocked()
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
	return nil
}

func (q *queue) pending() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wakeLocked()
	// The writer may have been signalled before, and found nothing.
	select {
	case q.wake <- struct{}{}:
	default:
	}
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// drop makes the writer forget jobs.
func (q *queue) drop(ids []job.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = append(q.ended, ids...)
}

// endedJobs counts the jobs that have ended and are in memory until the next write.
func (q *queue) endedJobs() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ended)
}

// force queues one of the journal's own operations before everything else, even while the queue is full or closing.
func (q *queue) force(it *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes += it.bytes
	q.items = slices.Insert(q.items, 0, it)
	q.wakeLocked()
}
