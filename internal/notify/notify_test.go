package notify_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

// Every calls the function after each interval and each notification; intervals during a call are skipped.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := notify.New()
		began := time.Now()
		var calls []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			notify.Every(ctx, time.Minute, wake, func() {
				calls = append(calls, time.Since(began))
				if len(calls) == 2 {
					time.Sleep(140 * time.Second)
				}
			})
		}()
		time.Sleep(90 * time.Second)
		wake.Notify()
		time.Sleep(200 * time.Second)
		cancel()
		<-done
		want := []time.Duration{time.Minute, 90 * time.Second, 230 * time.Second, 240 * time.Second}
		if !slices.Equal(calls, want) {
			t.Errorf("got calls at %v, want %v", calls, want)
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
