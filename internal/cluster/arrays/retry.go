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
	// shortPatience is how long a request waits for NATS, longPatience an upload, which has more to lose.
	shortPatience = 10 * time.Second
	longPatience  = 30 * time.Second
	// forever leaves it to the context.
	forever = time.Duration(-1)
	// tryTimeout bounds one try.
	tryTimeout = 5 * time.Second

	firstPause, lastPause = 20 * time.Millisecond, 200 * time.Millisecond
)

// errConflict: another change of the tenant's arrays came first.
var errConflict = errors.New("the arrays of the tenant change all the time")

// retry calls f until it succeeds, fails permanently, or the patience or ctx ends. Its error is the cause of ctx, or the
// last error of f: wrapped in job.ErrStorage if that was one of NATS.
func (s *Store) retry(ctx context.Context, patience time.Duration, f func(ctx context.Context) error) error {
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
	}), backoff.WithMaxElapsedTime(max(0, patience)))
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

// isTransient reports whether an error may pass: every error but a permanent rejection of a server.
func isTransient(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return !ok || api.Code >= 500
}
