package cluster_test

import (
	"fmt"
	"testing"
)

// The nodes' bucket is in memory: when its servers restart, its sequences begin at 1 again. The nodes find each other again
// nonetheless, however long they were up before, one of them leads, and what was lost is offered again.
func TestServersRestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ servers, restarted int }{{1, 1}, {3, 2}, {3, 3}} {
		t.Run(fmt.Sprintf("%d of %d", tt.restarted, tt.servers), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, tt.servers)
			f.cfg.NodeTimeout = shortNodeTimeout
			nodes := f.trio()
			id := nodes[0].submit(2)
			f.caughtUp(nodes...)
			kv, err := f.jetStream().KeyValue(t.Context(), "FLEET_NODES")
			f.ok(err)
			for range 600 { // as if the nodes had been up for minutes
				_, err := kv.PutString(t.Context(), "other", "-")
				f.ok(err)
			}
			f.s.StopSome(tt.restarted)
			f.s.StartAll()
			for _, n := range nodes {
				f.eventually("a node finds the others", func() bool { return n.metric("nodes") == 3 })
			}
			f.eventually("there is one leader", func() bool { return len(leaders(nodes)) == 1 })
			f.eventually("the turns are lost", func() bool { // the servers may still choose who leads the stream
				turns, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
				return err == nil && turns.Purge(t.Context()) == nil
			})
			nodes[1].work(1, nil)
			nodes[1].ends(id)
		})
	}
}

// The stream of the turns is made anew when it is lost under running nodes, and so are its consumers.
func TestTurnsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(f *fleet){
		"stream": func(f *fleet) { f.s.DeleteStreams(t, "FLEET_TASKS") },
		"consumer": func(f *fleet) {
			f.ok(f.jetStream().DeleteConsumer(t.Context(), "FLEET_TASKS", "normal-new"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1)
			f.cfg.NodeTimeout = shortNodeTimeout
			a, b := f.open("a"), f.open("b")
			id := a.submit(2)
			f.caughtUp(b)
			lose(f)
			b.work(1, nil)
			b.ends(id)
		})
	}
}
