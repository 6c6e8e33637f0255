package main

import (
	"context"
	"path/filepath"

	"gather/internal/cluster"
	"gather/internal/journal"
)

// openCluster joins the cluster, as soon as it is there.
func (s *server) openCluster(ctx context.Context) (backend, error) {
	c := s.cfg
	if own, err := journal.Exists(c.DataDir); err == nil && own {
		s.log.Warn("the data directory has the jobs of a server by itself too, which the cluster knows only after 'server import'",
			"data_dir", c.DataDir)
	}
	config := cluster.Config{
		URL: c.NatsURL, Creds: c.NatsCreds, CA: c.NatsCA, Cert: c.NatsCert, Key: c.NatsKey,
		Prefix: c.NatsPrefix, Replicas: int(c.NatsReplicas.n), AckWait: c.AckWait.d,
		Dir: filepath.Join(c.DataDir, "view"), Name: c.NodeName, Version: version(), Work: s.work,
		TombstoneRetention: c.TombRetention.d, KeyRetention: c.KeyRetention.d,
		MaxPendingBytes: maxPending, MinFreeBytes: uint64(c.MinFreeDisk.n), Logger: s.log,
	}
	joined, err := join(ctx, s.log, func() (*cluster.Cluster, error) {
		metrics := &attempt{Registerer: s.registry}
		config := config
		config.Registerer = metrics
		joined, err := cluster.Open(ctx, config)
		if err != nil {
			metrics.undo()
		}
		return joined, err
	})
	if err != nil {
		return backend{}, err
	}
	return backend{
		record: joined, nodes: joined, turns: joined, drain: joined.Drain, durability: durability(c.NatsReplicas.n),
		about: []any{"node", c.NodeName, "cluster", c.NatsPrefix, "nats", natsServers(c.NatsURL)},
	}, nil
}
