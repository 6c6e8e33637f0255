package cluster_test

import (
	"fmt"
	"testing"
)

// When the servers restart, the bucket of the nodes, which is in memory, starts with sequence 1. The nodes still find each
// other, however long they ran before, one of them leads, and lost tasks are queued again.
func TestServersRestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ servers, restarted int }{{1, 1}, {3, 2}, {3, 3}} {
		t.Run(fmt.Sprintf("%d of %d", tt.restarted, tt.servers), func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, tt.servers)
			f.cfg.NodeTimeout = shortNodeTimeout
			nodes := f.openThree()
			id := nodes[0].submit(2)
			f.catchUp(nodes...)
			kv, err := f.jetStream().KeyValue(t.Context(), "FLEET_NODES")
			f.ok(err)
			for range 600 { // as if the nodes had been up for minutes
				_, err := kv.PutString(t.Context(), "other", "-")
				f.ok(err)
			}
			f.s.Stop([]int{0, 1, 2}[:tt.restarted]...)
			f.s.StartAll()
			for _, n := range nodes {
				f.eventually("a node finds the others", func() bool { return n.metric("nodes") == 3 })
			}
			f.eventually("there is one leader", func() bool { return len(leaders(nodes)) == 1 })
			f.eventually("the tasks are lost", func() bool { // the stream may not have a leader yet
				leases, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
				return err == nil && leases.Purge(t.Context()) == nil
			})
			nodes[1].work(1, nil)
			nodes[1].waitEnded(id)
		})
	}
}

// The stream of tasks and its consumers are recreated when they are lost under running nodes.
func TestTasksLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(f *testCluster){
		"stream": func(f *testCluster) { f.s.DeleteStreams(t, "FLEET_TASKS") },
		"consumer": func(f *testCluster) {
			f.ok(f.jetStream().DeleteConsumer(t.Context(), "FLEET_TASKS", "normal-new"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, 1)
			f.cfg.NodeTimeout = shortNodeTimeout
			a, b := f.open("a"), f.open("b")
			id := a.submit(2)
			f.catchUp(b)
			lose(f)
			b.work(1, nil)
			b.waitEnded(id)
		})
	}
}
