package cluster_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"gather/internal/job"
)

// Under overload few of the submissions that are refused stand in the log.
func TestOverload(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	nodes := f.trio()
	for _, n := range nodes {
		f.eventually("each node counts three", func() bool { return n.metric("nodes") == 3 })
		n.work(2, nil)
	}
	const clients, enough = 8, 500
	var accepted, refused atomic.Int64
	var all sync.WaitGroup
	for _, n := range nodes {
		for range clients {
			all.Go(func() {
				for accepted.Load() < enough {
					err := n.append(admitted(job.Admission{Jobs: 12}, job.Size{}, newJob(1)))
					switch {
					case err == nil:
						accepted.Add(1)
					case errors.Is(err, job.ErrQueueFull):
						refused.Add(1)
						runtime.Gosched()
					default:
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	f.caughtUp(nodes...)
	inLog := nodes[0].metric("log_rejected_proposals_total", "bound")
	t.Logf("%d accepted, %d refused, %v of these in the log", accepted.Load(), refused.Load(), inLog)
	if most := 3 * 200.0; inLog > most {
		t.Errorf("%v refused submissions stand in the log, want at most %v", inLog, most)
	}
}
