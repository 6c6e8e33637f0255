package main

import (
	"testing"
	"time"
)

// TestServer checks a server alone under all its faults, for some seconds. `make prove` runs it for longer.
func TestServer(t *testing.T) {
	t.Parallel()
	runSeed(t, &settings{seed: 12, nodes: 1, clients: 12, steps: 16, faults: 7})
}

// TestFullDisk fills the disk of a server, where a small disk can be mounted, and kills the server on it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	runSeed(t, &settings{seed: 12, nodes: 1, clients: 8, steps: 10, faults: 4, kinds: fill + "," + kill + "," + fillKill})
}

// TestCluster kills the NATS server that leads the log five times under load, and kills, pauses, wipes, restarts and cuts off nodes.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	kinds := natsLeader + "," + kill + "," + natsLeader + "," + pause + "," + natsLeader + "," + wipe + "," + natsLeader + "," + restart + "," + natsLeader + "," + cut
	runSeed(t, &settings{seed: 12, nodes: 3, clients: 12, steps: 16, faults: 10, kinds: kinds})
}

func runSeed(t *testing.T, s *settings) {
	t.Helper()
	s.dir, s.limit = t.TempDir(), 10*time.Minute // takes much less; a busy machine may need more
	if err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context(), t.Output()); err != nil {
		t.Fatalf("go run ./bench/crash -seed %d -nodes %d: %v", s.seed, s.nodes, err)
	}
}
