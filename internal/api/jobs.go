package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gather/internal/job"
)

// getJob implements GET /v1/jobs/{job_id}.
func (s *server) getJob(x *requestState) error {
	ints := x.ints()
	if err := s.refresh(x); err != nil {
		return err
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	if len(x.req.Header["If-Match"]) > 0 {
		p, err := precondition(http.Header{"If-Match": x.req.Header["If-Match"]})
		if err == nil {
			err = weakly(p).Check(opaque(etag(&j, ints)))
		}
		if err != nil {
			return err
		}
	}
	resp := &jobResponse{x: x, ints: ints, status: http.StatusOK}
	known := x.req.Header["If-None-Match"]
	isKnown := func(j *job.Job) bool { return known != nil && matches(known, etag(j, ints)) }
	if wait := preferredWait(x.req.Header); wait > 0 && s.openStream() {
		defer s.closeStream()
		x.mode, resp.applied = modeWait, wait
		j, err = s.awaitLatest(x, j, wait, func(j *job.Job) bool {
			if known != nil {
				return !isKnown(j) || j.State.Terminal()
			}
			return j.State.Terminal()
		})
		if err != nil {
			return err
		}
	}
	if isKnown(&j) {
		resp.status = http.StatusNotModified
	} else if resp.values, err = s.values(x, &j, ints); err != nil {
		return err
	} else if resp.submission, err = s.shownSubmission(x, &j); err != nil {
		return err
	}
	resp.job = &j
	s.setAge(x)
	return resp.write()
}

// find returns the tenant's job that the path names. A malformed id is not found.
func (s *server) find(x *requestState) (job.Job, error) {
	id := x.jobID()
	if id == (job.ID{}) {
		return job.Job{}, job.ErrNotFound
	}
	return s.Jobs.Get(x, x.principal.Tenant, id)
}

// cancelJob implements POST /v1/jobs/{job_id}/cancel.
func (s *server) cancelJob(x *requestState) error {
	ints := x.ints()
	id := x.jobID()
	if id == (job.ID{}) {
		return job.ErrNotFound
	}
	if err := s.checkJob(x, ints); err != nil {
		return err
	}
	j, err := s.Executor.Cancel(x, x.principal.Tenant, id)
	if err == nil {
		j, err = s.stopped(x, j)
	}
	if err != nil {
		return err
	}
	resp := &jobResponse{x: x, job: &j, ints: ints, status: http.StatusAccepted}
	if j.State.Terminal() {
		resp.status = http.StatusOK
	}
	if resp.values, err = s.values(x, &j, ints); err != nil {
		return err
	}
	return resp.write()
}

// maxEnding is how long a cancel waits for a job that is already ending.
const maxEnding = 5 * time.Second

// stopped returns a job after a cancel, once it is cancelling or has ended. A job that was already ending ignores the
// cancel and stays running until its end is durable.
func (s *server) stopped(ctx context.Context, j job.Job) (job.Job, error) {
	stopped := func(j *job.Job) bool { return j.State == job.Cancelling || j.State.Terminal() }
	j, err := s.await(ctx, j, maxEnding, stopped)
	switch {
	case err != nil || stopped(&j):
		return j, err
	case s.Stopping.Err() != nil:
		return j, job.ErrDraining
	}
	return j, &job.Rejection{Err: job.ErrStorage, Detail: "the job is ending and its end is not durable yet; repeat the request after Retry-After"}
}

// deleteJob implements DELETE /v1/jobs/{job_id}.
func (s *server) deleteJob(x *requestState) error {
	id := x.jobID()
	if id == (job.ID{}) {
		return job.ErrNotFound
	}
	if err := s.checkJob(x, intsAsNumbers); err != nil {
		return err
	}
	if err := s.Jobs.Delete(x, x.principal.Tenant, id); err != nil {
		return err
	}
	return x.writeNothing(http.StatusNoContent)
}

const (
	defaultPage = 50
	maxPage     = 200
	// jobMemory is the approximate maximum size of a job's view.
	jobMemory = 64 << 10
)

// listJobs implements GET /v1/jobs.
func (s *server) listJobs(x *requestState) error {
	ints := x.ints()
	q, possible, err := listQuery(x)
	if err != nil {
		return err
	}
	if !possible {
		return s.writeList(x, nil, ints, "")
	}
	if err := s.refresh(x); err != nil {
		return err
	}
	if err := x.reserveRead(int64(q.Limit) * jobMemory); err != nil {
		return err
	}
	jobs, before, err := s.Jobs.List(x, q)
	if err != nil {
		return err
	}
	size := 0
	for i := range jobs {
		size += 512 + len(jobs[i].Result) + len(jobs[i].Details)
	}
	x.resizeRead(int64(size))
	next := ""
	if before != (job.ID{}) {
		next = pageToken(&q, before)
	}
	return s.writeList(x, jobs, ints, next)
}

// writeList writes a page of jobs with the token of the next page; "" after the last.
func (s *server) writeList(x *requestState, jobs []job.Job, ints intEncoding, token string) error {
	h := x.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	s.setAge(x)
	tail := `,"next_page_token":null`
	if token != "" {
		next := url.URL{Path: "/v1/jobs"}
		params := x.req.URL.Query()
		params.Set("page_token", token)
		next.RawQuery = params.Encode()
		x.set("Link", "<"+next.String()+`>; rel="next"`)
		tail = `,"next_page_token":` + strconv.Quote(token)
	}
	x.WriteHeader(http.StatusOK)
	return s.writeJobs(x, jobs, ints, tail)
}
