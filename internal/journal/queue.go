package journal

import (
	"context"
	"slices"
	"sync"
	"time"

	"gather/internal/job"
	"gather/internal/notify"
)

// queue holds the requests that wait for the writer.
type queue struct {
	mu       sync.Mutex
	h        hooks
	requests []*request
	bulk     bulkQueue
	// bytes is the size of the requests that are not durable, the write in flight included.
	bytes int64
	// ahead is the size of the events in them that are not bulk results and belong to jobs submitted before.
	ahead int64
	// awake is true when the writer should take the requests.
	awake bool
	// deadline is when the shortest Delay ends, and stop stops its timer; nil for no timer.
	deadline time.Time
	stop     func() bool
	closed   bool
	// wake gets a token for the writer when awake becomes true.
	wake notify.Signal
	// room is closed when bytes has decreased or held has become false; nil without a waiter.
	room chan struct{}
	// held is true while callers should append no results, because free space is low.
	held bool
	// inFlight is the write that is being built or waits for the disk; nil for none.
	inFlight *write
	// ended lists the jobs whose end is durable, which the writer drops from memory.
	ended []job.ID
}

func (q *queue) init(h hooks) {
	q.h, q.wake = h, notify.New()
	q.bulk.jobs = make(map[job.ID]struct{})
}

// put queues a request. It rejects a submission when more than limit bytes wait, and any request when the queue is closed.
func (q *queue) put(r *request, delay time.Duration, limit int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.submits && !q.closed && q.bytes > 0 && q.bytes+r.bytes > limit {
		return newRejection("journal-full", "too much is waiting for the disk", time.Second)
	}
	if q.closed {
		if r.submits {
			return newRejection("closed", "the journal is closed", 0)
		}
		return ErrClosed
	}
	q.bytes += r.bytes
	if q.bulk.put(r) {
		q.wake.Notify()
		return nil
	}
	q.requests = append(q.requests, r)
	q.bulk.others++
	if r.events() {
		r.ahead = r.bytes
		q.ahead += r.ahead
	}
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
	if len(q.requests) > 0 {
		q.wakeLocked()
	}
}

func (q *queue) wakeLocked() {
	if q.awake {
		return
	}
	q.awake = true
	q.disarmLocked()
	q.wake.Notify()
}

func (q *queue) disarmLocked() {
	if q.stop != nil {
		q.stop()
		q.stop = nil
	}
}

// take waits for requests and moves about limit bytes of them into w, or a piece of bulk results. It returns false when the queue
// is closed and empty.
func (q *queue) take(w *write, limit int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	var pause time.Duration
	for {
		q.awake = q.awake && len(q.requests) > 0
		if pause = q.bulk.pause(q.h.now()); q.closed {
			pause = 0
		}
		if q.awake || len(q.bulk.requests) > 0 && pause <= 0 {
			break
		}
		if q.closed && len(q.requests) == 0 {
			return false
		}
		stop := func() bool { return true }
		if len(q.bulk.requests) > 0 {
			stop = q.h.after(pause, q.wake.Notify)
		}
		q.mu.Unlock()
		<-q.wake
		stop()
		q.mu.Lock()
	}
	if pause <= 0 && q.bulk.ready(q.awake) {
		q.bulk.take(w)
	} else {
		q.takeRequests(w, limit)
	}
	w.began = q.h.now()
	q.inFlight = w
	w.ended = append(w.ended, q.ended...)
	q.ended = q.ended[:0]
	return true
}

// takeRequests moves about limit bytes of the requests that are not bulk results into w.
func (q *queue) takeRequests(w *write, limit int64) {
	n := 0
	for n < len(q.requests) && (n == 0 || w.bytes+q.requests[n].bytes <= limit) {
		w.bytes += q.requests[n].bytes
		n++
	}
	w.requests = append(w.requests, q.requests[:n]...)
	q.bulk.tookOthers(n, q.h.now())
	if n == len(q.requests) {
		clear(q.requests)
		q.requests = q.requests[:0]
		if cap(q.requests) > 1<<14 {
			q.requests = nil
		}
		q.awake = q.closed
	} else {
		q.requests = slices.Delete(q.requests, 0, n)
	}
	q.disarmLocked()
}

// finish ends the write in flight, which is durable or rejected. ended lists the jobs to drop from memory.
func (q *queue) finish(w *write, ended []job.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight = nil
	q.bulk.wrote(w.began, q.h.now())
	q.ended = append(q.ended, ended...)
	for _, r := range w.requests {
		q.ahead -= r.ahead
	}
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

// waiting returns the submissions that are not durable and can be rejected, and the prompt requests.
func (q *queue) waiting() (submissions, prompt []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	add := func(requests []*request) {
		for _, r := range requests {
			if r.rejectable && r.state.Load() == requestPending {
				submissions = append(submissions, r)
			}
			if r.prompt {
				prompt = append(prompt, r)
			}
		}
	}
	if q.inFlight != nil {
		add(q.inFlight.requests)
	}
	add(q.requests)
	add(q.bulk.requests)
	return submissions, prompt
}

func (q *queue) releaseLocked(bytes int64) {
	q.bytes -= bytes
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// setHeld sets whether results are held.
func (q *queue) setHeld(held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = held
	if !held {
		q.releaseLocked(0)
	}
}

// maxAhead is the maximum of queue.ahead with room for more results: as much as one write. Otherwise the ends of many short jobs
// would wait for the disk, and every submission behind them, for seconds.
const maxAhead = 1 << 20

// full returns nil while results can be appended, otherwise a channel that is closed when that may have changed.
func (q *queue) full(limit int64) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || !q.held && q.bytes < limit && q.ahead < maxAhead {
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

// waitRoom waits until a request of bytes fits under limit, the queue is empty or closed, or ctx is done.
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
	q.wake.Notify() // wakeLocked does not if awake was true already
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// drop removes jobs from memory with the next write.
func (q *queue) drop(ids []job.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = append(q.ended, ids...)
	q.bulk.forget(ids)
}

// endedJobs returns the number of ended jobs that are in memory until the next write.
func (q *queue) endedJobs() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ended)
}

// force queues a request before all others, even while the queue is full or closed.
func (q *queue) force(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes += r.bytes
	q.requests = slices.Insert(q.requests, 0, r)
	q.bulk.others++
	q.wakeLocked()
}
