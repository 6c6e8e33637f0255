package cluster_test

import (
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// TestPause tests that no node of a cluster starts a paused job, that running ones continue, and that all start after the pause,
// also those whose message a node has dropped and those of a node that died.
func TestPause(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	change := func(c *cluster.Config) { c.NodeTimeout = shortNodeTimeout }
	a, b := f.open("a", change), f.open("b", change)
	running := a.submit(3)
	first := a.lease()
	f.ok(first.Start(t.Context()))
	queued := a.submit(2, func(j *job.Job) { j.Progress.Total = 5000 }) // its message is in the queue
	short := a.submit(1)                                                // its lease waits on the node
	p := job.NewPauses([]job.Pause{{Scope: job.PauseTenant, Name: a.get(running).Tenant}})
	a.SetPauses(p)
	b.SetPauses(p)
	held := []job.ID{queued, short, a.submit(1), b.submit(2), b.submit(1)}
	f.ok(appendLease(t.Context(), first, job.TaskProgress{Task: first.Task, Done: true, Completed: 1}))
	first.End()
	a.work(2, nil)
	b.work(2, nil)
	a.waitEnded(running)
	time.Sleep(3 * shortNodeTimeout) // the leader has looked for lost tasks
	for i, id := range held {
		if s := a.get(id).State; s != job.Queued {
			t.Errorf("job %d is %v during the pause, want queued", i, s)
		}
		if place, _, ok := a.Position(id); ok {
			t.Errorf("job %d has position %d during the pause, want none", i, place)
		}
	}
	a.SetPauses(nil)
	b.SetPauses(nil)
	for _, id := range held {
		a.waitEnded(id)
		a.checkLog(id)
	}
}
