// Package notify wakes a goroutine that waits in a select, or for the next interval.
//
// Guarantees. Notify never blocks. After a call of Notify a receiver is woken at least once; several calls before it receives
// wake it once. The package starts no goroutine and cannot fail.
package notify

import (
	"context"
	"time"
)

// A Signal has one receiver, and any number of goroutines that notify it.
type Signal chan struct{}

// New returns a Signal without a notification.
func New() Signal { return make(Signal, 1) }

// Notify wakes the receiver, now or when it receives.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Every calls f after each interval, and after each notification of wake, until ctx is done. Calls do not overlap: intervals
// that pass during a call are skipped. A nil Signal never notifies.
func Every(ctx context.Context, interval time.Duration, wake Signal, f func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-wake:
		}
		f()
	}
}
