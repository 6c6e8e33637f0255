package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
)

// binaries builds the server once, for all tests.
var binaries struct {
	dir   string
	build func() (settings, error)
}

func TestMain(m *testing.M) {
	var err error
	if binaries.dir, err = os.MkdirTemp("", "gather-crash-test-"); err != nil {
		panic(err)
	}
	binaries.build = sync.OnceValues(func() (settings, error) {
		s := settings{dir: binaries.dir}
		return s, s.build(context.Background())
	})
	m.Run()
	_ = os.RemoveAll(binaries.dir)
}

// TestServer checks a server alone under all its faults, for some seconds. `make prove` runs it for longer.
func TestServer(t *testing.T) {
	t.Parallel()
	runSeed(t, &settings{seed: 12, nodes: 1, clients: 12, steps: 12, faults: 10})
}

// TestPowerCut kills a server so that it loses what was not forced to disk, where FUSE is available.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	runSeed(t, &settings{seed: 12, nodes: 1, clients: 6, steps: 10, faults: 4, kinds: strings.Join([]string{power, killSync, killTwo, killSynced}, ",")})
}

// TestFullDisk fills the disk of a server, where a small disk can be mounted, and kills the server on it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	runSeed(t, &settings{seed: 12, nodes: 1, clients: 6, steps: 10, faults: 3, kinds: strings.Join([]string{fill, kill, fillKill}, ",")})
}

// TestCluster kills the NATS server that leads the log five times under load and partitions the servers, and kills, pauses, wipes, restarts and
// cuts off nodes.
func TestCluster(t *testing.T) {
	t.Parallel()
	kinds := strings.Join([]string{natsLeader, kill, natsLeader, pause, natsLeader, wipe, natsCut, natsLeader, restart, natsLeader, cut}, ",")
	runSeed(t, &settings{seed: 12, nodes: 3, clients: 12, steps: 8, faults: 11, kinds: kinds})
}

func runSeed(t *testing.T, s *settings) {
	t.Helper()
	if testing.Short() {
		t.Skip("drives servers in other processes, of which the race detector sees nothing")
	}
	built, err := binaries.build()
	if err != nil {
		t.Fatal(err)
	}
	s.server, s.dir, s.limit = built.server, t.TempDir(), idleLimit
	if err := s.run(t.Context(), t.Output()); err != nil {
		t.Fatalf("go run ./bench/crash -seed %d -nodes %d -clients %d -steps %d -faults %d -kinds %q: %v",
			s.seed, s.nodes, s.clients, s.steps, s.faults, s.kinds, err)
	}
}
