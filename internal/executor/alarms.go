package executor

import (
	"container/heap"
	"sync"
	"time"
)

// alarms calls functions at given times, from one goroutine of its own, in order of time. A hundred thousand parked tasks
// are a heap of a hundred thousand entries, not as many goroutines.
//
// There are two clocks. Durations are measured on the monotonic one, which no setting of the machine's clock moves; an
// instant that a client gave is one of the wall clock, and is compared with it again whenever that may have been set.
type alarms struct {
	wall func() time.Time

	mu sync.Mutex
	// durations are by monotonic time, instants by the wall clock.
	durations, instants alarmHeap
	closed              bool
	// changed tells the goroutine that the earliest alarm is another one, or that it has to end.
	changed chan struct{}
	done    chan struct{}
}

// alarm is one pending call. Its index is guarded by alarms.mu.
type alarm struct {
	at    time.Time
	fire  func(now time.Time)
	in    *alarmHeap
	index int // in the heap; -1 when not pending
}

func newAlarms(wall func() time.Time) *alarms {
	a := &alarms{wall: wall, changed: make(chan struct{}, 1), done: make(chan struct{})}
	go a.loop()
	return a
}

// set arranges a call of fire at the given time, or soon when that has passed. The time is one of the monotonic clock: it
// was made of time.Now. After close nothing more is called.
func (a *alarms) set(at time.Time, fire func(now time.Time)) *alarm {
	return a.push(&a.durations, at, fire)
}

// setInstant arranges a call when the wall clock shows the given time.
func (a *alarms) setInstant(at time.Time, fire func(now time.Time)) *alarm {
	return a.push(&a.instants, at.Round(0), fire)
}

func (a *alarms) push(h *alarmHeap, at time.Time, fire func(now time.Time)) *alarm {
	al := &alarm{at: at, fire: fire, in: h}
	a.mu.Lock()
	heap.Push(h, al)
	first := al.index == 0
	a.mu.Unlock()
	if first {
		a.poke()
	}
	return al
}

// clear forgets a pending alarm; a nil alarm or one that was called is left alone.
func (a *alarms) clear(al *alarm) {
	if al == nil {
		return
	}
	a.mu.Lock()
	if al.index >= 0 {
		heap.Remove(al.in, al.index)
	}
	a.mu.Unlock()
}

// close lets the goroutine end, after the call it may be in; done tells when it has.
func (a *alarms) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.poke()
}

func (a *alarms) poke() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func (a *alarms) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// maxDoze is how late the alarm of an instant can be after the wall clock was set forward.
const maxDoze = 10 * time.Second

func (a *alarms) loop() {
	defer close(a.done)
	timer := time.NewTimer(maxDoze)
	defer timer.Stop()
	var due []*alarm
	for {
		now := time.Now()
		var wait time.Duration
		due = due[:0]
		a.mu.Lock()
		if a.closed {
			a.mu.Unlock()
			return
		}
		due, wait = a.durations.due(now, due, time.Hour)
		if len(a.instants) > 0 {
			due, wait = a.instants.due(a.wall().Round(0), due, min(wait, maxDoze))
		}
		a.mu.Unlock()
		for i, al := range due {
			if !a.isClosed() {
				al.fire(now)
			}
			due[i] = nil
		}
		if len(due) > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-a.changed:
		}
	}
}

// alarmHeap implements heap.Interface, earliest first.
type alarmHeap []*alarm

// due moves what is due to a list, and returns how long it takes until the next one is, at most wait.
func (h *alarmHeap) due(now time.Time, list []*alarm, wait time.Duration) ([]*alarm, time.Duration) {
	for len(*h) > 0 {
		if d := (*h)[0].at.Sub(now); d > 0 {
			return list, min(wait, d)
		}
		list = append(list, heap.Pop(h).(*alarm))
	}
	return list, wait
}

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *alarmHeap) Push(x any) {
	al := x.(*alarm)
	al.index = len(*h)
	*h = append(*h, al)
}

func (h *alarmHeap) Pop() any {
	old := *h
	al := old[len(old)-1]
	old[len(old)-1] = nil
	al.index = -1
	*h = old[:len(old)-1]
	return al
}
