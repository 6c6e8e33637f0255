package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
	"gather/internal/job"
)

// shortGrace makes a node stop soon when the log does not match its replica.
func shortGrace(c *cluster.Config) { c.LogGrace = 300 * time.Millisecond }

// checkStopped fails the test unless a node stopped participating because the log lost messages, and still serves reads of
// a job.
func (n *node) checkStopped(known job.ID) {
	n.f.Helper()
	n.f.eventually("the node stops participating", func() bool { return n.metric("log_lost") == 1 })
	r, ok := errors.AsType[*job.Rejection](n.Ready())
	if !ok || r.Reason != "log-lost" || !strings.Contains(r.Detail, "has lost messages") {
		n.f.Errorf("the node is ready: %v, want a rejection for log-lost", n.Ready())
	}
	n.get(known)
	n.f.want(n.append(batch(newJob(1))), job.ErrStorage)
	if rebuilt := n.metric("replica_rebuilds_total"); rebuilt != 0 {
		n.f.Errorf("the replica was rebuilt %v times, want 0", rebuilt)
	}
}

// A node does not follow a log that lost messages that it has applied, whether it runs at that time or starts later. It
// keeps its replica.
func TestLogLost(t *testing.T) {
	t.Parallel()
	remake := func(f *testCluster, messages int) { // under the same name
		s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
		f.ok(err)
		cfg := s.CachedInfo().Config
		f.ok(f.jetStream().DeleteStream(t.Context(), cfg.Name))
		_, err = f.jetStream().CreateStream(t.Context(), cfg)
		f.ok(err)
		for range messages {
			_, err := f.jetStream().Publish(t.Context(), "fleet.log.other", []byte{1, 0}) // without a proposal
			f.ok(err)
		}
	}
	for _, tt := range []struct {
		name string
		lose func(f *testCluster)
	}{
		{"deleted", func(f *testCluster) { f.s.DeleteStreams(t, "FLEET_LOG") }},
		{"all streams deleted", func(f *testCluster) { f.s.DeleteStreams(t, "FLEET") }},
		{"emptied", func(f *testCluster) {
			s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
			f.ok(err)
			f.ok(s.Purge(t.Context()))
		}},
		{"another stream", func(f *testCluster) {
			f.s.DeleteStreams(t, "FLEET_LOG")
			_, err := f.jetStream().CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "FLEET_LOG", Subjects: []string{"fleet.log.*"}, Metadata: map[string]string{"gather-log": "another"},
			})
			f.ok(err)
		}},
		{"shorter", func(f *testCluster) { remake(f, 1) }},
		{"as long, with other messages", func(f *testCluster) { remake(f, 50) }},
		{"another stream, shorter than the applied one", func(f *testCluster) {
			_, last := f.logRange()
			f.s.DeleteStreams(t, "FLEET_LOG")
			s, err := f.jetStream().CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "FLEET_LOG", Subjects: []string{"fleet.log.*"}, Metadata: map[string]string{"gather-log": "another"},
				FirstSeq: last + 1,
			})
			f.ok(err)
			for range 5 {
				_, err = f.jetStream().Publish(t.Context(), "fleet.log.other", []byte{1, 0}, jetstream.WithExpectStream(s.CachedInfo().Config.Name))
				f.ok(err)
			}
		}},
		{"begins later, without a trim", func(f *testCluster) {
			remake(f, 50)
			s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
			f.ok(err)
			f.ok(s.Purge(t.Context(), jetstream.WithPurgeSequence(45)))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, 1)
			away := f.open("away", shortGrace)
			id := away.submit(2)
			f.catchUp(away)
			away.close()
			tt.lose(f)
			away = f.open("away", shortGrace)
			away.checkStopped(id)
			away.close()
			f.open("away", shortGrace).checkStopped(id) // again after another start
			if _, err := f.jetStream().Stream(t.Context(), "FLEET_LOG"); strings.Contains(tt.name, "deleted") && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("the log: got %v, want that no node that has applied it recreates it", err)
			}
		})
	}
}

// A node that runs while the log is lost stops participating, and its tasks go to other nodes.
func TestLogLostWhileRunning(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", shortGrace)
	id := a.submit(2)
	f.s.DeleteStreams(t, "FLEET_LOG")
	f.s.Restart(0) // ends the consumers of the log
	a.checkStopped(id)
	f.eventually("the node is no longer a member", func() bool {
		kv, err := f.jetStream().KeyValue(t.Context(), "FLEET_NODES")
		if errors.Is(err, jetstream.ErrBucketNotFound) { // it was in memory
			return true
		}
		f.ok(err)
		_, err = kv.Get(t.Context(), a.ID())
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
}

// A node with an empty replica creates the log, or follows an existing one.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", shortGrace)
	a.close() // it has applied nothing
	f.s.DeleteStreams(t, "FLEET")
	a = f.open("a", shortGrace)
	id := a.submit(1)
	b := f.open("b", shortGrace)
	b.get(id)
	f.ok(a.Ready())
	f.ok(b.Ready())
}

// A node that has applied nothing follows a recreated log, because nothing is lost.
func TestLogRemadeBeforeFirstMessage(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", shortGrace)
	f.s.DeleteStreams(t, "FLEET_LOG")
	b := f.open("b", shortGrace)
	f.s.Restart(0) // ends the consumers of the log
	var id job.ID
	f.eventually("the other node accepts a job", func() bool { // it may have to connect again first
		s := newJob(1)
		id = s.Job.ID
		return b.append(batch(s)) == nil
	})
	f.eventually("the node has the job", func() bool {
		_, err := a.Get(t.Context(), "t", id)
		return err == nil
	})
	f.eventually("the node is ready", func() bool { return a.Ready() == nil })
}
