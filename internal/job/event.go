package job

import (
	"fmt"
	"time"
)

// An Event is one change of a job. The types below are the closed set. Events are appended to the journal and never
// changed.
type Event interface {
	// seqs returns the number of sequence numbers of the event: one for each of its items, and one if it has none.
	seqs() uint64
}

// Seqs returns the number of sequence numbers of an event. The Seq of a job is the sum over its events.
func Seqs(e Event) uint64 { return e.seqs() }

// EventBytes returns the approximate size of an event in bytes, in memory and on disk.
func EventBytes(e Event) int {
	n := 96
	switch e := e.(type) {
	case Submitted:
		n += 512 + len(e.Spec)
		for i := range e.Job.Webhooks {
			n += 64 + len(e.Job.Webhooks[i].URL)
		}
	case TaskProgress:
		n += e.Items.Size() + len(e.Partial)
		if e.Retry != nil {
			n += len(e.Retry.Error)
		}
	case Finished:
		n += e.Items.Size() + 2*(len(e.Result)+len(e.Details))
	}
	return n
}

// PageBytes bounds a page of events or items in bytes, by EventBytes and Item.Bytes: a page ends with the event or item
// that reaches it.
const PageBytes = 1 << 20

// Submitted is the first event of every job.
type Submitted struct {
	// Job is the initial view: state Queued, Seq 0, no progress.
	Job Job
	// Spec is the validated JSON of the kind's parameters, from which the plan is rebuilt after a restart.
	Spec []byte
}

// Started records that the first task was assigned.
type Started struct{ At time.Time }

// TaskProgress records the progress of a task after a step.
type TaskProgress struct {
	Task int
	// Done is true when the task is finished; otherwise this is a checkpoint.
	Done bool
	// Completed and Failed count units of progress in this step, and Bytes the summed bytes.
	Completed, Failed, Bytes int64
	// Items are the item results of this step.
	Items Items
	// Partial is the task's mergeable accumulator if Done, otherwise the kind's checkpoint or nil.
	Partial []byte
	// Retry is set if the step failed because of a source and is repeated. Then all other fields but Task are zero.
	Retry *Retry
}

// A Retry is a failed attempt of a step that is followed by another one.
type Retry struct {
	// Attempts counts the attempts so far.
	Attempts int
	// After is when the next one is made, as the time since the start of the job.
	After time.Duration
	// Error is why the last attempt failed, at most MaxRetryError bytes.
	Error string
}

// MaxRetryError bounds the length of Retry.Error.
const MaxRetryError = 1024

// A TaskRetry is a Retry of a task.
type TaskRetry struct {
	Task int
	Retry
}

// At returns when the next attempt is made.
func (r *Retry) At(j *Job) time.Time { return j.StartedAt.Add(r.After) }

// DependencySucceeded records that the job with an index in After has succeeded.
type DependencySucceeded struct {
	Index int
	At    time.Time
}

// CancelRequested requests that a job stops.
type CancelRequested struct{ At time.Time }

// Finished ends a job.
type Finished struct {
	At time.Time
	// State is Succeeded, Failed or Cancelled.
	State   State
	Result  []byte
	Details []byte
	Failure *Failure
	// Items are results that only the reduction yields.
	Items Items
	// Completed counts units of progress that only the reduction completed.
	Completed int64
}

func (Submitted) seqs() uint64       { return 1 }
func (Started) seqs() uint64         { return 1 }
func (CancelRequested) seqs() uint64 { return 1 }

func (DependencySucceeded) seqs() uint64 { return 1 }

func (e TaskProgress) seqs() uint64 { return max(1, uint64(e.Items.Len())) }

// seqs counts the items, and the event itself.
func (e Finished) seqs() uint64 { return uint64(e.Items.Len()) + 1 }

// ResultBytes returns the approximate stored size of the results in an event: values of items, partials, the reduced value
// and its details.
func ResultBytes(e Event) int64 {
	switch e := e.(type) {
	case TaskProgress:
		return int64(e.Items.Size() + len(e.Partial))
	case Finished:
		return int64(e.Items.Size() + len(e.Result) + len(e.Details))
	}
	return 0
}

// Apply returns the job after the event, or ErrTransition if the event is invalid in the job's state. It is pure,
// and the only function that changes a state.
//
//	event            valid in                       next state
//	Submitted            (no job)                       queued
//	DependencySucceeded  queued, cancelling             unchanged
//	Started              queued                         running
//	TaskProgress         running, cancelling            unchanged
//	CancelRequested      queued, running                cancelling
//	Finished             queued, running, cancelling    succeeded | failed | cancelled
//
// A cancelling job ends cancelled or, when it failed first, failed; never succeeded. A job that waits for others does not start,
// and is cancelled without a request when one of them does not succeed.
func Apply(j Job, e Event) (Job, error) {
	bad := func() (Job, error) { return j, fmt.Errorf("%w: %T in state %s", ErrTransition, e, j.State) }
	switch e := e.(type) {
	case Submitted:
		if j.State != 0 || e.Job.State != Queued || e.Job.Seq != 0 || !e.Job.validWaits() {
			return bad()
		}
		j = e.Job
	case DependencySucceeded:
		if j.State != Queued && j.State != Cancelling || e.Index >= len(j.After) || j.Waits&(1<<e.Index) == 0 {
			return bad()
		}
		if j.Waits &^= 1 << e.Index; j.Waits == 0 {
			j.ReleasedAt = e.At
		}
	case Started:
		if j.State != Queued || j.Waits != 0 {
			return bad()
		}
		j.State, j.StartedAt = Running, e.At
	case TaskProgress:
		if j.State != Running && j.State != Cancelling || e.Done && j.TasksDone == j.Tasks {
			return bad()
		}
		switch {
		case e.Retry != nil:
			j.Retries, j.Retry = j.Retries+1, &TaskRetry{e.Task, *e.Retry}
		case e.Done:
			j.TasksDone++
			if j.Retry != nil && j.Retry.Task == e.Task {
				j.Retry = nil
			}
		}
		j.Progress.Completed += e.Completed
		j.Progress.Failed += e.Failed
		j.Progress.Bytes += e.Bytes
	case CancelRequested:
		if j.State != Queued && j.State != Running {
			return bad()
		}
		j.State = Cancelling
	case Finished:
		if j.State == 0 || j.State.Terminal() || !e.State.Terminal() ||
			e.State == Succeeded && j.State != Running || e.State == Cancelled && j.State != Cancelling && !j.endsWaiting(&e) {
			return bad()
		}
		j.State, j.FinishedAt, j.ExpiresAt = e.State, e.At, e.At.Add(j.keep(e.State))
		j.Result, j.Details, j.Failure, j.Retry = e.Result, e.Details, e.Failure, nil
		j.Progress.Completed += e.Completed
	default:
		return bad()
	}
	j.Seq += e.seqs()
	return j, nil
}
