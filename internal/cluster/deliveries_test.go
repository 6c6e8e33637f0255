package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// Each receiver has one node that delivers to it, another one when that dies, and every node has the deliveries of all.
func TestDeliveryOwners(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.openThree()
	const receivers = 30
	for i := range receivers {
		s := newJob(1, func(j *job.Job) {
			j.CreatedAt = time.Now().Add(-time.Minute).UTC()
			j.Webhooks = []job.Webhook{{URL: fmt.Sprintf("https://host-%d.example/", i), Events: job.AllEvents}}
		})
		f.ok(nodes[i%3].append(job.Batch{Entries: []job.Entry{{ID: s.Job.ID, Events: []job.Event{
			s, job.Started{At: s.Job.CreatedAt}, job.TaskProgress{Done: true}, job.Finished{At: s.Job.CreatedAt, State: job.Succeeded},
		}}}}))
	}
	owned := func(all []*node) (total, nodesWithSome int, twice bool) {
		seen := make(map[uint64]bool)
		for _, n := range all {
			list := n.DeliveryReceivers()
			if len(list) > 0 {
				nodesWithSome++
			}
			for _, r := range list {
				twice = twice || seen[r.Key]
				seen[r.Key] = true
				refs, _, err := n.DueDeliveries(f.Context(), r.Key, 10)
				if f.ok(err); len(refs) != 1 {
					f.Errorf("%d deliveries are due, want 1", len(refs))
				}
			}
		}
		return len(seen), nodesWithSome, twice
	}
	f.eventually("each receiver has one node", func() bool {
		total, some, twice := owned(nodes)
		return total == receivers && some == 3 && !twice
	})
	nodes[1].die()
	left := []*node{nodes[0], nodes[2]}
	f.eventually("the receivers of a dead node have another one", func() bool {
		total, some, twice := owned(left)
		return total == receivers && some == 2 && !twice
	})
	nodes[0].Drain()
	f.eventually("a node that drains delivers nothing", func() bool {
		total, _, _ := owned(nodes[2:])
		return total == receivers
	})
}

// A new node takes a share of the receivers, and no receiver moves between the others.
func TestOwnersAreStable(t *testing.T) {
	nodes := []job.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	counts := make(map[string]int)
	for key := range uint64(3000) {
		before, after := cluster.Owner(nodes[:2], key), cluster.Owner(nodes, key)
		if counts[after]++; after != before && after != "c" {
			t.Fatalf("receiver %d moves from %s to %s", key, before, after)
		}
	}
	for _, n := range nodes {
		if counts[n.ID] < 800 {
			t.Errorf("node %s has %d of 3000 receivers, want about 1000", n.ID, counts[n.ID])
		}
	}
	if got := cluster.Owner([]job.Node{{ID: "a", Draining: true}}, 1); got != "" {
		t.Errorf("a node that drains: got owner %q, want none", got)
	}
}
