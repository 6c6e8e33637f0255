package main

import (
	"context"
	"testing"
	"time"
)

// until polls until a condition holds, and fails the test after limit or when ctx is done. The condition also returns the observed state, for
// the error.
func until(ctx context.Context, t testing.TB, limit time.Duration, what string, holds func(context.Context) (ok bool, sees any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, sees := holds(ctx)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s; it is %v", what, limit, sees)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
