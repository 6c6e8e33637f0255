package cluster_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/journal/journaltest"
)

func TestMain(m *testing.M) {
	// The tests wait more than they compute.
	_ = flag.Set("test.parallel", "5")
	natstest.VerifyTestMain(m)
}

// logger discards messages unless GATHER_TEST_LOG is set.
func logger() *slog.Logger {
	if os.Getenv("GATHER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// prefix returns a prefix for the streams of a directory.
func prefix(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "t" + hex.EncodeToString(sum[:6])
}

func open(t *testing.T, c cluster.Config) *cluster.Cluster {
	t.Helper()
	if c.Logger == nil {
		c.Logger = logger()
	}
	c.NodeTimeout = cmp.Or(c.NodeTimeout, time.Hour) // so that no node counts as dead on a busy machine
	cluster.WithStallAfter(waitTimeout)(&c)
	n, err := cluster.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestExercise checks the contract of a journal with one server and with three.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(map[int]string{1: "one server", 3: "three servers"}[servers], func(t *testing.T) {
			t.Parallel()
			if servers > 1 && testing.Short() {
				t.Skip("nodes do the same as with one server")
			}
			s := natstest.Start(t, servers)
			journaltest.Exercise(t, func(t *testing.T, dir string) journaltest.Journal {
				// The servers are busy with every stream that is left, also when nothing uses it.
				t.Cleanup(func() { s.DeleteStreams(t, strings.ToUpper(prefix(dir))) })
				return open(t, cluster.Config{URL: s.URL, Dir: filepath.Join(dir, "view"), Prefix: prefix(dir), Replicas: servers})
			})
		})
	}
}
