// Package notify wakes a goroutine that waits in a select.
//
// Guarantees. Notify never blocks. After a call of Notify a receiver is woken at least once; several calls before it receives
// wake it once. The package starts no goroutine and cannot fail.
package notify

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
