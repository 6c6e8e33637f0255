package kind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/outbound"
)

// Bounds and defaults of the member retry.
const (
	maxAttempts       = 100
	maxBackoff        = time.Hour
	defaultAttempts   = 4
	defaultBackoff    = time.Second
	defaultMaxBackoff = time.Minute
)

// retryMembers are the members of retry in every kind that has it.
var retryMembers = [...]string{"attempts", "backoff", "max_backoff"}

// readRetry replaces the values of a policy that the members of retry set.
func (o object) readRetry(p *outbound.RetryPolicy) {
	o.NullIsAbsent(retryMembers[:]...)
	p.Attempts = int(o.integer("attempts", 1, maxAttempts, int64(p.Attempts)))
	p.Backoff = o.durationOr("backoff", 0, maxBackoff, p.Backoff)
	p.Max = max(p.Backoff, o.durationOr("max_backoff", 0, maxBackoff, p.Max))
}

// taskRetry returns the retry of a kind whose tasks read sources; one attempt without it.
func (o object) taskRetry() outbound.RetryPolicy {
	o.NullIsAbsent("retry")
	if !o.Has("retry") {
		return outbound.RetryPolicy{Attempts: 1}
	}
	var errs fields.Errors
	p := outbound.RetryPolicy{Attempts: defaultAttempts, Backoff: defaultBackoff, Max: defaultMaxBackoff}
	readObject(o.Get("retry"), &errs, retryMembers[:]...).readRetry(&p)
	o.Merge("/retry", &errs)
	return p
}

// A retryTask repeats the failed steps of a task whose sources cannot be read, with a random wait between two attempts. The
// attempts so far are in the recorded steps, so that neither a restart nor another node begins anew.
type retryTask struct {
	job.Task
	policy   *outbound.RetryPolicy
	started  time.Time // of the job
	attempts int       // that failed, of the next step
	due      time.Time // of the next attempt
}

// withRetry returns a task that is repeated as the policy says.
func withRetry(t job.Task, p *outbound.RetryPolicy, r *job.Resume) job.Task {
	if p.Attempts == 1 {
		return t
	}
	again := &retryTask{Task: t, policy: p, started: r.Started}
	if n := len(r.Steps); n > 0 && r.Steps[n-1].Retry != nil {
		last := r.Steps[n-1].Retry
		again.attempts, again.due = last.Attempts, r.Started.Add(last.After)
	}
	return again
}

// Step implements job.Task.
func (t *retryTask) Step(ctx context.Context, now time.Time, scratch *job.Scratch) (job.Step, error) {
	if now.Before(t.due) {
		return job.Step{ResumeAt: t.due}, nil
	}
	step, err := t.Task.Step(ctx, now, scratch)
	if !errors.Is(err, job.ErrSource) {
		t.attempts = 0
		return step, err
	}
	if t.attempts++; t.attempts >= t.policy.Attempts {
		return job.Step{}, fmt.Errorf("%w (%d attempts)", err, t.attempts)
	}
	t.due = time.Now().Add(t.policy.Jitter(t.attempts))
	text := strings.ToValidUTF8(err.Error()[:min(len(err.Error()), job.MaxRetryError)], "")
	return job.Step{ResumeAt: t.due, Retry: &job.Retry{Attempts: t.attempts, After: t.due.Sub(t.started), Error: text}}, nil
}
