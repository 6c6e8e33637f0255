package executor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"gather/internal/job"
)

// A plannedJob is a job with its plan, its metrics and its trace.
type plannedJob struct {
	e         *Executor
	job       job.Job // as submitted, or as received from the cluster; not changed
	plan      job.Plan
	size      job.Size
	spec      []byte    // until it is journaled
	series    *series   // nil for an unknown kind
	startedAt time.Time // by the wall clock
	started   time.Time // the same moment on the monotonic clock
	closed    bool      // the plan
	// unmet is the end of a job whose submission waits for a job that has not succeeded; nil for any other.
	unmet  *job.Finished
	traced traced
}

func (e *Executor) newPlannedJob(j job.Job, plan job.Plan, spec []byte) plannedJob {
	return plannedJob{e: e, job: j, plan: plan, size: plan.Size(), spec: spec, series: e.metrics.of(&j)}
}

// log returns the logger of this job.
func (p *plannedJob) log() *slog.Logger {
	attrs := []any{
		"job_id", p.job.ID.String(), "kind", p.job.Kind, "tenant", p.job.Tenant, "request_id", p.job.RequestID,
	}
	if sc := parseTraceParent(p.job.TraceParent); sc.IsValid() {
		attrs = append(attrs, "trace_id", sc.TraceID().String())
	}
	return p.e.log.With(attrs...)
}

// recordEnd counts and logs the end of the job. It is called when the end is durable. Failed jobs are logged at info: they are
// usually caused by the client.
func (p *plannedJob) recordEnd(how *job.Finished) {
	p.series.ended(p, how)
	level, what := slog.LevelDebug, "job ended"
	if how.State == job.Failed {
		level, what = slog.LevelInfo, "job failed"
	}
	if !p.e.log.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("state", how.State.String())}
	if how.Failure != nil {
		attrs = append(attrs, slog.String("reason", how.Failure.Reason.String()), slog.String("detail", how.Failure.Detail))
	}
	if !p.startedAt.IsZero() {
		attrs = append(attrs, slog.Duration("duration", max(0, how.At.Sub(p.startedAt))))
	}
	p.log().LogAttrs(context.Background(), level, what, attrs...) //nolint:sloglint // what is one of two
}

// guard calls a kind's code and turns a panic into a failure.
func (p *plannedJob) guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.log().Error("the code of a kind panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = &job.Failure{Reason: job.FailedPanic, Detail: "the job's code panicked; see the server's log"}
		}
	}()
	return f()
}

// closePlan closes the resources of the plan, such as an array, when no step follows. Caller holds the lock.
func (p *plannedJob) closePlan() {
	c, ok := p.plan.(io.Closer)
	if !ok || p.closed {
		return
	}
	p.closed = true
	if err := p.guard(c.Close); err != nil {
		p.log().Error("close plan", "error", err)
	}
}

// failure returns the failure of a job whose kind's code returned an error.
func failure(err error) *job.Failure {
	f, ok := err.(*job.Failure) //nolint:errorlint // a kind's own wrapped error is reported whole
	if !ok {
		f = &job.Failure{Reason: job.FailedTask, Detail: err.Error()}
	}
	return f
}

// timedOut returns the failure of a job that ran longer than its timeout.
func (p *plannedJob) timedOut() *job.Failure {
	return &job.Failure{Reason: job.FailedTimeout, Detail: "the job ran longer than its timeout of " + p.job.Timeout.String()}
}

// advanced returns the event of a step, and whether it has to be recorded.
func advanced(task int, step *job.Step) (job.TaskProgress, bool) {
	a := job.TaskProgress{
		Task: task, Done: !step.Waits(), Completed: step.Completed, Failed: step.Failed, Bytes: step.Bytes,
		Items: step.Items, Partial: step.Partial, Retry: step.Retry,
	}
	return a, a.Done || a.Retry != nil || step.Items.Len() > 0 || step.Completed > 0 || step.Bytes > 0 || len(step.Partial) > 0
}

// succeeded returns the end of a job with an outcome.
func succeeded(out *job.Outcome) job.Finished {
	return job.Finished{
		State: job.Succeeded, Result: out.Value, Details: out.Details, Items: out.Items, Completed: out.Completed,
	}
}
