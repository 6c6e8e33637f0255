package job

import (
	"context"
	"time"
)

// Reduction is the Task of a turn whose job has only its reduction left to do.
const Reduction = -1

// A Turn is one task of a job that a cluster gave to this node, which alone has it for as long as the node lives. If the
// node dies, or takes too long to say that it lives, another gets the task; what the first one appends from then on is
// refused.
type Turn struct {
	// Job is the view when the turn was given. It is queued when this is its first turn.
	Job  Job
	Spec []byte
	// Task is the task to do, or Reduction.
	Task int
	// Resumed tells that the log has steps of the task.
	Resumed bool
	// Started is when the job started, on this node's monotonic clock; set when Start has returned.
	Started time.Time
	// Context ends when the job is to end: cancelled, failed, out of time, or finished by another node.
	Context context.Context //nolint:containedctx // the turn's own, as a request has one
	TurnHolder
}

// TurnHolder is what can be done with a turn. It is made by the cluster.
type TurnHolder interface {
	// Start makes the job running, if it is queued, and tells that this node works on it; both are durable, and Turn.Job is
	// the new view, when it returns. Only a job that this turn will end in one Append may do without. Errors: ErrTransition
	// when the job is to end, the cause of ctx.
	Start(ctx context.Context) error
	// Log yields the log of the job so far.
	Log(ctx context.Context) LogSeq
	// Append appends events of the job: Advanced ones of the task, and the Finished of a turn that is the last. Done is
	// called once, when they are durable, or with ErrTransition when they were refused because the task is no longer this
	// node's or the job is to end; it must not block. Append itself returns the cause of ctx, and then calls no done.
	Append(ctx context.Context, done func(error), events ...Event) error
	// Decide says how the job is to end, unless that was decided before. The job ends so when no node works on it.
	Decide(how Finished)
	// End gives the turn up, after the last done. The next task of the job, or the same one if it is not done, is given to
	// whoever is free. It must be called once.
	End()
}

// Admission says under which bounds a batch of submissions is accepted, where these are shared by several nodes. A
// journal of one node ignores it: there the executor counts.
type Admission struct {
	// Sizes are those of the jobs, in the order of the entries.
	Sizes []Size
	// Jobs, Bytes and Waiting bound what all unfinished jobs hold; TenantJobs those of the tenant; 0 is no bound.
	Jobs, TenantJobs int
	Bytes, Waiting   int64
}

// PriorError refuses a submission whose idempotency key, with the same body, was used by another node meanwhile.
type PriorError struct {
	// IDs are the jobs that it was used for.
	IDs []ID
}

// Error implements error.
func (*PriorError) Error() string { return "another node has just accepted the submission" }
