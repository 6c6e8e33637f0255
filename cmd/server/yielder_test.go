package main

import (
	"slices"
	"testing"
	"time"
)

// TestYielder tests that a worker yields in intervals, and after a yield that took long not for as long again.
func TestYielder(t *testing.T) {
	var now time.Duration
	var yields []time.Duration
	cost := 10 * time.Microsecond
	y := yielder{
		now:   func() time.Time { return time.Unix(1, 0).Add(now) },
		yield: func() { yields = append(yields, now); now += cost },
	}
	run := func(total time.Duration) []time.Duration {
		yields = nil
		for end := now + total; now < end; now += 100 * time.Microsecond {
			y.step()
		}
		return yields
	}
	gaps := func(at []time.Duration) (list []time.Duration) {
		for i := 1; i < len(at); i++ {
			list = append(list, at[i]-at[i-1])
		}
		return list
	}
	if got, want := slices.Max(gaps(run(10*time.Millisecond))), yieldInterval+110*time.Microsecond; got > want {
		t.Errorf("idle CPUs: got %v between two yields, want at most %v", got, want)
	}
	cost = 50 * time.Millisecond
	if got := slices.Min(gaps(run(time.Second))); got < 2*cost {
		t.Errorf("busy CPUs: got %v from yield to yield, want at least twice the %v that one takes", got, cost)
	}
}
