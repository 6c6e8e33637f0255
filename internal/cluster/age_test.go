package cluster_test

import (
	"context"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// The age of a node that is cut off from NATS grows, and it cannot read the latest state; both end with the cut. The
// connection stays open, so only its age shows that the node lags.
func TestAgeWhileCutOff(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	p := natstest.NewProxy(t, f.s.URL)
	a, b := f.open("a"), f.open("b", through(p), cluster.WithStallAfter(time.Second))
	id := a.submit(2)
	follows := func() bool { return b.Age() < 3*time.Second }
	f.eventually("the node follows the log", follows)
	f.ok(b.ReadBarrier(t.Context()))
	b.get(id)
	p.Pause()
	f.eventually("the node lags", func() bool { return b.Age() > 5*time.Second })
	_, err := a.Cancel(t.Context(), "t", id)
	f.ok(err)
	a.waitEnded(id)
	if j := b.get(id); j.State != job.Queued {
		t.Errorf("the node that is cut off has the job as %v, want queued", j.State)
	}
	f.want(b.ReadBarrier(t.Context()), job.ErrStorage)
	p.Resume()
	f.eventually("the node follows the log again", follows)
	f.eventually("the node has the latest state", func() bool { return b.ReadBarrier(t.Context()) == nil })
	if j := b.get(id); j.State != job.Cancelled {
		t.Errorf("after the cut the node has the job as %v, want cancelled", j.State)
	}
}

// A read barrier fails if the log answers but its messages do not arrive.
func TestBarrierOfSlowReader(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b", cluster.WithStallAfter(time.Second))
	b.StopReading()
	a.submit(2)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	f.want(b.ReadBarrier(ctx), job.ErrStorage)
}
