package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gather/internal/job"
)

// GetJob implements GET /v1/jobs/{job_id}.
func (s *server) GetJob(ctx context.Context, req GetJobRequestObject) (GetJobResponseObject, error) {
	x := exchangeOf(ctx)
	ints, err := x.ints()
	if err != nil {
		return nil, err
	}
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, x); err != nil {
		return nil, err
	}
	j, err := s.find(ctx, x, req.JobId)
	if err != nil {
		return nil, err
	}
	if len(x.req.Header["If-Match"]) > 0 {
		p, err := precondition(http.Header{"If-Match": x.req.Header["If-Match"]})
		if err == nil {
			err = weakly(p).Check(opaque(etag(&j, ints)))
		}
		if err != nil {
			return nil, err
		}
	}
	answer := &jobAnswer{srv: s, x: x, ints: ints, status: http.StatusOK}
	known := x.req.Header["If-None-Match"]
	isKnown := func(j *job.Job) bool { return known != nil && matches(known, etag(j, ints)) }
	if wait := preferredWait(x.req.Header); wait > 0 && s.openStream() {
		defer s.closeStream()
		x.mode, answer.applied = modeWait, wait
		j, err = s.awaitLatest(ctx, j, wait, func(j *job.Job) bool {
			if known != nil {
				return !isKnown(j) || j.State.Terminal()
			}
			return j.State.Terminal()
		})
		if err != nil {
			return nil, err
		}
	}
	if isKnown(&j) {
		answer.status = http.StatusNotModified
	} else if answer.values, err = s.values(ctx, &j, ints); err != nil {
		return nil, err
	}
	answer.job = &j
	return answer, nil
}

// find returns a tenant's job. What is not an id is the id of no job.
func (s *server) find(ctx context.Context, x *exchange, id string) (job.Job, error) {
	parsed, err := job.ParseID(id)
	if err != nil {
		return job.Job{}, job.ErrNotFound
	}
	return s.Jobs.Get(ctx, x.principal.Tenant, parsed)
}

// CancelJob implements POST /v1/jobs/{job_id}/cancel.
func (s *server) CancelJob(ctx context.Context, req CancelJobRequestObject) (CancelJobResponseObject, error) {
	x := exchangeOf(ctx)
	ints, err := x.ints()
	if err != nil {
		return nil, err
	}
	if err := x.mayWrite(); err != nil {
		return nil, err
	}
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return nil, err
	}
	id, err := job.ParseID(req.JobId)
	if err != nil {
		return nil, job.ErrNotFound
	}
	if err := s.checkJob(ctx, x, req.JobId, ints); err != nil {
		return nil, err
	}
	j, err := s.Executor.Cancel(ctx, x.principal.Tenant, id)
	if err == nil {
		j, err = s.stopped(ctx, j)
	}
	if err != nil {
		return nil, err
	}
	answer := &jobAnswer{srv: s, x: x, job: &j, ints: ints, status: http.StatusAccepted}
	if j.State.Terminal() {
		answer.status = http.StatusOK
	}
	answer.values, err = s.values(ctx, &j, ints)
	return answer, err
}

// maxEnding is how long a cancel waits for the end of a job that was ending already.
const maxEnding = 5 * time.Second

// stopped returns a job after a cancel, when it is cancelling or has ended. A job that was ending already was not asked to
// stop: it still is running until its end is durable.
func (s *server) stopped(ctx context.Context, j job.Job) (job.Job, error) {
	stopped := func(j *job.Job) bool { return j.State == job.Cancelling || j.State.Terminal() }
	j, err := s.await(ctx, j, maxEnding, stopped)
	switch {
	case err != nil || stopped(&j):
		return j, err
	case s.Stopping.Err() != nil:
		return j, job.ErrDraining
	}
	return j, &job.Rejection{Err: job.ErrStorage, Detail: "the job is ending, and its end is not on disk yet; send the request again after Retry-After"}
}

