package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gather/internal/job"
)

// maxAge is the age of the replica beyond which event streams end. NATS servers elect a new leader sooner.
const maxAge = 10 * time.Second

// setAge sets Age (RFC 9111), in seconds, on a response that was read from a replica.
func (s *server) setAge(x *requestState) {
	if s.Replica != nil {
		x.set("Age", strconv.FormatInt(int64(s.Replica.Age()/time.Second), 10))
	}
}

// stale reports whether the replica is too old to follow a job.
func (s *server) stale() bool { return s.Replica != nil && s.Replica.Age() > maxAge }

// refresh waits for the latest state when the replica is older than the request's Cache-Control allows. Errors: job.ErrStorage.
func (s *server) refresh(x *requestState) error {
	if s.Replica == nil {
		return nil
	}
	allowed, limited := allowedAge(x.req.Header)
	if !limited || allowed > 0 && s.Replica.Age() <= allowed {
		return nil
	}
	return s.Replica.ReadBarrier(x)
}

// allowedAge returns the lowest age that Cache-Control allows a response to have: 0 for no-cache, N seconds for
// max-age=N. Directives that cannot be parsed are ignored.
func allowedAge(h http.Header) (allowed time.Duration, limited bool) {
	for _, line := range h["Cache-Control"] {
		for line != "" {
			var directive string
			directive, line = cutUnquoted(line, ',')
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			age := time.Duration(0)
			switch strings.ToLower(name) {
			case "no-cache":
			case "max-age":
				seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
				if err != nil {
					continue
				}
				age = time.Duration(seconds) * time.Second
			default:
				continue
			}
			if !limited || age < allowed {
				allowed, limited = age, true
			}
		}
	}
	return allowed, limited
}

// awaitLatest is await for a read: it reports an unchanged job only as of the latest state of the log. Errors:
// job.ErrStorage while the node cannot reach the log.
func (s *server) awaitLatest(ctx context.Context, j job.Job, wait time.Duration, done func(*job.Job) bool) (job.Job, error) {
	if s.Replica == nil || j.State.Terminal() {
		return s.await(ctx, j, wait, done)
	}
	if err := s.Replica.ReadBarrier(ctx); err != nil {
		return j, err
	}
	j, err := s.Jobs.Get(ctx, j.Tenant, j.ID)
	if err != nil {
		return j, err
	}
	if j, err = s.await(ctx, j, wait, done); err != nil || done(&j) {
		return j, err
	}
	if err := s.Replica.ReadBarrier(ctx); err != nil {
		return j, err
	}
	return s.Jobs.Get(ctx, j.Tenant, j.ID)
}
