package cluster_test

import (
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// leaders returns the nodes that consider themselves the leader.
func leaders(nodes []*node) (all []*node) {
	for _, n := range nodes {
		if n.Unfinished(func(*job.Job, job.Size) {}) {
			all = append(all, n)
		}
	}
	return all
}

// The oldest node is the leader, and the next oldest follows it.
func TestLeader(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.openThree()
	sole := func(n *node, of []*node) {
		t.Helper()
		f.eventually("there is one leader", func() bool {
			all := leaders(of)
			return len(all) == 1 && all[0] == n
		})
		for _, m := range of {
			want := map[bool]float64{true: 1}[m == n]
			f.eventually("a node's gauge of the leader shows it", func() bool { return m.metric("leader") == want })
			f.eventually("all nodes are counted", func() bool { return m.metric("nodes") == float64(len(of)) })
		}
	}
	sole(nodes[0], nodes)
	nodes[0].close() // leaves
	sole(nodes[1], nodes[1:])
	nodes[1].die() // times out
	sole(nodes[2], nodes[2:])
	again := f.open("a")
	sole(nodes[2], []*node{nodes[2], again})
}

// Nodes return the records of all nodes.
func TestNodes(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	id := job.NewID()
	a := f.open("a", func(c *cluster.Config) {
		c.Version = "v1"
		c.Work = func() job.Work {
			return job.Work{Workers: 4, Busy: 2, Waiting: 9, Jobs: []job.NodeJob{{ID: id, Tenant: "t", Kind: "squares", Running: 2}}}
		}
	})
	b := f.open("b")
	for _, n := range []*node{a, b} {
		var nodes []job.Node
		f.eventually("both nodes are members", func() bool {
			var err error
			nodes, err = n.Nodes(t.Context())
			f.ok(err)
			return len(nodes) == 2
		})
		x, y := nodes[0], nodes[1]
		if x.ID != a.ID() || x.Name != "a" || x.Version != "v1" || x.Self != (n == a) || x.Workers != 4 || x.Busy != 2 ||
			x.Waiting != 9 || len(x.Jobs) != 1 || x.Jobs[0].ID != id || x.Draining {
			t.Errorf("a is %+v", x)
		}
		if y.ID != b.ID() || y.Self != (n == b) || y.StartedAt.Before(x.StartedAt) || time.Since(y.SeenAt) > waitTimeout {
			t.Errorf("b is %+v", y)
		}
	}
}

// All nodes have the same unfinished jobs, with their sizes and their positions in the queue.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	size := job.Size{Memory: 5, Waiting: 3}
	var ids []job.ID
	for i := range 9 {
		s := newJob(3, func(j *job.Job) { j.Priority = job.Priorities()[i%3] })
		f.ok([]*node{a, b}[i%2].append(admitted(job.Admission{}, size, s)))
		ids = append(ids, s.Job.ID)
	}
	f.ok(a.events(ids[0], job.Started{At: time.Now()}))
	f.ok(a.events(ids[1], job.Finished{At: time.Now(), State: job.Failed}))
	f.catchUp(a, b)
	for _, n := range []*node{a, b, f.open("fresh")} {
		states := make(map[job.ID]job.State)
		n.Unfinished(func(j *job.Job, s job.Size) {
			states[j.ID] = j.State
			if s != size {
				t.Errorf("a job's size is %+v", s)
			}
		})
		if len(states) != 8 || states[ids[0]] != job.Running || states[ids[2]] != job.Queued {
			t.Errorf("unfinished are %v", states)
		}
		for i, id := range ids {
			place, wait, ok := n.Position(id)
			want := i/3 + 1 // among three of its priority
			if i%3 < 2 {
				want-- // an earlier one is no longer queued
			}
			if ok != (i > 1) || ok && (place != want || wait <= 0) {
				t.Errorf("job %d is at place %d (%v, %v), want %d", i, place, ok, wait, want)
			}
		}
	}
	if _, _, ok := a.Position(job.NewID()); ok {
		t.Error("a missing job has a position")
	}
}
