package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
)

// A problemType is what clients see of an error: status, type and title.
type problemType struct {
	// match is the sentinel of the errors of this type; nil for a type that the code uses directly.
	match  error
	status int
	// name is the last segment of the problem's type URI; "" is about:blank.
	name  string
	title string
	// retryable is true if the same request may succeed later.
	retryable bool
	// help is the detail of an error without one.
	help string
}

// Types that the code uses directly.
var (
	malformedRequest    = problemType{status: http.StatusBadRequest, name: "malformed-request", title: "The request is malformed"}
	unauthenticated     = problemType{status: http.StatusUnauthorized, name: "unauthenticated", title: "An API key is required"}
	forbidden           = problemType{status: http.StatusForbidden, name: "forbidden", title: "The API key does not allow this"}
	hostNotAllowed      = problemType{status: http.StatusMisdirectedRequest, name: "host-not-allowed", title: "The host is not allowed"}
	originNotAllowed    = problemType{status: http.StatusForbidden, name: "origin-not-allowed", title: "The origin is not allowed"}
	payloadTooLarge     = problemType{match: job.ErrTooLarge, status: http.StatusRequestEntityTooLarge, name: "payload-too-large", title: "The body is too large", help: "The array exceeds the size limit of the server."}
	validationError     = problemType{status: http.StatusUnprocessableEntity, name: "validation-error", title: "The submission is not valid"}
	noSuchResource      = problemType{status: http.StatusNotFound, title: "Not Found"}
	methodNotAllowed    = problemType{status: http.StatusMethodNotAllowed, title: "Method Not Allowed"}
	rangeNotSatisfiable = problemType{status: http.StatusRequestedRangeNotSatisfiable, title: "Range Not Satisfiable"}
	notAcceptable       = problemType{status: http.StatusNotAcceptable, title: "Not Acceptable"}
	requestTimeout      = problemType{status: http.StatusRequestTimeout, title: "Request Timeout", retryable: true}
	unsupportedMedia    = problemType{status: http.StatusUnsupportedMediaType, title: "Unsupported Media Type"}
	internalError       = problemType{status: http.StatusInternalServerError, title: "Internal Server Error"}
)

// problemTable maps the sentinels of other packages.
var problemTable = []problemType{
	{job.ErrNotFound, http.StatusNotFound, "job-not-found", "Job not found", false, "The tenant has no job with this id. GET /v1/jobs lists its jobs."},
	{job.ErrGroupNotFound, http.StatusNotFound, "group-not-found", "Group not found", false, "No job of the tenant is in this group; a group ends when its last job is deleted or expires. GET /v1/groups lists the groups."},
	{job.ErrExpired, http.StatusGone, "job-expired", "The job has expired", false, "The job was deleted, or its retention has passed. A submission can set a longer retention."},
	{job.ErrNotFinished, http.StatusConflict, "job-not-finished", "The job has not finished", false, "Wait for the job with Prefer: wait=30, follow its events, or cancel it."},
	{job.ErrKeyInProgress, http.StatusConflict, "idempotency-in-progress", "A request with this idempotency key is in progress", true, "Repeat the request after Retry-After. It returns the same job."},
	{job.ErrKeyReused, http.StatusUnprocessableEntity, "idempotency-key-reused", "The idempotency key was used with another body", false, "A repeated request must have the same body, byte for byte. Use a fresh Idempotency-Key for another submission."},
	{job.ErrArrayNotFound, http.StatusNotFound, "array-not-found", "Array not found", false, "The tenant has no array with this name. GET /v1/arrays lists its arrays."},
	{job.ErrArrayInUse, http.StatusConflict, "array-in-use", "The array is in use", true, "Wait for the jobs that use the array, or cancel them."},
	{job.ErrArrayDamaged, http.StatusInternalServerError, "array-damaged", "The stored array is damaged", false, "The stored file does not match its checksum. Upload the array again, or delete it."},
	{job.ErrPrecondition, http.StatusPreconditionFailed, "precondition-failed", "The precondition failed", false, "The resource does not match If-Match or If-None-Match; nothing was changed. Read it again."},
	payloadTooLarge,
	{job.ErrQuota, http.StatusTooManyRequests, "quota-exceeded", "The quota is exceeded", true, ""},
	{job.ErrQueueFull, http.StatusServiceUnavailable, "queue-full", "The service is full", true, ""},
	{job.ErrDraining, http.StatusServiceUnavailable, "shutting-down", "The service is shutting down", true, "Repeat the request after Retry-After."},
	{job.ErrStorage, http.StatusServiceUnavailable, "storage-unavailable", "The storage is unavailable", true, "Nothing was stored. Repeat the request after Retry-After."},
}

