package fields

import (
	"fmt"
	"strings"
)

// An Error is one error of a submission.
type Error struct {
	// Pointer is the JSON pointer (RFC 6901) of the value, relative to the submission: "/array/shape/1".
	Pointer string
	// Detail describes the error and how to correct it.
	Detail string
}

// MaxListed is the number of errors that Errors lists; it only counts the others.
const MaxListed = 100

// Errors collects the errors of a submission in the order of discovery. The zero value is empty.
type Errors struct {
	// List has the first MaxListed errors.
	List []Error
	// Unlisted is the number of further errors.
	Unlisted int
}

// Invalidf returns Errors with one error.
func Invalidf(pointer, format string, args ...any) *Errors {
	return &Errors{List: []Error{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}}
}

// Error implements error with the first errors.
func (e *Errors) Error() string {
	var b strings.Builder
	b.WriteString("invalid submission")
	for i, f := range e.List {
		if i == 8 {
			fmt.Fprintf(&b, "; and %d more", e.Total()-i)
			break
		}
		b.WriteString("; " + f.Pointer + ": " + f.Detail)
	}
	return b.String()
}

// Add appends an error, or only counts it beyond MaxListed.
func (e *Errors) Add(pointer, format string, args ...any) {
	if e.Full() {
		e.Unlisted++
		return
	}
	e.List = append(e.List, Error{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

// Full reports whether further errors are only counted.
func (e *Errors) Full() bool { return len(e.List) >= MaxListed }

// Merge appends other errors with a prefix for their pointers.
func (e *Errors) Merge(prefix string, other *Errors) {
	for _, f := range other.List {
		if e.Full() {
			e.Unlisted++
			continue
		}
		e.List = append(e.List, Error{Pointer: prefix + f.Pointer, Detail: f.Detail})
	}
	e.Unlisted += other.Unlisted
}

// Total returns the number of errors, listed or not.
func (e *Errors) Total() int { return len(e.List) + e.Unlisted }

// Err returns e, or nil when it is empty.
func (e *Errors) Err() error {
	if len(e.List) == 0 {
		return nil
	}
	return e
}
