package cluster_test

import (
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// Nodes that work, restart and start from a snapshot have the same digests after the same messages.
func TestDigests(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	often := cluster.WithDigestInterval(4)
	a, b, c := f.open("a", compacting, often), f.open("b", compacting, often), f.open("c", compacting, often)
	nodes := []*node{a, b, c}
	var last job.ID
	try := func(err error) { // workers may have ended the job
		t.Helper()
		if err != nil {
			f.want(err, job.ErrTransition)
		}
	}
	round := func() {
		t.Helper()
		for i, n := range nodes {
			id := n.submit(3, func(j *job.Job) { j.Retention = time.Hour })
			other := nodes[(i+1)%len(nodes)]
			f.catchUp(other)
			try(other.Join(t.Context(), id, n.ID()))
			f.want(n.AppendBlindly(t.Context(), admitted(job.Admission{Jobs: 1}, job.Size{}, newJob(1))), job.ErrQueueFull)
			if i == 0 {
				_, err := n.Cancel(t.Context(), "t", id)
				f.ok(err)
			}
			try(n.Decide(t.Context(), n.submit(1), job.Finished{State: job.Failed}))
			last = id
		}
		a.churn(3)
	}
	round()
	for _, n := range nodes {
		n.work(1, nil)
	}
	round()
	a.waitOver(last)
	a.compact()
	c.close()
	nodes = []*node{a, b, f.open("c", compacting, often), f.open("fresh", compacting, often)}
	round()
	round()
	f.sameStates(nodes...)
	for _, n := range nodes[1:] {
		same := 0
		digests := a.Digests()
		for seq, sum := range n.Digests() {
			want, both := digests[seq]
			if both && sum != want {
				t.Errorf("the digest of %s after message %d is %x, want %x", n.dir, seq, sum, want)
			}
			if both {
				same++
			}
		}
		if same < 4 {
			t.Errorf("%s has %d digests after the same messages, want some", n.dir, same)
		}
	}
}

// Every node reports a node whose state differs, and the leader then writes no snapshot.
func TestDivergence(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	often := cluster.WithDigestInterval(2)
	a, b, c := f.open("a", compacting, often), f.open("b", compacting, often), f.open("c", compacting, often)
	id := a.submit(2)
	a.churn(10)
	f.catchUp(a, b, c)
	c.Diverge(id)
	a.churn(10)
	f.eventually("the nodes report the divergence", func() bool {
		return a.metric("diverged_nodes") == 1 && b.metric("diverged_nodes") == 1 && c.metric("diverged_nodes") == 2
	})
	if err := a.Compact(t.Context()); err == nil {
		t.Error("a snapshot was written, want none while states differ")
	}
	c.close()
	c = f.open("c", compacting, often) // reads its replica, which does not differ
	f.eventually("nothing differs", func() bool {
		a.churn(1)
		return a.metric("diverged_nodes") == 0 && b.metric("diverged_nodes") == 0 && c.metric("diverged_nodes") == 0
	})
	a.compact()
}
