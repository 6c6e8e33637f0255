package arrays

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

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

	firstPause, lastPause = 20 * time.Millisecond, time.Second
)

// errConflict: another change of the tenant's arrays came first.
var errConflict = errors.New("the arrays of the tenant change all the time")

// retry calls f until it succeeds, fails permanently, or the patience or ctx ends. Its error is the cause of ctx, or the
// last error of f: wrapped in job.ErrStorage if that was one of NATS.
func (s *Store) retry(ctx context.Context, patience time.Duration, f func(ctx context.Context) error) error {
	end := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		err := f(try)
		cancel()
		decision, decided := errors.AsType[final](err)
		switch {
		case err == nil:
			return nil
		case decided:
			return decision.error
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !isTransient(err) || patience != forever && time.Now().Add(pause).After(end):
			return fmt.Errorf("%w: %w", job.ErrStorage, err)
		}
		if errors.Is(err, errConflict) {
			pause = min(pause, 4*firstPause)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // only spreads
		case <-ctx.Done():
		}
	}
}

// final is an error that is no matter of NATS, but decided here.
type final struct{ error }

// isTransient reports whether an error may pass: every error but a permanent rejection of a server.
func isTransient(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return !ok || api.Code >= 500
}
