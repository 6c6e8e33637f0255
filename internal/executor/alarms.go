package executor

import (
	"container/heap"
	"sync"
	"time"
)

// alarms calls functions at given times, from one goroutine of its own, in order of time. A hundred thousand parked tasks
// are a heap of a hundred thousand entries, not as many goroutines.
type alarms struct {
	mu     sync.Mutex
	heap   alarmHeap
	closed bool
	// changed tells the goroutine that the earliest alarm is another one, or that it has to end.
	changed chan struct{}
	done    chan struct{}
}

// alarm is one pending call. Its index is guarded by alarms.mu.
type alarm struct {
	at    time.Time
	fire  func(now time.Time)
	index int // in the heap; -1 when not pending
}

func newAlarms() *alarms {
	a := &alarms{changed: make(chan struct{}, 1), done: make(chan struct{})}
	go a.loop()
	return a
}

// set arranges a call of fire at the given time, or soon when that has passed. After close nothing more is called.
func (a *alarms) set(at time.Time, fire func(now time.Time)) *alarm {
	// Times from the journal are of the wall clock; all are compared by that.
	al := &alarm{at: at.Round(0), fire: fire}
	a.mu.Lock()
	heap.Push(&a.heap, al)
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
		heap.Remove(&a.heap, al.index)
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

// maxDoze is how late an alarm can be after the wall clock was set forward.
const maxDoze = 10 * time.Second

func (a *alarms) loop() {
	defer close(a.done)
	timer := time.NewTimer(maxDoze)
	defer timer.Stop()
	var due []*alarm
	for {
		now := time.Now()
		wait := maxDoze
		due = due[:0]
		a.mu.Lock()
		if a.closed {
			a.mu.Unlock()
			return
		}
		for len(a.heap) > 0 {
			if d := a.heap[0].at.Sub(now.Round(0)); d > 0 {
				wait = min(wait, d)
				break
			}
			due = append(due, heap.Pop(&a.heap).(*alarm))
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
