package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// TestServersFail checks that nodes work and lose nothing while one of three servers is down at any time.
func TestServersFail(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 3)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.openThree()
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
	// The leader of the log is stopped first, then each next leader.
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
		if j := nodes[0].waitEnded(id); j.State != job.Succeeded {
			t.Errorf("a job is %v", j.State)
		}
		nodes[0].checkLog(id)
	}
	t.Logf("%d jobs", len(accepted))
	f.checkSame(accepted, nodes...)
}
