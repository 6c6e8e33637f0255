package cluster_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
)

// hazard rejects a stream that a version of the servers is known to lose, and warns of one that may be lost.
func TestHazard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version     string
		change      func(*jetstream.StreamConfig)
		reject      bool
		warningSays string
	}{
		{version: "2.15.0", reject: true},
		{version: "2.15.3", reject: true},
		{version: "2.15.0-RC.1", reject: true},
		{version: "2.14.9", warningSays: "other servers may"},
		{version: "2.15.4", warningSays: "not tested"},
		{version: "2.16.0", warningSays: "not tested"},
		{version: "3.0.0", warningSays: "not tested"},
		{version: "unknown", warningSays: "not tested"},
		{version: "", warningSays: "not tested"},
		{version: "2.15.0", change: func(c *jetstream.StreamConfig) { c.Replicas = 1 }, warningSays: "other servers may"},
		{version: "2.15.0", change: func(c *jetstream.StreamConfig) { c.Compression = jetstream.NoCompression }},
		{version: "2.15.0", change: func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
	} {
		cfg := jetstream.StreamConfig{Name: "S", Compression: jetstream.S2Compression, Replicas: 3}
		if tt.change != nil {
			tt.change(&cfg)
		}
		warning, err := cluster.Hazard(tt.version, &cfg)
		if got := errors.Is(err, cluster.ErrUnsafe); got != tt.reject {
			t.Errorf("%q, %+v: rejected is %t, want %t", tt.version, cfg, got, tt.reject)
		}
		if (warning == nil) != (tt.warningSays == "") || warning != nil && !strings.Contains(warning.Error(), tt.warningSays) {
			t.Errorf("%q, %+v: the warning is %v, want one with %q", tt.version, cfg, warning, tt.warningSays)
		}
	}
}

// No stream of gather is compressed by the servers. A node does not start on a compressed stream, and rejects submissions
// when a stream becomes compressed.
func TestCompressedStreams(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 3)
	a := f.open("a")
	a.submit(1)
	names := f.jetStream().StreamNames(t.Context())
	var all []string
	for name := range names.Name() {
		all = append(all, name)
	}
	f.ok(names.Err())
	if len(all) != 4 {
		t.Errorf("the streams are %v, want 4", all)
	}
	compress := func(name string, on jetstream.StoreCompression) {
		s, err := f.jetStream().Stream(t.Context(), name)
		f.ok(err)
		cfg := s.CachedInfo().Config
		if on == jetstream.S2Compression && cfg.Compression != jetstream.NoCompression {
			t.Errorf("stream %s is compressed", name)
		}
		cfg.Compression = on
		_, err = f.jetStream().UpdateStream(t.Context(), cfg)
		f.ok(err)
	}
	for _, name := range all {
		if strings.HasPrefix(name, "KV_") {
			continue // in memory
		}
		compress(name, jetstream.S2Compression)
		f.want(a.CheckStreams(t.Context()), cluster.ErrUnsafe)
		if n := a.metric("streams_at_risk"); n != 1 {
			t.Errorf("%v streams are at risk, want 1", n)
		}
		cfg := f.cfg
		cfg.Dir = t.TempDir()
		_, err := cluster.Open(t.Context(), cfg)
		f.want(err, cluster.ErrUnsafe)
		compress(name, jetstream.NoCompression)
		f.ok(a.CheckStreams(t.Context()))
	}
	compress("FLEET_LOG", jetstream.S2Compression)
	f.s.Restart(0)
	f.s.Restart(1)
	f.s.Restart(2) // the node connects again
	f.eventually("a node rejects submissions", func() bool {
		err := a.Ready()
		return err != nil && strings.Contains(err.Error(), "is compressed")
	})
	compress("FLEET_LOG", jetstream.NoCompression)
	f.s.Restart(0)
	f.s.Restart(1)
	f.s.Restart(2)
	f.eventually("the node accepts submissions again", func() bool { return a.Ready() == nil })
}
