package outbound

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryPolicy has the bounds of attempts.
type RetryPolicy struct {
	// Attempts is how often a request is sent at most.
	Attempts int
	// Backoff is the upper bound of the random wait before the second attempt; it doubles with each attempt, up to Max.
	Backoff, Max time.Duration
	// Unsafe allows retries of methods that are not idempotent.
	Unsafe bool
}

// maxRetryAfter bounds the wait that a response may ask for: a response that asks for more is the outcome.
const maxRetryAfter = 24 * time.Hour

// wait returns the wait before another attempt after attempts; false when the outcome is final.
func (p *RetryPolicy) wait(method string, attempts int, o *Outcome, now time.Time) (time.Duration, bool) {
	if attempts >= p.Attempts || !p.Unsafe && !idempotent(method) {
		return 0, false
	}
	var after time.Duration
	switch {
	case o.Class != "":
		if !o.Class.transient() {
			return 0, false
		}
	case o.Status == http.StatusRequestTimeout, o.Status == http.StatusTooEarly, o.Status == http.StatusTooManyRequests,
		o.Status >= 500:
		after, _ = RetryAfter(o.Header.Get("Retry-After"), now)
	default:
		return 0, false
	}
	if after > maxRetryAfter {
		return 0, false
	}
	return after + p.Jitter(attempts), true
}

// Jitter returns a random wait between 0 and the backoff after a number of attempts.
func (p *RetryPolicy) Jitter(attempts int) time.Duration {
	most := p.Backoff
	for i := 1; i < attempts && most < p.Max; i++ {
		most *= 2
	}
	most = min(most, p.Max)
	return time.Duration(rand.Int64N(int64(most) + 1)) //nolint:gosec // jitter is no secret
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// RetryAfter parses a Retry-After in either form, seconds or a date (RFC 9110, section 10.2.3); false if it is invalid. A
// time in the past is 0.
func RetryAfter(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, false
	}
	if strings.Trim(text, "0123456789") == "" {
		s, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			s = 1 << 32 // beyond every bound
		}
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}
