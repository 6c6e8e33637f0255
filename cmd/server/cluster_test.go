package main

import (
	"testing"

	"gather/internal/cluster/natstest"
)

// TestCluster runs real servers on three NATS servers and tests the guarantees of a cluster: any node serves any job,
// bounds and keys hold over all nodes, and no failure of a node, its disk or NATS loses a job or changes a result.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := &suite{binary: build(t), nats: natstest.Start(t, 3)}
	for _, test := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"any node serves any job", (*suite).anyNode},
		{"keys hold over all nodes", (*suite).keys},
		{"bounds hold over all nodes", (*suite).bounds},
		{"tasks spread", (*suite).spread},
		{"chunks of a Zarr array are shared", (*suite).zarr},
		{"requests of jobs", (*suite).requests},
		{"webhooks", (*suite).webhooks},
		{"attempts of tasks", (*suite).taskRetries},
		{"jobs wait for jobs", (*suite).after},
		{"a node is paused", (*suite).pauseNode},
		{"nodes restart in turn", (*suite).rollingRestart},
		{"a node joins late", (*suite).joinLate},
		{"a node comes back after the log was trimmed", (*suite).trimmed},
		{"NATS requires authentication", (*suite).auth},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(s, t)
		})
	}
}

// TestNATSKilled is TestCluster for failures of NATS, with three NATS servers of its own.
func TestNATSKilled(t *testing.T) { //nolint:tparallel // they share the servers
	t.Parallel()
	s := &suite{binary: build(t), nats: natstest.Start(t, 3)}
	t.Run("one server", s.killOneNATS)
	t.Run("all servers", s.killAllNATS)
}
