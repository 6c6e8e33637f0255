package job

import (
	"context"
	"time"
)

// Reduction is the Task of a lease whose job has only its reduction left.
const Reduction = -1

// A Lease gives this node the exclusive right to run one task of a cluster's job. When the node misses its heartbeats the
// task is redelivered to another node, and later appends under the old lease fail with ErrTransition.
type Lease struct {
	// Job is the job when the lease was given. It is queued when this is its first lease.
	Job  Job
	Spec []byte
	// Task is the task to run, or Reduction.
	Task int
	// Resumed is true when the log has steps of the task.
	Resumed bool
	// Started is when the job started, on this node's monotonic clock; set when Start has returned.
	Started time.Time
	// Context ends when the job is ending: cancelled, failed, out of time, or finished by another node.
	Context context.Context //nolint:containedctx // of the lease, as a request has one
	LeaseHandle
}

// A LeaseHandle records the progress of a leased task. It is made by the cluster.
type LeaseHandle interface {
	// Start makes the job running, if it is queued, and records that this node runs tasks of it; when it returns, both are
	// durable, and Lease.Job is the new view. It may be left out by a job that this lease ends in one Append. Errors:
	// ErrTransition when the job is ending, the cause of ctx.
	Start(ctx context.Context) error
	// Log yields the log of the job so far.
	Log(ctx context.Context) LogSeq
	// Append appends events of the job: TaskProgress events of the task, and the Finished event of the last lease. Done is called
	// once, when they are durable, or with ErrTransition when they were rejected because another node has the task or the job
	// is ending; it must not block. Append waits for the outcome of the Append before. Append itself returns ErrTransition after a
	// rejected one, and the cause of ctx, and then does not call done.
	Append(ctx context.Context, done func(error), events ...Event) error
	// Decide decides how the job ends, unless that was decided before. The job ends when no node runs a task of it.
	Decide(how Finished)
	// End releases the lease, after the last done. The next task of the job, or the same one if it is not done, is leased to
	// a node with a free worker. It must be called once.
	End()
}

// Admission has the bounds under which a batch of submissions is accepted, where several nodes share them. A journal of one
// node ignores it: there the executor counts.
type Admission struct {
	// Sizes has the size of each job, in the order of the entries.
	Sizes []Size
	// Jobs, Bytes and Waiting bound all unfinished jobs together, TenantJobs the jobs of the tenant; 0 is no bound.
	Jobs, TenantJobs int
	Bytes, Waiting   int64
}

// A DuplicateKeyError rejects a submission whose idempotency key was used with the same body on another node.
type DuplicateKeyError struct {
	// IDs are the jobs of the first submission.
	IDs []ID
}

// Error implements error.
func (*DuplicateKeyError) Error() string { return "another node has just accepted the submission" }
