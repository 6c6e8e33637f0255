package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// joinLate adds a node with an empty disk, and empties the disk of another: both serve all jobs and run tasks.
func (s *suite) joinLate(t *testing.T) {
	f := s.cluster(t, 2)
	ctx := f.context()
	l := &load{f: f}
	l.start(ctx, 16, 150)
	l.wait()
	f.grow(1)
	f.checkAllJobs(ctx, 2)
	f.nodes[0].kill()
	f.wipe(0)
	f.start(f.nodes[0])
	f.checkAllJobs(ctx, 0)
	if all, err := f.members(ctx, 1); err != nil || len(all) < 3 {
		t.Errorf("the nodes are %v, %v", all, err)
	}
	l.start(ctx, 16, 210)
	l.wait()
	f.verify(ctx)
}

// checkAllJobs reads all accepted jobs from a node, as its first requests.
func (f *testCluster) checkAllJobs(ctx context.Context, node int) {
	f.t.Helper()
	for id := range f.jobs() {
		c := f.client(node)
		if _, err := c.get(ctx, id); err != nil {
			f.t.Error(err)
		}
		if c.node != node {
			f.t.Errorf("node %d serves before it has all jobs", node)
		}
	}
}

// trimmed stops a node while many jobs end, expire, and are trimmed from the log. It restarts where the log begins
// after its last position, together with a node without a disk.
func (s *suite) trimmed(t *testing.T) {
	f := s.cluster(t, 3, "--retention=1s", "--tombstone-retention=1s", "--idempotency-retention=1s")
	ctx := f.context()
	var gone []string
	expiring := func(n, over int) {
		for i := range n {
			o := numbersOrder(int64(i))
			v, err := f.clients[i%over].submit(ctx, o.body)
			if err != nil {
				t.Fatal(err)
			}
			gone = append(gone, v.ID)
		}
	}
	expiring(3, 3)
	f.nodes[2].kill()
	log := func() (first, last uint64) {
		t.Helper()
		name := strings.ToUpper(f.prefix) + "_LOG"
		all := s.nats.Streams(t, name)
		if len(all) != 1 {
			t.Fatalf("the streams of name %s are %v", name, all)
		}
		return all[0].First, all[0].Last
	}
	_, away := log()
	expiring(100, 2)
	f.until(ctx, 60*time.Second, "the log is trimmed", func(context.Context) (bool, any) {
		expiring(1, 2) // the trim needs later messages
		first, last := log()
		return first > away, fmt.Sprintf("from %d to %d, and the node had read to at most %d", first, last, away)
	})
	kept := numbersOrder(5)
	old := f.accept(ctx, 0, &kept, strings.Replace(kept.body, "{", `{"retention":"1h",`, 1), "")
	waiting := f.accept(ctx, 1, nil, `{"kind":"squares","numbers":[1],"start_after":"1h"}`, "")
	if _, err := f.client(1).wait(ctx, old.ID); err != nil {
		t.Fatal(err)
	}
	f.start(f.nodes[2])
	f.nodes[0].kill()
	f.wipe(0)
	f.start(f.nodes[0])
	for i := range f.nodes {
		c := f.client(i)
		if _, _, err := c.results(ctx, old.ID); err != nil {
			t.Error(err)
		}
		if v, err := c.get(ctx, waiting.ID); err != nil || v.State != "queued" {
			t.Errorf("node %d: the waiting job is %s, %v", i, v.State, err)
		}
		// A node removes expired jobs every ten seconds, possibly after the log is trimmed.
		for _, id := range gone[:60] {
			f.until(ctx, 60*time.Second, "an expired job is gone", func(ctx context.Context) (bool, any) {
				got := f.status(ctx, i, http.MethodGet, "/v1/jobs/"+id, "")
				return got == http.StatusNotFound || got == http.StatusGone, fmt.Sprintf("node %d: job %s has status %d", i, id, got)
			})
		}
	}
	var renewed float64
	for _, name := range []string{"gather_cluster_replica_rebuilds_total", "gather_cluster_snapshot_restores_total"} {
		n, err := f.metric(ctx, 2, name)
		if err != nil {
			t.Fatal(err)
		}
		renewed += n
	}
	if renewed == 0 {
		t.Error("node 2 has neither rebuilt its replica nor restored a snapshot, want one of them")
	}
	// Both run tasks again, and a node that missed the submission can cancel the waiting job.
	o := rangeOrder(1, 20_000)
	body := strings.Replace(o.body, "{", `{"retention":"1h",`, 1)
	for i := range f.nodes {
		f.accept(ctx, i, &o, body, "")
	}
	if got := f.status(ctx, 0, http.MethodPost, "/v1/jobs/"+waiting.ID+"/cancel", `{}`); got != http.StatusAccepted && got != http.StatusOK {
		t.Errorf("cancel: %d", got)
	}
	f.verifyKept(ctx, waiting.ID)
}

// verifyKept is verify for a cluster whose cancelled job expires.
func (f *testCluster) verifyKept(ctx context.Context, cancelled string) {
	f.t.Helper()
	v, err := f.client(1).wait(ctx, cancelled)
	if err != nil || v.State != "cancelled" {
		f.t.Errorf("the waiting job is %s, %v", v.State, err)
	}
	f.add(&observation{job: cancelled, read: &reading{whole: true}})
	for id, a := range f.jobs() {
		if a.order == nil {
			continue
		}
		for i := range f.nodes {
			if _, _, err := f.client(i).results(ctx, id); err != nil {
				f.t.Error(err)
			}
		}
	}
	f.checkHistory()
}
