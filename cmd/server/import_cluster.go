package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"gather/internal/cluster"
	"gather/internal/cluster/arrays"
)

// importPatience is longer than an election of the NATS servers takes, or the restart of one that is alone.
const importPatience = 2 * time.Minute

// openCluster joins the cluster as an observer, with a temporary replica.
func (c *importCmd) openCluster(ctx context.Context, stderr io.Writer) (_ *destination, err error) {
	view, err := os.MkdirTemp("", "gather-import-")
	if err != nil {
		return nil, err
	}
	undo := []func() error{func() error { return os.RemoveAll(view) }}
	closeAll := func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	log := warnings(stderr)
	joined, err := cluster.Open(ctx, cluster.Config{
		URL: c.NatsURL, Creds: c.NatsCreds, CA: c.NatsCA, Cert: c.NatsCert, Key: c.NatsKey,
		Prefix: c.NatsPrefix, Replicas: int(c.NatsReplicas.n), NodeTimeout: c.NodeTimeout.d,
		Dir: view, Name: "import", Observer: true, Version: version(), MaxPendingBytes: maxPending, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("--nats-url: %w", err)
	}
	undo = append(undo, joined.Close)
	joined.Drain() // run no tasks here
	store, err := arrays.Open(ctx, joined.JetStream(), arrays.Config{
		Prefix: c.NatsPrefix, Replicas: int(c.NatsReplicas.n), Ready: joined.Ready, Uses: joined, Sync: joined.CatchUp, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, store.Close)
	return &destination{importer: joined, arrays: store, name: "the cluster " + c.NatsPrefix, patience: importPatience, close: closeAll}, nil
}
