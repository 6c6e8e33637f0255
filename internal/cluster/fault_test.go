package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// TestServersFail: with one server of three away at any time, nodes do their work, and nothing is lost.
func TestServersFail(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.trio()
	for _, n := range nodes {
		n.work(2, nil)
	}
	var mu sync.Mutex
	var accepted []job.ID
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, n := range nodes {
		clients.Go(func() {
			for ctx.Err() == nil {
				s := newJob(3)
				err := n.append(batch(s))
				switch {
				case err == nil:
					mu.Lock()
					accepted = append(accepted, s.Job.ID)
					mu.Unlock()
				case !errors.Is(err, job.ErrStorage):
					t.Error(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	// The leader of the log goes first; then those of whatever leads now.
	for range 2 {
		i := max(0, f.s.StreamLeader("FLEET_LOG"))
		f.s.Stop(i)
		mu.Lock()
		before := len(accepted)
		mu.Unlock()
		f.eventually("jobs are accepted without it", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(accepted) > before+3
		})
		f.s.Restart(i)
	}
	stop()
	clients.Wait()
	for _, id := range accepted {
		if j := nodes[0].ends(id); j.State != job.Succeeded {
			t.Errorf("a job is %v", j.State)
		}
		nodes[0].whole(id)
	}
	t.Logf("%d jobs", len(accepted))
	f.same(accepted, nodes...)
}
