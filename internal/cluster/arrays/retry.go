package arrays

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

const (
	// requestTimeout is how long a request waits for NATS, uploadTimeout how long an upload waits, because repeating it
	// costs more.
	requestTimeout = 10 * time.Second
	uploadTimeout  = 30 * time.Second
	// forever means that only the context limits the wait.
	forever = time.Duration(-1)
	// tryTimeout bounds one attempt.
	tryTimeout = 5 * time.Second

	firstPause, lastPause = 20 * time.Millisecond, 200 * time.Millisecond
)

// errConflict means that another update of the tenant's arrays came first.
var errConflict = errors.New("the arrays of the tenant change all the time")

// retry calls f until it succeeds or fails permanently, or the timeout or ctx ends. It returns the cause of ctx, or the
// last error of f, which is wrapped in job.ErrStorage unless it is a permanentError.
func (s *Store) retry(ctx context.Context, timeout time.Duration, f func(ctx context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		err := f(try)
		if _, decided := errors.AsType[permanentError](err); err != nil && (decided || !isTransient(err)) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: firstPause, RandomizationFactor: .5, Multiplier: 2, MaxInterval: lastPause,
	}), backoff.WithMaxElapsedTime(max(0, timeout)))
	decision, decided := errors.AsType[permanentError](err)
	switch {
	case err == nil:
		return nil
	case decided:
		return decision.error
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", job.ErrStorage, err)
}

// A permanentError is an error of the store itself, not of NATS: it is not retried.
type permanentError struct{ error }

// isTransient reports whether an operation that failed with an error may succeed later: after any error but a permanent
// rejection by a server.
func isTransient(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return !ok || api.Code >= 500
}
