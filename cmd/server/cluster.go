package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/cluster"
	"gather/internal/cluster/arrays"
	"gather/internal/journal"
)

// openCluster joins the cluster, and retries until it succeeds. The API does not listen before, not even for /livez, so
// supervisors must allow time to start.
func (s *server) openCluster(ctx context.Context) (backend, error) {
	c := s.cfg
	if own, err := journal.Exists(c.DataDir); err == nil && own {
		s.log.Warn("the data directory has jobs of a single server; 'gather import' copies them to the cluster",
			"data_dir", c.DataDir)
	}
	config := cluster.Config{
		URL: c.NatsURL, Creds: c.NatsCreds, CA: c.NatsCA, Cert: c.NatsCert, Key: c.NatsKey,
		Prefix: c.NatsPrefix, Replicas: int(c.NatsReplicas.n), NodeTimeout: c.NodeTimeout.d, SnapshotBytes: c.LogSnapshot.n,
		Dir: filepath.Join(c.DataDir, "view"), Name: c.NodeName, Version: version(), Work: s.work, Ended: s.ended,
		TombstoneRetention: c.tombstoneRetention(), KeyRetention: c.KeyRetention.d,
		MaxPendingBytes: maxPending, MinFreeBytes: uint64(c.MinFreeDisk.n), CacheBytes: c.memory.cache, CountResults: s.hasResultQuota, Logger: s.log,
	}
	var stored *arrays.Store
	joined, err := join(ctx, s.log, s.registry, func(metrics prometheus.Registerer) (*cluster.Cluster, error) {
		config.Registerer = metrics
		joined, err := cluster.Open(ctx, config)
		if err != nil {
			return nil, err
		}
		if stored, err = s.openArrays(ctx, joined); err != nil {
			return nil, errors.Join(err, joined.Close())
		}
		return joined, nil
	})
	if errors.Is(err, journal.ErrDamaged) {
		err = fmt.Errorf("%w; move %s away and start: the node builds another replica from the log", err, config.Dir)
	}
	if err != nil {
		return backend{}, err
	}
	return backend{
		jobStore: joined, nodes: joined, replica: joined, cluster: joined, results: joined.Results, wall: joined.Now, setPauses: joined.SetPauses, leads: joined.Leads, arrays: stored, closeArrays: stored.Close,
		uploadMemory: stored.UploadMemory() + uploadBuffer,
		drain:        joined.Drain, durability: durability(int64(joined.Replicas())),
		startupAttrs: []any{"node", c.NodeName, "cluster", c.NatsPrefix, "nats", natsServers(c.NatsURL)},
	}, nil
}

// openArrays opens the array store that the nodes share.
func (s *server) openArrays(ctx context.Context, joined *cluster.Cluster) (*arrays.Store, error) {
	c := s.cfg
	return arrays.Open(ctx, joined.JetStream(), arrays.Config{
		Prefix: c.NatsPrefix, Replicas: int(c.NatsReplicas.n), MaxBytes: c.MaxArray.n, TenantBytes: c.ArrayQuota.n,
		Ready: joined.Ready, Uses: joined, Sync: joined.CatchUp, Now: joined.Now, Logger: s.log,
	})
}
