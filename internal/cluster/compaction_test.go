package cluster_test

import (
	"flag"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// The long forms: go test ./internal/cluster -run 'TestLogIsBounded|TestFreshNode' -timeout 30m -churn 200000 -kept 500000
var (
	churnJobs = flag.Int("churn", 4000, "jobs of TestLogIsBounded")
	keptJobs  = flag.Int("kept", 5000, "jobs of TestFreshNode")
)

// finished submits a batch of jobs of ten items that end in it.
func (n *node) finished(jobs int, retention time.Duration) {
	n.f.Helper()
	var b job.Batch
	for range jobs {
		s := newJob(1, func(j *job.Job) { j.Retention, j.Progress.Total = retention, 10 })
		var items job.Items
		for i := range int64(10) {
			items.AddInt(i, i*i, time.Millisecond)
		}
		b.Entries = append(b.Entries, job.Entry{ID: s.Job.ID, Events: []job.Event{
			s,
			job.Started{At: n.Now()},
			job.TaskProgress{Done: true, Completed: 10, Items: items},
			job.Finished{At: n.Now(), State: job.Succeeded, Result: []byte("285")},
		}})
	}
	n.f.ok(n.append(b))
}

// The log stays bounded while many jobs come and go beside one that is kept.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	least := int64(*churnJobs) * 20 // a tenth of the whole log, about
	a := f.open("a", cluster.WithCompactBytes(least), func(c *cluster.Config) {
		c.NodeTimeout, c.TombstoneRetention = shortNodeTimeout, time.Second
	})
	old := a.submit(2)
	const batch = 100
	most, written := uint64(0), uint64(0)
	log := func() uint64 {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
		f.ok(err)
		return s.CachedInfo().State.Bytes
	}
	f.eventually("the leader has written a snapshot", func() bool { // once it has been the leader for NodeTimeout
		if log() < uint64(2*least) {
			a.finished(batch, time.Second)
		}
		return a.metric("snapshots_total", "written") > 0
	})
	before := log()
	for range max(1, *churnJobs/batch) {
		a.finished(batch, time.Second)
		size := log()
		if size > before {
			written += size - before
		}
		most, before = max(most, size), size
		// A slow leader gets the time that it needs.
		f.eventually("the leader compacts the log", func() bool {
			return float64(log()) < 4*max(float64(least), a.metric("snapshot_size_bytes"))
		})
	}
	if first, _ := f.logRange(); first == 1 {
		t.Error("the log was not trimmed, want that it was")
	}
	fresh := f.open("fresh")
	fresh.get(old)
	f.sameStates(a, fresh)
	t.Logf("%d jobs wrote at least %d bytes of log, of which it had %d at most, with a snapshot for each %d; %v snapshots, the last one of %v bytes",
		*churnJobs, written, most, least, a.metric("snapshots_total", "written"), a.metric("snapshot_size_bytes"))
}

// A new node with many kept jobs is ready soon, because it starts from a snapshot.
func TestFreshNode(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	for range *keptJobs / 500 {
		a.finished(500, time.Hour)
	}
	f.catchUp(a)
	last := a.submit(1)
	began := time.Now()
	f.ok(a.WriteSnapshot(t.Context()))
	wrote := time.Since(began)
	began = time.Now()
	fresh := f.open("fresh")
	ready := time.Since(began)
	fresh.get(last)
	counts, err := fresh.Count(t.Context(), "t", nil)
	f.ok(err)
	if got := fresh.metric("snapshot_restores_total", "restored"); got != 1 || counts[job.Succeeded] != int64(*keptJobs/500*500) {
		t.Errorf("%v restores and %d kept jobs, want 1 and %d", got, counts[job.Succeeded], *keptJobs/500*500)
	}
	t.Logf("%d kept jobs: a snapshot of %v bytes was written in %v, and a new node was ready in %v",
		*keptJobs, a.metric("snapshot_size_bytes"), wrote, ready)
}