// DeleteJob implements DELETE /v1/jobs/{job_id}.
func (s *server) DeleteJob(ctx context.Context, req DeleteJobRequestObject) (DeleteJobResponseObject, error) {
	x := exchangeOf(ctx)
	if err := x.mayWrite(); err != nil {
		return nil, err
	}
	id, err := job.ParseID(req.JobId)
	if err != nil {
		return nil, job.ErrNotFound
	}
	if err := s.checkJob(ctx, x, req.JobId, intsAsNumbers); err != nil {
		return nil, err
	}
	if err := s.Jobs.Delete(ctx, x.principal.Tenant, id); err != nil {
		return nil, err
	}
	return DeleteJob204Response{}, nil
}

const (
	defaultPage = 50
	maxPage     = 200
	// jobMemory is about the most bytes of a job's view.
	jobMemory = 64 << 10
)

// ListJobs implements GET /v1/jobs.
func (s *server) ListJobs(ctx context.Context, req ListJobsRequestObject) (ListJobsResponseObject, error) {
	x := exchangeOf(ctx)
	ints, err := x.ints()
	if err != nil {
		return nil, err
	}
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return nil, err
	}
	q, possible, err := query(x, &req.Params)
	if err != nil {
		return nil, err
	}
	a := &listAnswer{srv: s, x: x, ints: ints}
	if !possible {
		return a, nil
	}
	if err := s.refresh(ctx, x); err != nil {
		return nil, err
	}
	var next job.ID
	if err := x.beginRead(int64(q.Limit) * jobMemory); err != nil {
		return nil, err
	}
	if a.jobs, next, err = s.Jobs.List(ctx, q); err != nil {
		return nil, err
	}
	size := 0
	for i := range a.jobs {
		size += 512 + len(a.jobs[i].Result) + len(a.jobs[i].Details)
	}
	x.holdRead(int64(size))
	if next != (job.ID{}) {
		a.next = pageToken(&q, next)
	}
	return a, nil
}

// query reads the parameters of a listing. It returns possible false when no job can match all filters: a label has one
// value, and the query has two for it.
func query(x *exchange, p *ListJobsParams) (q job.Query, possible bool, err error) {
	q = job.Query{Tenant: x.principal.Tenant, Limit: defaultPage}
	possible = true
	if p.State != nil {
		for _, name := range *p.State {
			state, err := job.ParseState(string(name))
			if err != nil {
				return q, false, malformed("parameter", "state", "must be queued, running, cancelling, succeeded, failed or cancelled")
			}
			q.States = append(q.States, state)
		}
	}
	if p.Kind != nil {
		q.Kind = *p.Kind
	}
	if p.Label != nil {
		q.Labels = make(map[string]string, len(*p.Label))
		for _, l := range *p.Label {
			key, value, ok := strings.Cut(l, ":")
			if !ok || !validLabelKey(key) {
				return q, false, malformed("parameter", "label", "must be key:value")
			}
			if other, twice := q.Labels[key]; twice && other != value {
				possible = false
			}
			q.Labels[key] = value
		}
		if len(q.Labels) > maxLabels {
			return q, false, malformed("parameter", "label", "at most 16 different keys")
		}
	}
	if p.PageSize != nil {
		if *p.PageSize < 1 {
			return q, false, malformed("parameter", "page_size", "must be at least 1")
		}
		q.Limit = int(min(*p.PageSize, maxPage))
	}
	if p.PageToken != nil {
		before, ok := readPageToken(&q, *p.PageToken)
		if !ok {
			return q, false, malformed("parameter", "page_token", "is not one of this listing; use next_page_token with the same filters")
		}
		q.Before = before
	}
	return q, possible, nil
}

// listAnswer is the answer of GET /v1/jobs.
type listAnswer struct {
	srv  *server
	x    *exchange
	jobs []job.Job
	ints intEncoding
	next string
}

// VisitListJobsResponse implements ListJobsResponseObject.
func (a *listAnswer) VisitListJobsResponse(http.ResponseWriter) error {
	x, h := a.x, a.x.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	a.srv.setAge(x)
	tail := `,"next_page_token":null`
	if a.next != "" {
		next := url.URL{Path: "/v1/jobs"}
		params := x.req.URL.Query()
		params.Set("page_token", a.next)
		next.RawQuery = params.Encode()
		x.set("Link", "<"+next.String()+`>; rel="next"`)
		tail = `,"next_page_token":` + strconv.Quote(a.next)
	}
	x.WriteHeader(http.StatusOK)
	return a.srv.writeJobs(x, a.jobs, a.ints, tail)
}
