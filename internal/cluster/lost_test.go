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

// impatient has a node stop soon when the log does not match its view.
func impatient(c *cluster.Config) { c.LogGrace = 300 * time.Millisecond }

// stopped checks that a node takes no part because the log lost messages, and that it still answers for a job.
func (n *node) stopped(known job.ID) {
	n.f.Helper()
	n.f.eventually("the node stops taking part", func() bool { return n.metric("log_lost") == 1 })
	r, ok := errors.AsType[*job.Rejection](n.Ready())
	if !ok || r.Reason != "log-lost" || !strings.Contains(r.Detail, "has lost messages") {
		n.f.Errorf("the node is ready: %v, want a rejection for log-lost", n.Ready())
	}
	n.get(known)
	n.f.want(n.append(batch(newJob(1))), job.ErrStorage)
	if rebuilt := n.metric("replica_rebuilds_total"); rebuilt != 0 {
		n.f.Errorf("the view was rebuilt %v times, want 0", rebuilt)
	}
}

// A node does not follow a log that lost what it has applied, whether it runs at that time or starts later. It keeps its view.
func TestLogLost(t *testing.T) {
	t.Parallel()
	remake := func(f *fleet, messages int) { // under the same name
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
		lose func(f *fleet)
	}{
		{"deleted", func(f *fleet) { f.s.DeleteStreams(t, "FLEET_LOG") }},
		{"all streams deleted", func(f *fleet) { f.s.DeleteStreams(t, "FLEET") }},
		{"emptied", func(f *fleet) {
			s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
			f.ok(err)
			f.ok(s.Purge(t.Context()))
		}},
		{"another stream", func(f *fleet) {
			f.s.DeleteStreams(t, "FLEET_LOG")
			_, err := f.jetStream().CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "FLEET_LOG", Subjects: []string{"fleet.log.*"}, Metadata: map[string]string{"gather-log": "another"},
			})
			f.ok(err)
		}},
		{"shorter", func(f *fleet) { remake(f, 1) }},
		{"as long, with other messages", func(f *fleet) { remake(f, 50) }},
		{"another stream, behind what was applied", func(f *fleet) {
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
		{"begins later, without a trim", func(f *fleet) {
			remake(f, 50)
			s, err := f.jetStream().Stream(t.Context(), "FLEET_LOG")
			f.ok(err)
			f.ok(s.Purge(t.Context(), jetstream.WithPurgeSequence(45)))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1)
			away := f.open("away", impatient)
			id := away.submit(2)
			f.caughtUp(away)
			away.close()
			tt.lose(f)
			away = f.open("away", impatient)
			away.stopped(id)
			away.close()
			f.open("away", impatient).stopped(id) // again after another start
			if _, err := f.jetStream().Stream(t.Context(), "FLEET_LOG"); strings.Contains(tt.name, "deleted") && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("the log: got %v, want that no node makes it anew that has read it", err)
			}
		})
	}
}

// A node that runs while the log is lost stops, and its tasks are left to others.
func TestLogLostWhileRunning(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a", impatient)
	id := a.submit(2)
	f.s.DeleteStreams(t, "FLEET_LOG")
	f.s.Restart(0) // ends what reads the log
	a.stopped(id)
	f.eventually("the node is no member any more", func() bool {
		kv, err := f.jetStream().KeyValue(t.Context(), "FLEET_NODES")
		if errors.Is(err, jetstream.ErrBucketNotFound) { // it was in memory
			return true
		}
		f.ok(err)
		_, err = kv.Get(t.Context(), a.ID())
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
}

// A node with an empty view makes the log, or follows whatever is there.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a", impatient)
	a.close() // it has read nothing
	f.s.DeleteStreams(t, "FLEET")
	a = f.open("a", impatient)
	id := a.submit(1)
	b := f.open("b", impatient)
	b.get(id)
	f.ok(a.Ready())
	f.ok(b.Ready())
}

// A node that has read nothing follows a log that was made anew under it: nothing is lost.
func TestLogRemadeBeforeFirstMessage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a", impatient)
	f.s.DeleteStreams(t, "FLEET_LOG")
	b := f.open("b", impatient)
	f.s.Restart(0) // ends what reads the log
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
