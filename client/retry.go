package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	defaultRetryFor = time.Minute
	// The pause before a retry, unless the server requests another: doubled from firstPause to maxPause.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

var (
	errTimeout = errors.New("the server did not answer in time")
	errIdle    = errors.New("the stream stalled")
)

// connectionError is a failure of a connection: no response, or a response that was cut.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// body wraps the errors of a response's body.
type body struct{ io.Reader }

func (b body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &connectionError{err}
	}
	return n, err
}

// Retryable reports whether the call of an error may succeed later: the server cannot be reached, is overloaded, is
// stopping, or enforces a rate or quota.
func Retryable(err error) bool {
	_, ok := retryable(err)
	return ok
}

// attempts are the attempts of one call since its last progress.
type attempts struct {
	failed time.Time // the first failure since; zero without one
	pause  time.Duration
	// disconnected is true once an attempt ended without a response of gather, which may have processed the request.
	disconnected bool
}

// progressed restarts the time of retries: a stream has received something.
func (a *attempts) progressed() { a.failed, a.pause = time.Time{}, 0 }

// retry calls try until it succeeds, fails for good, RetryFor has passed without progress, or ctx is done.
func (c *Client) retry(ctx context.Context, try func(context.Context, *attempts) error) error {
	var a attempts
	for {
		err := try(ctx, &a)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return cause(ctx, err)
		}
		after, ok := retryable(err)
		if !ok || c.config.RetryFor < 0 {
			return err
		}
		if e, response := errors.AsType[*Error](err); !response || e.Type == "about:blank" {
			a.disconnected = true
		}
		now := time.Now()
		if a.failed.IsZero() {
			a.failed = now
		}
		a.pause = min(max(2*a.pause, firstPause), maxPause)
		pause := a.pause/2 + rand.N(a.pause/2) //nolint:gosec // jitter
		if after > 0 {
			pause = after
		}
		if now.Add(pause).Sub(a.failed) > c.config.RetryFor {
			return err
		}
		if c.config.OnRetry != nil {
			c.config.OnRetry(err, pause)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// sleep waits, or returns the cause of ctx when it is done before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryable is Retryable. It returns the pause that the server requests, 0 if none.
func retryable(err error) (after time.Duration, ok bool) {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return 0, false
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		_, ok = errors.AsType[*connectionError](err)
		return 0, ok
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout,
		http.StatusRequestTimeout:
		return e.RetryAfter, true
	case http.StatusConflict: // idempotency-in-progress; without Retry-After it is a conflict that lasts
		return e.RetryAfter, e.RetryAfter > 0 && e.Type == "/problems/idempotency-in-progress"
	}
	return 0, false
}

// cause returns the reason of an error that the end of ctx made.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
}
