package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"

	"gather/internal/fields"
	"gather/internal/job"
)

// Exported for fuzz tests.
var (
	PreferredWait  = preferredWait
	IdempotencyKey = idempotencyKey
	Negotiate      = negotiate
	PageToken      = pageToken
	ReadPageToken  = readPageToken
	TraceParent    = traceParent
	Matches        = matches
	AppendMillis   = appendMillis
	ParseTime      = parseTime
)

// Routes returns the served routes.
func (s *server) Routes() chi.Routes { return s.router }

// ClientIP returns the client address of a request, behind trusted proxies.
func ClientIP(h http.Handler, r *http.Request) string { return h.(*server).clientIP(r) }

// Submission decodes the body of POST /v1/jobs and returns the submission for the executor.
func Submission(h http.Handler, body []byte) (job.Submission, error) {
	s := h.(*server)
	x := &requestState{Context: context.Background(), srv: s, req: &http.Request{Header: http.Header{}}}
	var b submission
	if err := b.decode(body); err != nil {
		return job.Submission{}, err
	}
	var errs fields.Errors
	sub := s.submission(x, &b.jobs[0], 0, b.data, time.Now(), &errs)
	return sub, errs.Err()
}

// Submissions decodes the body of POST /v1/jobs:batch.
func Submissions(h http.Handler, body []byte) ([]job.Submission, error) {
	x := &requestState{Context: context.Background(), srv: h.(*server), req: &http.Request{Header: http.Header{}}}
	var b batchSubmission
	if err := b.decode(body); err != nil {
		return nil, err
	}
	return h.(*server).submissions(x, &b.jobsBody)
}

// ProblemNames returns the problem types of responses and jobs.
func ProblemNames() []string {
	var names []string
	for _, row := range append([]problemType{
		malformedRequest, unauthenticated, forbidden, hostNotAllowed, originNotAllowed, validationError, nothingToRetry,
	}, problemTable...) {
		names = append(names, row.name)
	}
	for reason := range failureTitles {
		names = append(names, reason.String())
	}
	return names
}

// ProblemPages returns the documented problem types.
func ProblemPages() []string { return slices.Collect(maps.Keys(newDocs().problems)) }

// OccupyEncoders makes a server compress as many responses as it may, until the returned function is called.
func OccupyEncoders(h http.Handler) (release func()) {
	s := h.(*server)
	n := int64(0)
	for s.openEncoder() {
		n++
	}
	return func() { s.encoders.Add(-n) }
}

// Coding is coding.
var Coding = coding

// MinRate is minRate.
const MinRate = minRate

// Pace exports pace.
type Pace struct{ p pace }

// NewPace returns a pace with windows of a length.
func NewPace(window time.Duration) *Pace { return &Pace{pace{window: window}} }

// Left calls left.
func (p *Pace) Left() time.Duration { return p.p.left() }

// Add calls add.
func (p *Pace) Add(n int, took time.Duration) { p.p.add(n, took) }

// Validate decodes a body of POST /v1/jobs or POST /v1/jobs:batch and validates its specs.
func Validate(h http.Handler, batch bool, body []byte) error {
	s := h.(*server)
	x := &requestState{Context: context.Background(), srv: s, req: &http.Request{Header: http.Header{}}}
	var one submission
	var many batchSubmission
	into, jobs := requestBody(&one), &one.jobsBody
	if batch {
		into, jobs = &many, &many.jobsBody
	}
	if err := checkMembers(body); err != nil {
		return err
	}
	if err := into.decode(body); err != nil {
		return err
	}
	subs, err := s.submissions(x, jobs)
	for i := 0; err == nil && i < len(subs); i++ {
		err = s.Kinds.Validate(x, "", subs[i].Kind, subs[i].Spec)
	}
	return err
}
