package main

import (
	"os"
	"strconv"
	"strings"
	"time"
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
		busy, total, ok := processors()
		time.Sleep(idleSample)
		busy2, total2, ok2 := processors()
		if !ok || !ok2 || busy2-busy <= maxBusyShare*(total2-total) {
			l.idleMeasurements++
			break
		}
		if time.Since(began) > limit {
			break
		}
	}
	l.idleBudget -= time.Since(began)
}

// processors returns the busy and the total time of the CPUs, in kernel ticks.
func processors() (busy, total float64, ok bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			continue // the name of the line
		}
		total += ticks
		if i != 4 && i != 5 { // idle and iowait
			busy += ticks
		}
	}
	return busy, total, total > 0
}
