package main

import (
	"context"
	"testing"
	"time"
)

// webhooks tests that one node delivers to a receiver, and another one when that is killed while it delivers.
func (s *suite) webhooks(t *testing.T) {
	h := newHooks(t)
	f := s.cluster(t, 3, "--workers=1", "--http-allow=127.0.0.1")
	ctx := f.context()
	h.held.Lock()
	ids := h.submit(ctx, t, 60, f.client(0).try)
	var delivering []int
	f.until(ctx, time.Minute, "one node has the deliveries", func(ctx context.Context) (bool, any) {
		delivering = nil
		for i := range f.nodes {
			if n, err := f.metric(ctx, i, "gather_webhook_pending_deliveries"); err == nil && n == float64(len(ids)) {
				delivering = append(delivering, i)
			}
		}
		return len(delivering) == 1, delivering
	})
	f.nodes[delivering[0]].kill() // with requests in flight
	h.held.Unlock()
	h.await(ctx, t, ids, f.client((delivering[0]+1)%3).try)
}
