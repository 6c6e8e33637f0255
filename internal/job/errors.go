package job

import (
	"errors"
	"time"
)

// The errors that packages exchange. A table in package api maps them to status codes.
var (
	// ErrNotFound: the tenant has no such job.
	ErrNotFound = errors.New("no such job")
	// ErrGroupNotFound: the tenant has no job in this group.
	ErrGroupNotFound = errors.New("no such group")
	// ErrExpired: the job was deleted, or its retention has passed.
	ErrExpired = errors.New("the job has expired")
	// ErrNotFinished: the request needs a terminal job.
	ErrNotFinished = errors.New("the job has not finished")
	// ErrQueueFull: a bound of the whole service is reached.
	ErrQueueFull = errors.New("the queue is full")
	// ErrQuota: the tenant's quota or rate is used up.
	ErrQuota = errors.New("the quota is used up")
	// ErrDraining: the service is stopping and accepts no submissions.
	ErrDraining = errors.New("the service is shutting down")
	// ErrStorage: the journal accepts no write now.
	ErrStorage = errors.New("the journal cannot take a write")
	// ErrKeyReused: the idempotency key was used with another body.
	ErrKeyReused = errors.New("the idempotency key was used with another body")
	// ErrKeyInProgress: a request with the same idempotency key is still being accepted.
	ErrKeyInProgress = errors.New("a request with this idempotency key is still being accepted")
	// ErrArrayNotFound: the tenant has no array of this name.
	ErrArrayNotFound = errors.New("no such array")
	// ErrArrayInUse: an unfinished job uses the array.
	ErrArrayInUse = errors.New("the array is in use")
	// ErrArrayDamaged: the stored array or its record was modified.
	ErrArrayDamaged = errors.New("the array is damaged")
	// ErrPrecondition: a condition of the request does not hold.
	ErrPrecondition = errors.New("the precondition failed")
	// ErrTooLarge: an upload exceeds a bound.
	ErrTooLarge = errors.New("the upload is too large")
	// ErrDependencyEnded: a job that a submission waits for has just ended.
	ErrDependencyEnded = errors.New("a job that the submission waits for has just ended")
	// ErrSource: a source of the job could not be read, for a reason that is not the job's own. A retry may succeed.
	ErrSource = errors.New("reading the array failed; see the server's log")
	// ErrTransition: the event is invalid in the job's state.
	ErrTransition = errors.New("illegal transition")
	// ErrVersion: the stored bytes have a version that this one does not read.
	ErrVersion = errors.New("a record of another version")
	// ErrCorrupt: the encoders cannot have written the stored bytes.
	ErrCorrupt = errors.New("corrupt record")
)

// A Rejection is an error with a time to retry.
type Rejection struct {
	// Err is ErrQueueFull, ErrQuota, ErrDraining, ErrStorage or ErrTooLarge.
	Err error
	// Reason is the reason in the rejections metric, of a closed set.
	Reason string
	// Detail describes the bound that was reached, for people.
	Detail string
	// RetryAfter is 0 when it is unknown.
	RetryAfter time.Duration
}

// Error implements error.
func (r *Rejection) Error() string { return r.Err.Error() + ": " + r.Detail }

// Unwrap returns Err.
func (r *Rejection) Unwrap() error { return r.Err }
