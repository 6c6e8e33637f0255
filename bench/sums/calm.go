package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	calmLook  = 50 * time.Millisecond
	calmShare = 0.25 // of the processors' time
	calmTurn  = 2 * time.Second
)

// calm waits before a turn while other processes keep the processors busy, within the limit of patience, and counts the
// turns that began on an idle machine. Otherwise contenders would be measured under different load.
func (l *lab) calm() {
	limit := calmTurn
	if l.short {
		limit = 100 * time.Millisecond
	}
	if limit > l.patience {
		limit = l.patience
	}
	began := time.Now()
	l.turns++
	for {
		busy, total, ok := processors()
		time.Sleep(calmLook)
		busy2, total2, ok2 := processors()
		if !ok || !ok2 || busy2-busy <= calmShare*(total2-total) {
			l.calmTurns++
			break
		}
		if time.Since(began) > limit {
			break
		}
	}
	l.patience -= time.Since(began)
}

// processors returns the busy and the total time of the processors, in ticks of the kernel.
func processors() (busy, total float64, ok bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			continue // the name in front
		}
		total += ticks
		if i != 4 && i != 5 { // idle, and waiting for the disk
			busy += ticks
		}
	}
	return busy, total, total > 0
}