// A problem is an error response.
type problem struct {
	entry  problemType
	detail string
	errors []fieldError
	// retryAfter is 0 for no Retry-After.
	retryAfter time.Duration
	// err is logged for a 500.
	err error
}

// A fieldError is an entry in the errors of a problem; where is "pointer", "parameter" or "header".
type fieldError struct{ where, name, detail string }

func (p *problem) Error() string {
	if p.err != nil {
		return p.entry.title + ": " + p.err.Error()
	}
	return p.entry.title + ": " + p.detail
}

func (p *problem) Unwrap() error { return p.err }

// malformed returns the problem for an invalid parameter or header.
func malformed(where, name, detail string) error {
	return &problem{entry: malformedRequest, detail: detail, errors: []fieldError{{where, name, detail}}}
}

// problemOf returns the problem for any error.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if invalid, ok := errors.AsType[*fields.Errors](err); ok {
		return validationProblem(invalid)
	}
	for _, entry := range problemTable {
		if !errors.Is(err, entry.match) {
			continue
		}
		p := &problem{entry: entry, detail: entry.help}
		if rejection, ok := errors.AsType[*job.Rejection](err); ok {
			if p.retryAfter = rejection.RetryAfter; rejection.Detail != "" {
				p.detail = sentence(rejection.Detail)
			}
		}
		if entry.retryable {
			p.retryAfter = max(p.retryAfter, time.Second)
		}
		return p
	}
	return &problem{entry: internalError, detail: "The server failed to handle the request. Its log has the cause under the request id.", err: err}
}

func validationProblem(invalid *fields.Errors) *problem {
	p := &problem{entry: validationError}
	n := invalid.Total()
	for _, f := range invalid.List {
		p.errors = append(p.errors, fieldError{"pointer", f.Pointer, f.Detail})
	}
	switch {
	case n > fields.MaxListed:
		p.detail = "The submission has " + strconv.Itoa(n) + " errors, of which the first " + strconv.Itoa(fields.MaxListed) + " are listed; no job was created."
	case n == 1:
		p.detail = "The submission has 1 error; no job was created."
	default:
		p.detail = "The submission has " + strconv.Itoa(n) + " errors; no job was created."
	}
	return p
}

// sentence formats an error text as a sentence.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// typeURI returns the problem's type: a path on this server that documents it, or about:blank.
func (k problemType) typeURI() string {
	if k.name == "" {
		return "about:blank"
	}
	return "/problems/" + k.name
}

// fail responds with an error; no other function does. An error after the response has begun aborts the connection.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := requestStateOf(r.Context())
	if gone := context.Cause(r.Context()); gone != nil && errors.Is(err, gone) {
		x.status = statusClientGone
		panic(http.ErrAbortHandler)
	}
	s.metrics.countRejection(err)
	p := problemOf(err)
	if x.problem = p.entry.name; x.problem == "" {
		x.problem = p.entry.title
	}
	if p.entry.status >= http.StatusInternalServerError && p.err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelError, "internal error",
			slog.String("request_id", x.requestID), x.traceAttr(), slog.String("error", p.err.Error()))
	}
	if x.wrote {
		panic(http.ErrAbortHandler)
	}
	x.set("Content-Type", "application/problem+json")
	x.set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		x.set("Retry-After", strconv.FormatInt(ceilSeconds(p.retryAfter), 10))
	}
	if p.entry.name == unauthenticated.name {
		x.set("Www-Authenticate", `Bearer realm="gather"`)
	}
	w.WriteHeader(p.entry.status)
	_, _ = w.Write(append(appendProblem(nil, p, r.URL.EscapedPath(), x.requestID), '\n'))
}

// appendProblem appends a problem's JSON, without instance (the path of the request) if it is empty.
func appendProblem(b []byte, p *problem, instance, requestID string) []byte {
	b = appendString(append(b, `{"type":`...), p.entry.typeURI())
	b = appendString(append(b, `,"title":`...), p.entry.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.entry.status), 10)
	if p.detail != "" {
		b = appendString(append(b, `,"detail":`...), p.detail)
	}
	if instance != "" {
		b = appendString(append(b, `,"instance":`...), instance)
	}
	b = appendString(append(b, `,"request_id":`...), requestID)
	for i, f := range p.errors {
		if b = append(b, ','); i == 0 {
			b = append(b, `"errors":[`...)
		}
		b = appendString(append(appendString(append(b, '{'), f.where), ':'), f.name)
		b = append(appendString(append(b, `,"detail":`...), f.detail), '}')
	}
	if len(p.errors) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// ceilSeconds rounds up to whole seconds, at least 1.
func ceilSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}
