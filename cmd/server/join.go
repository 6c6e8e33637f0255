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

// joinInterval is the time between two attempts to join the cluster.
const joinInterval = 3 * time.Second

// join calls open until it succeeds, ctx is done, or it fails with a permanent error. The metrics that open registers
// are added to reg when it has succeeded.
func join[T any](
	ctx context.Context, log *slog.Logger, reg prometheus.Registerer, open func(prometheus.Registerer) (T, error),
) (T, error) {
	var metrics *prometheus.Registry
	joined, err := backoff.Retry(ctx, func() (T, error) {
		metrics = prometheus.NewRegistry()
		joined, err := open(metrics)
		if err != nil && isPermanent(err) {
			err = backoff.Permanent(err)
		}
		return joined, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(joinInterval)), backoff.WithMaxElapsedTime(0), backoff.WithNotify(
		func(err error, pause time.Duration) {
			log.Warn("joining the cluster failed; retrying", "error", err, "in", pause)
		}))
	if err != nil {
		return joined, err
	}
	return joined, reg.Register(metrics)
}

// isPermanent reports whether an error is caused by this machine or by the configuration of NATS, so that a retry
// cannot help.
func isPermanent(err error) bool {
	_, file := errors.AsType[*fs.PathError](err)
	return file || errors.Is(err, journal.ErrLocked) || errors.Is(err, journal.ErrFormat) || errors.Is(err, journal.ErrDamaged) ||
		errors.Is(err, cluster.ErrUnsafe)
}

// durability returns the durability of an acknowledgement by a stream. NATS acknowledges a message when most replicas
// have it, and syncs it to disk later: the message survives the failure of one server only with three replicas.
func durability(replicas int64) string {
	if replicas >= 3 {
		return string(api.JobDurabilityQuorum)
	}
	return string(api.JobDurabilityNone)
}
