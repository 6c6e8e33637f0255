package job

import (
	"context"
	"time"
)

// A Plan is a validated spec, divided into tasks. A kind makes it from a submission. It is immutable and safe for
// concurrent use.
type Plan interface {
	// Size returns the amount of work.
	Size() Size
	// Task returns the execution of task i, in [0, Size().Tasks). A task is used by one goroutine at a time.
	Task(i int, r Resume) Task
	// Reducer returns a new, empty reduction.
	Reducer() Reducer
}

// Size is the amount of work of a plan, for admission and progress.
type Size struct {
	// Tasks is the number of tasks; 0 only for a plan with nothing to do.
	Tasks int
	// Units is the total of Progress.
	Units int64
	// Bytes is the size of the array data to sum; 0 for other kinds.
	Bytes int64
	// Waiting is the maximum number of items that wait at the same time.
	Waiting int64
	// Results is the minimum size of the results in bytes, as far as it is known before the job runs.
	Results int64
	// Memory is the approximate number of bytes that the plan uses while its job is not terminal.
	Memory int64
	// Effects is true if tasks have effects outside of the service, such as HTTP requests: they start after the submission
	// is durable.
	Effects bool
}

// MaxShownSpec is the length in bytes up to which the spec of a job is part of the job's JSON.
const MaxShownSpec = 64 << 10

// A Preview describes the job that a submission would make.
type Preview struct {
	Job  Job
	Size Size
	// Bounds are the bounds of the server and of the tenant, by name; it is shared by all previews of a batch.
	Bounds map[string]int64
}

// Short reports whether the whole job is one task of well under a millisecond, so that its start need not be recorded
// before its end.
func (s Size) Short() bool {
	return !s.Effects && s.Tasks <= 1 && s.Waiting == 0 && s.Units <= 1024 && s.Bytes <= 1<<20
}

// Resume is the progress of a task before it runs: after a restart, some of its steps may already be in the journal.
type Resume struct {
	// Job is the job as it was submitted.
	Job *Job
	// TraceParent is the W3C traceparent for effects of the task; "" for none.
	TraceParent string
	// Started is when the job started, on the monotonic clock, like now in Task.Step.
	Started time.Time
	// Steps are the steps of this task that are in the journal, without the last one, which is Done. Their items have no
	// values.
	Steps []TaskProgress
}

// A Task is the execution of one task.
type Task interface {
	// Step does one uninterrupted part of the work, of milliseconds. If Step.ResumeAt or Step.Await of the result is set, the
	// task then waits without a worker, and Step is called again at that time or later, or after the event. Step returns
	// context.Cause(ctx) soon after ctx is done; any other error fails the job. Ctx is the same for all steps of the task, and
	// Now is the time of the call.
	Step(ctx context.Context, now time.Time, scratch *Scratch) (Step, error)
}

// A Step is the outcome of one uninterrupted part of a task.
type Step struct {
	// Items, Completed, Failed, Bytes and Partial are as in TaskProgress.
	Items                    Items
	Completed, Failed, Bytes int64
	Partial                  []byte
	// ResumeAt is when the task continues; the zero time if it is finished or Await is set.
	ResumeAt time.Time
	// Retry is set if the step has failed and is repeated at ResumeAt. The fields before are zero.
	Retry *Retry
	// Await makes the task wait for an event, such as a response, instead of a time; nil if it does not. It is called once,
	// after the step was recorded, and the task continues when ready is called, which may happen before Await returns, from
	// any goroutine and more than once. After ctx is done ready must be called as soon as the task has no more effects:
	// until then the job does not end. A step that returns an error must have no effects under way.
	Await func(ready func())
}

// Waits reports whether the task continues after the step.
func (s *Step) Waits() bool { return s.Await != nil || !s.ResumeAt.IsZero() }

// A Reducer combines the partials of the tasks. It is used by one goroutine at a time.
type Reducer interface {
	// Add adds the partial of a finished task, in any order, each exactly once. It returns an error for a partial that the
	// kind did not write.
	Add(task int, partial []byte) error
	// Outcome returns the outcome. It is called once, after the last Add.
	Outcome() (Outcome, error)
}

// An Outcome is the reduced value of a job.
type Outcome struct {
	// Value is a JSON literal.
	Value []byte
	// Details is a JSON object, or nil.
	Details []byte
	// Items are results that only the reduction could give.
	Items Items
	// Completed counts the units that only the reduction completed.
	Completed int64
}

// Scratch is storage of a worker for scratch buffers of kinds, which outlives tasks and jobs. It is used by one goroutine at
// a time. The zero value is ready to use.
type Scratch struct{ m map[any]any }

// Get returns the value of a key, whose type should be private to the caller. It calls mk for a missing value.
func (l *Scratch) Get(key any, mk func() any) any {
	v, ok := l.m[key]
	if !ok {
		if l.m == nil {
			l.m = make(map[any]any)
		}
		v = mk()
		l.m[key] = v
	}
	return v
}

// KindInfo describes a kind to clients.
type KindInfo struct {
	Name    string
	Summary string
	// Limits are the bounds of one job of this kind, by name.
	Limits map[string]int64
	// Values is true for a kind whose answer is the values of its items; its Result only counts them.
	Values bool
}
