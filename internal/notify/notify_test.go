package notify_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"gather/internal/notify"
)

// Notifications before a receive are one, and a later one is another.
func TestSignal(t *testing.T) {
	s := notify.New()
	for range 3 {
		s.Notify()
	}
	<-s
	select {
	case <-s:
		t.Error("got a second notification of three before the receive, want one")
	default:
	}
	s.Notify()
	<-s
}

// A waiting receiver is woken by every goroutine that notifies.
func TestWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := notify.New()
		woken := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 5 {
				<-s
				woken++
			}
		}()
		for range 5 {
			synctest.Wait()
			s.Notify()
		}
		<-done
		if woken != 5 {
			t.Errorf("got woken %d times, want 5", woken)
		}
	})
}

func ExampleSignal() {
	changed := notify.New()
	changed.Notify()
	changed.Notify()
	<-changed
	fmt.Println("woken once")
	// Output: woken once
}
