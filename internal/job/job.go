// Package job defines the domain of gather: the Job, the events that change it, and Apply, the pure function that applies
// an event. It also defines the types that other packages exchange: submissions, plans, tasks, blocks of item results and
// sentinel errors.
//
// Guarantees: nothing in this package blocks, starts a goroutine, reads a clock or touches a disk. Decoders are strict:
// they return an error for any input that the encoders cannot have written, and never panic.
package job

import (
	"fmt"
	"time"
)

// A Job is the view of one submission: the state after its events.
//
// Times are UTC; the zero time means "not yet". Slices and maps are never changed once a Job exists, so copies of a Job may
// share them.
type Job struct {
	ID       ID
	Tenant   string
	Kind     string
	Priority Priority
	Labels   map[string]string
	// RetryOf is the job of which this one has the items that did not succeed; the zero ID for none.
	RetryOf ID
	// Group is the name of the group of the job; "" for none.
	Group string
	// After lists the jobs that must succeed before this one starts, at most MaxAfter.
	After []ID
	// Waits has a bit for each job of After that has not succeeded yet: the job starts when it is 0.
	Waits uint64
	// AfterTimeout bounds the time from CreatedAt until Waits is 0.
	AfterTimeout time.Duration
	// ReleasedAt is when the last job of After succeeded; the zero time if that was before the submission.
	ReleasedAt time.Time

	State State
	// Seq is the sequence number of the last event: 0 before submission, and then without gaps.
	Seq      uint64
	Progress Progress
	Tasks    int
	// TasksDone counts the finished tasks.
	TasksDone int

	CreatedAt  time.Time
	StartAfter time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExpiresAt  time.Time

	// Delay is the start_after of a job that set it as a duration: StartAfter is then CreatedAt plus Delay. 0 for an
	// instant, or none.
	Delay time.Duration
	// Timeout bounds the time from StartedAt to the end; 0 for no bound.
	Timeout time.Duration
	// Retention is how long the job stays readable after its end.
	Retention time.Duration
	// FailedRetention is the same for a job that failed; 0 for Retention.
	FailedRetention time.Duration
	// Webhooks are the URLs that are called when the job has ended.
	Webhooks []Webhook

	// Retries counts the attempts of tasks that failed because of a source and were followed by another one. Retry is the last of them, until
	// its task has finished or the job has ended; nil for none.
	Retries int64
	Retry   *TaskRetry

	// Result is the reduced value, a JSON literal; nil until the job succeeded.
	Result []byte
	// Details is a JSON object that describes Result (its dtype, shape, ...); nil for none.
	Details []byte
	// Failure is the reason for which the job failed.
	Failure *Failure

	// RequestID and TraceParent are from the submitting request.
	RequestID   string
	TraceParent string
}

// Progress counts a job's units of work. A unit is an item; for array_sum it is a chunk.
type Progress struct {
	Total     int64
	Completed int64
	Failed    int64
	// Bytes counts the bytes of array data summed so far, of BytesTotal.
	Bytes      int64
	BytesTotal int64
}

// Fraction returns the finished share of the work, in [0, 1].
func (p *Progress) Fraction() float64 {
	switch {
	case p.BytesTotal > 0:
		return min(1, float64(p.Bytes)/float64(p.BytesTotal))
	case p.Total > 0:
		return min(1, float64(p.Completed+p.Failed)/float64(p.Total))
	}
	return 0
}

// A Failure is the reason for which a job failed, or was cancelled without a request.
type Failure struct {
	Reason FailureReason
	Detail string
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.Reason, f.Detail) }

// A FailureReason is one of a closed set of reasons for which a job fails.
type FailureReason uint8

// The reasons for which a job fails.
const (
	// FailedTask: a task returned an error.
	FailedTask FailureReason = iota + 1
	// FailedPanic: the code of the kind panicked.
	FailedPanic
	// FailedTimeout: the job ran longer than its timeout.
	FailedTimeout
	// FailedSourceChanged: the data to sum was replaced or deleted after the submission.
	FailedSourceChanged
	// FailedSourceCorrupt: the data to sum does not match its checksums.
	FailedSourceCorrupt
	// FailedResultTooLarge: the results would have more bytes than the job, or its tenant, may have.
	FailedResultTooLarge
	// FailedDependency: a job of After did not succeed, or not in time. The job is cancelled, not failed.
	FailedDependency
)

// FailureReasons lists all reasons.
func FailureReasons() []FailureReason {
	return []FailureReason{FailedTask, FailedPanic, FailedTimeout, FailedSourceChanged, FailedSourceCorrupt, FailedResultTooLarge, FailedDependency}
}

var failureReasons = [...]string{
	FailedTask: "job-failed", FailedPanic: "job-panicked", FailedTimeout: "job-timeout",
	FailedSourceChanged: "source-changed", FailedSourceCorrupt: "source-corrupt",
	FailedResultTooLarge: "result-too-large", FailedDependency: "dependency-failed",
}

// String returns the reason as in problem types: "job-failed", "source-changed".
func (r FailureReason) String() string { return name(failureReasons[:], r, "failure reason") }

// name returns the name of v in a table, and "what(v)" for a value outside of it.
func name[T ~uint8](table []string, v T, what string) string {
	if int(v) < len(table) && table[v] != "" {
		return table[v]
	}
	return fmt.Sprintf("%s(%d)", what, uint8(v))
}

// parse returns the index of s in a table of names.
func parse[T ~uint8](table []string, s, what string) (T, error) {
	for i, n := range table {
		if n == s && n != "" {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q", what, s)
}
