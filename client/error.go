package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a response with a status of 4xx or 5xx, with its problem object (RFC 9457). Type is stable, such as
// "/problems/job-not-found"; it is "about:blank" if the status is enough, and if a proxy sent the response.
type Error struct {
	Problem

	// RetryAfter is the time after which the server expects the request again; 0 if it sent none.
	RetryAfter time.Duration
}

// Error returns the status, title and detail, and the errors of the request's fields, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", e.Status, e.Title)
	if e.Detail != "" && e.Detail != e.Title {
		b.WriteString(": " + e.Detail)
	}
	for _, f := range e.Errors {
		b.WriteString("\n  ")
		if at := f.Pointer + f.Parameter + f.Header; at != "" { // at most one of them
			b.WriteString(at + ": ")
		}
		b.WriteString(f.Detail)
	}
	if e.Status >= http.StatusInternalServerError && e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// readError returns the error in a response.
func readError(resp *http.Response) error {
	e := &Error{Problem: Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode)}}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // what there is of a truncated body
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(data, &e.Problem) != nil {
		e.Detail = strings.ToValidUTF8(string(data[:min(len(data), 200)]), "")
	}
	e.Status, e.RetryAfter = resp.StatusCode, retryAfter(resp)
	return e
}

// retryAfter returns the Retry-After of a response, 0 if it has none.
func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(s) * time.Second
}

// FailedError is the outcome of a job that failed or was cancelled, see Job.Err.
type FailedError struct {
	Job *Job
}

// Error returns the id, the state and the reason.
func (e *FailedError) Error() string {
	text := "job " + e.Job.ID + " " + string(e.Job.State)
	if reason := e.Job.Error; reason != nil {
		text += ": " + reason.Title
		if reason.Detail != "" {
			text += ": " + reason.Detail
		}
	}
	return text
}

// Err returns a *FailedError if the job failed or was cancelled, otherwise nil.
func (j *Job) Err() error {
	if j.State == StateFailed || j.State == StateCancelled {
		return &FailedError{j}
	}
	return nil
}

// Terminal reports whether a job in this state has ended.
func (s State) Terminal() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}
