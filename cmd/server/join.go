package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/api"
	"gather/internal/cluster"
	"gather/internal/journal"
)

// joinEvery is how long a node waits before it tries again to join its cluster.
const joinEvery = 3 * time.Second

// join calls open until it succeeds, ctx is done, or it fails for a reason that waiting does not mend.
func join[T any](ctx context.Context, log *slog.Logger, open func() (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		joined, err := open()
		if err != nil && final(err) {
			err = backoff.Permanent(err)
		}
		return joined, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(joinEvery)), backoff.WithMaxElapsedTime(0), backoff.WithNotify(
		func(err error, pause time.Duration) {
			log.Warn("cannot join the cluster yet; trying again", "error", err, "in", pause)
		}))
}

// final reports whether an error is of this machine, or of how NATS is set up, and not one that passes.
func final(err error) bool {
	_, file := errors.AsType[*fs.PathError](err)
	return file || errors.Is(err, journal.ErrLocked) || errors.Is(err, journal.ErrFormat) || errors.Is(err, cluster.ErrUnsafe)
}

// attempt registers metrics so that they can be unregistered: another attempt registers them again.
type attempt struct {
	prometheus.Registerer
	done []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (a *attempt) Register(c prometheus.Collector) error {
	err := a.Registerer.Register(c)
	if err == nil {
		a.done = append(a.done, c)
	}
	return err
}

// MustRegister implements prometheus.Registerer.
func (a *attempt) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := a.Register(c); err != nil {
			panic(err)
		}
	}
}

func (a *attempt) undo() {
	for _, c := range a.done {
		a.Unregister(c)
	}
}

// durability is what the acknowledgement of a stream is worth. NATS answers when most replicas have the message, and syncs
// it to disk some time later: that outlives a server only if there are others, and without a stop only if there are two.
func durability(replicas int64) string {
	if replicas >= 3 {
		return string(api.JobDurabilityQuorum)
	}
	return string(api.JobDurabilityNone)
}
