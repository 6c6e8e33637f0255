package main

import "time"

// yieldInterval is how long a worker runs until it yields its CPU. The kernel does not preempt a worker for a thread that has
// just used more than its share, until the next tick of the scheduler, which takes up to 4 ms.
const yieldInterval = 300 * time.Microsecond

// A yielder yields the CPU of a worker from time to time. A yield may cost the worker its CPU for long when others keep all CPUs
// busy. Then it does not yield for as long as that took, so that it gets half of its share at least.
type yielder struct {
	now   func() time.Time
	yield func()
	// next is the earliest time of the next yield.
	next time.Time
}

// step is called between two steps of the worker's tasks.
func (y *yielder) step() {
	began := y.now()
	if began.Before(y.next) {
		return
	}
	y.yield()
	ended := y.now()
	y.next = ended.Add(max(yieldInterval, ended.Sub(began)))
}
