package main

import (
	"time"

	"gather/bench/machine"
)

const (
	idleSample   = 50 * time.Millisecond
	maxBusyShare = 0.25 // of the CPU time
	maxIdleWait  = 2 * time.Second
)

// awaitIdle waits before a measurement while other processes keep the CPUs busy, at most for the rest of idleBudget, and counts
// the measurements that started on an idle machine, so that contenders are not measured under different load.
func (l *lab) awaitIdle() {
	limit := maxIdleWait
	if l.short {
		limit = 100 * time.Millisecond
	}
	if limit > l.idleBudget {
		limit = l.idleBudget
	}
	began := time.Now()
	l.measurements++
	for {
		busy, total, err := machine.Processors()
		time.Sleep(idleSample)
		busy2, total2, err2 := machine.Processors()
		if err != nil || err2 != nil || float64(busy2-busy) <= maxBusyShare*float64(total2-total) {
			l.idleMeasurements++
			break
		}
		if time.Since(began) > limit {
			break
		}
	}
	l.idleBudget -= time.Since(began)
}
