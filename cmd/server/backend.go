package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/backup"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/pause"
	"gather/internal/webhook"
)

// jobStore stores jobs and their logs.
type jobStore interface {
	executor.Journal
	jobReader
	recordStore
	health
}

// A recordStore stores what belongs to the jobs and their tenants: idempotency keys, deliveries to webhooks, and the documents of
// pauses and schedules.
type recordStore interface {
	api.Keys
	webhook.Store
	pause.Documents
}

// A jobReader reads jobs and their logs.
type jobReader interface {
	api.Jobs
	api.Groups
	api.Log
}

// health is the lifecycle of a jobStore.
type health interface {
	// Ready returns why writes are rejected: job.ErrStorage.
	Ready() error
	// Close closes the store, after the executor and the API.
	Close() error
}

// backend has the components that differ between a single server and a node of a cluster: the stores of jobs and
// arrays, and the source of tasks.
type backend struct {
	jobStore
	// nodes lists the nodes that run the jobs.
	nodes api.Nodes
	// arrays stores the uploaded arrays.
	arrays arrayStore
	// replica is api.Config.Replica.
	replica api.Replica
	// cluster distributes tasks to the executors of all nodes; nil on a single server.
	cluster executor.Cluster
	// leads reports whether this server submits the runs of schedules; nil for always.
	leads func() bool
	// setPauses makes the cluster hold paused jobs; nil on a single server, whose executor does.
	setPauses func(job.Pauses)
	// wall is the clock that the nodes of a cluster share; nil for the machine's clock.
	wall func() time.Time
	// room is executor.Config.Room.
	room func() <-chan struct{}
	// results is executor.Config.Results.
	results func(tenant string, id job.ID) (ofJob, ofTenant int64)
	// durability is the durability of accepted jobs, as in openapi.yaml.
	durability string
	// drain announces to the other nodes that this one takes no more tasks.
	drain func()
	// backups serves backups; nil in a cluster.
	backups http.Handler
	// uploadMemory is api.Config.UploadMemory; 0 for its default.
	uploadMemory int64
	// closeArrays closes the array store; nil for a no-op.
	closeArrays func() error
	// startupAttrs are attributes of the startup log message.
	startupAttrs []any
}

// Close closes the backend, after the executor and the API.
func (b *backend) Close() error {
	var err error
	if b.closeArrays != nil {
		err = b.closeArrays()
	}
	return errors.Join(err, b.jobStore.Close())
}

// checkDataDir warns about a data directory that other users can read. It does not change the mode.
func (s *server) checkDataDir() {
	info, err := os.Stat(s.cfg.DataDir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("users other than the server's can access the data directory, which has specs and results of jobs: chmod go= it",
			"data_dir", s.cfg.DataDir, "mode", info.Mode().Perm().String())
	}
}

// openBackend joins the cluster, or opens the journal of a single server.
func (s *server) openBackend(ctx context.Context) (backend, error) {
	s.checkDataDir()
	if s.cfg.NatsURL != "" {
		return s.openCluster(ctx)
	}
	return s.openJournal(ctx)
}

// hasResultQuota reports whether a tenant's results are bounded.
func (s *server) hasResultQuota(tenant string) bool {
	return s.tenants != nil && s.tenants.MaxResultBytes(tenant) > 0
}

func (s *server) openJournal(ctx context.Context) (backend, error) {
	c := s.cfg
	j, err := journal.Open(ctx, journal.Config{
		Dir: c.DataDir, TombstoneRetention: c.tombstoneRetention(), KeyRetention: c.KeyRetention.d,
		MinFreeBytes: uint64(c.MinFreeDisk.n), MaxPendingBytes: maxPending, CacheBytes: c.memory.cache, CountResults: s.hasResultQuota, Logger: s.log, Registerer: s.registry,
	})
	if err != nil {
		return backend{}, withHint(err)
	}
	// Open the arrays under the lock of the journal.
	arrays, err := array.Open(array.Config{
		Dir: filepath.Join(c.DataDir, "arrays"), MaxBytes: c.MaxArray.n, TenantBytes: c.ArrayQuota.n, Ready: j.Ready,
		Spare: j.Spare, Maps: s.maps, Logger: s.log,
	})
	if err != nil {
		return backend{}, errors.Join(err, j.Close())
	}
	if err := backup.Clean(c.DataDir); err != nil {
		return backend{}, errors.Join(err, j.Close())
	}
	scrubbing, stop := context.WithCancel(context.Background())
	scrubbed := make(chan struct{})
	go func() { // ends with closeArrays at the latest
		defer close(scrubbed)
		arrays.Scrub(scrubbing)
	}()
	return backend{
		arrays: arrays, room: j.Room, results: j.Results, closeArrays: func() error {
			stop()
			<-scrubbed
			return nil
		},
		backups:  &backups{s: s, journal: j, arrays: arrays, slot: make(chan struct{}, 1)},
		jobStore: j, nodes: singleNode{s.newNode()}, durability: string(api.JobDurabilityFsync), drain: func() {},
		startupAttrs: []any{"node", c.NodeName},
	}, nil
}

// singleNode implements api.Nodes for a single server.
type singleNode struct{ self func() job.Node }

// Nodes implements api.Nodes.
func (n singleNode) Nodes(context.Context) ([]job.Node, error) { return []job.Node{n.self()}, nil }

// newNode returns a function that describes this server.
func (s *server) newNode() func() job.Node {
	n := job.Node{ID: job.NewID().String(), Name: s.cfg.NodeName, Version: version(), StartedAt: time.Now(), Self: true}
	return func() job.Node {
		n := n
		n.SeenAt, n.Draining, n.Work = time.Now(), s.draining.Load(), s.work()
		return n
	}
}

// ended counts a job that the cluster ended through this node.
func (s *server) ended(j *job.Job) {
	if e := s.executor.Load(); e != nil {
		e.RecordEnd(j)
	}
}

// work returns the load of the executor, which is zero before the executor exists: other nodes may request it earlier.
func (s *server) work() job.Work {
	if e := s.executor.Load(); e != nil {
		return e.Work()
	}
	return job.Work{}
}
