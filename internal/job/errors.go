package job

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors that rooms hand to each other. One table, in package api, maps them to status codes.
var (
	// ErrNotFound: no such job for this tenant.
	ErrNotFound = errors.New("no such job")
	// ErrExpired: there was such a job; it was deleted or its retention has passed.
	ErrExpired = errors.New("the job has expired")
	// ErrNotFinished: the request needs a terminal job.
	ErrNotFinished = errors.New("the job has not finished")
	// ErrQueueFull: a bound of the whole service is reached.
	ErrQueueFull = errors.New("the queue is full")
	// ErrQuota: the tenant's own quota or rate is used up.
	ErrQuota = errors.New("the quota is used up")
	// ErrDraining: the service is stopping and admits nothing.
	ErrDraining = errors.New("the service is shutting down")
	// ErrStorage: the journal cannot take a write now.
	ErrStorage = errors.New("the journal cannot take a write")
	// ErrKeyReused: the idempotency key was used with another body.
	ErrKeyReused = errors.New("the idempotency key was used with another body")
	// ErrKeyInProgress: a request with the same idempotency key is still being accepted.
	ErrKeyInProgress = errors.New("a request with this idempotency key is still being accepted")
	// ErrArrayNotFound: the tenant has no array of this name.
	ErrArrayNotFound = errors.New("no such array")
	// ErrArrayInUse: a job that is not finished uses the array.
	ErrArrayInUse = errors.New("the array is in use")
	// ErrArrayDamaged: the file of the array, or its record, is not what was stored.
	ErrArrayDamaged = errors.New("the array is damaged")
	// ErrPrecondition: a condition of the request does not hold.
	ErrPrecondition = errors.New("the precondition failed")
	// ErrTooLarge: an upload exceeds a bound.
	ErrTooLarge = errors.New("the upload is too large")
	// ErrTransition: the event is not legal in the job's state.
	ErrTransition = errors.New("illegal transition")
	// ErrVersion: stored bytes are of a version that this one does not read.
	ErrVersion = errors.New("a record of another version")
	// ErrCorrupt: stored bytes are not what the encoders write.
	ErrCorrupt = errors.New("corrupt record")
)

// A Rejection is an error that says when to come back.
type Rejection struct {
	// Err is ErrQueueFull, ErrQuota, ErrDraining, ErrStorage or ErrTooLarge.
	Err error
	// Reason is one word for the rejections metric, of a closed set.
	Reason string
	// Detail says which bound was hit, for people.
	Detail string
	// RetryAfter is 0 when it cannot be told.
	RetryAfter time.Duration
}

// Error implements error.
func (r *Rejection) Error() string { return r.Err.Error() + ": " + r.Detail }

// Unwrap returns the sentinel.
func (r *Rejection) Unwrap() error { return r.Err }

// A Fault is one thing wrong with a submission.
type Fault struct {
	// Pointer is the JSON pointer (RFC 6901) of what is wrong, relative to the submission: "/array/shape/1".
	Pointer string
	// Detail says what is wrong and what to do.
	Detail string
}

// MaxFaults is how many faults a ValidationError lists; it counts the others.
const MaxFaults = 100

// A ValidationError lists the faults of a submission.
type ValidationError struct {
	// Faults are the first MaxFaults.
	Faults []Fault
	// Unlisted is the number of the others.
	Unlisted int
}

// Faultf returns a ValidationError with one fault.
func Faultf(pointer, format string, args ...any) *ValidationError {
	return &ValidationError{Faults: []Fault{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}}
}

// Error implements error.
func (v *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString("invalid submission")
	for i, f := range v.Faults {
		if i == 8 {
			fmt.Fprintf(&b, "; and %d more", v.Total()-i)
			break
		}
		b.WriteString("; " + f.Pointer + ": " + f.Detail)
	}
	return b.String()
}

// Add appends a fault, or counts it when MaxFaults are listed.
func (v *ValidationError) Add(pointer, format string, args ...any) {
	if len(v.Faults) >= MaxFaults {
		v.Unlisted++
		return
	}
	v.Faults = append(v.Faults, Fault{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

// Merge appends the faults of another.
func (v *ValidationError) Merge(other *ValidationError) {
	n := min(len(other.Faults), MaxFaults-len(v.Faults))
	v.Faults = append(v.Faults, other.Faults[:n]...)
	v.Unlisted += other.Unlisted + len(other.Faults) - n
}

// Total returns the number of faults, listed or not.
func (v *ValidationError) Total() int { return len(v.Faults) + v.Unlisted }

// Prefix puts a prefix before every pointer.
func (v *ValidationError) Prefix(prefix string) {
	for i := range v.Faults {
		v.Faults[i].Pointer = prefix + v.Faults[i].Pointer
	}
}

// Err returns v, or nil when there is no fault.
func (v *ValidationError) Err() error {
	if v == nil || len(v.Faults) == 0 {
		return nil
	}
	return v
}
