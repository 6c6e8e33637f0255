package executor

import (
	"container/heap"
	"sync"
	"time"

	"gather/internal/notify"
)

// timers calls functions at given times, from one goroutine of its own, in order of time. A hundred thousand waiting tasks
// are a heap of a hundred thousand entries, not as many goroutines.
//
// There are two clocks. Durations are measured on the monotonic clock, which does not change when the machine's clock is
// set. Instants that clients specify are of the wall clock, and are compared with it again whenever it may have been
// set.
type timers struct {
	wall func() time.Time

	mu sync.Mutex
	// durations are by monotonic time, instants by the wall clock.
	durations, instants timerHeap
	closed              bool
	// changed wakes the goroutine when the earliest timer has changed, or after close.
	changed notify.Signal
	done    chan struct{}
}

// A timer is one pending call. Its index is guarded by timers.mu.
type timer struct {
	at       time.Time
	callback func(now time.Time)
	in       *timerHeap
	index    int // in the heap; -1 when not pending
}

func newTimers(wall func() time.Time) *timers {
	ts := &timers{wall: wall, changed: notify.New(), done: make(chan struct{})}
	go ts.loop()
	return ts
}

// set calls a function at the given time, or soon when that has passed. The time is on the monotonic clock: it derives
// from time.Now. After close nothing is called.
func (ts *timers) set(at time.Time, callback func(now time.Time)) *timer {
	return ts.push(&ts.durations, at, callback)
}

// setInstant calls a function when the wall clock shows the given time.
func (ts *timers) setInstant(at time.Time, callback func(now time.Time)) *timer {
	return ts.push(&ts.instants, at.Round(0), callback)
}

func (ts *timers) push(h *timerHeap, at time.Time, callback func(now time.Time)) *timer {
	t := &timer{at: at, callback: callback, in: h}
	ts.mu.Lock()
	heap.Push(h, t)
	first := t.index == 0
	ts.mu.Unlock()
	if first {
		ts.changed.Notify()
	}
	return t
}

// clear removes a pending timer. It ignores nil, and a timer whose function was called.
func (ts *timers) clear(t *timer) {
	if t == nil {
		return
	}
	ts.mu.Lock()
	if t.index >= 0 {
		heap.Remove(t.in, t.index)
	}
	ts.mu.Unlock()
}

// close ends the goroutine, after the running call; done is closed when it has ended.
func (ts *timers) close() {
	ts.mu.Lock()
	ts.closed = true
	ts.mu.Unlock()
	ts.changed.Notify()
}

func (ts *timers) isClosed() bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.closed
}

// maxSleep is how late the timer of an instant can be after the wall clock was set forward.
const maxSleep = 10 * time.Second

func (ts *timers) loop() {
	defer close(ts.done)
	sleep := time.NewTimer(maxSleep)
	defer sleep.Stop()
	var due []*timer
	for {
		now := time.Now()
		var wait time.Duration
		due = due[:0]
		ts.mu.Lock()
		if ts.closed {
			ts.mu.Unlock()
			return
		}
		due, wait = ts.durations.due(now, due, time.Hour)
		if len(ts.instants) > 0 {
			due, wait = ts.instants.due(ts.wall().Round(0), due, min(wait, maxSleep))
		}
		ts.mu.Unlock()
		for i, t := range due {
			if !ts.isClosed() {
				t.callback(now)
			}
			due[i] = nil
		}
		if len(due) > 0 {
			continue
		}
		sleep.Reset(wait)
		select {
		case <-sleep.C:
		case <-ts.changed:
		}
	}
}

// timerHeap implements heap.Interface, earliest first.
type timerHeap []*timer

// due moves the timers that are due to a list, and returns the time until the next one, at most wait.
func (h *timerHeap) due(now time.Time, list []*timer, wait time.Duration) ([]*timer, time.Duration) {
	for len(*h) > 0 {
		if d := (*h)[0].at.Sub(now); d > 0 {
			return list, min(wait, d)
		}
		list = append(list, heap.Pop(h).(*timer))
	}
	return list, wait
}

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*h = old[:len(old)-1]
	return t
}
