package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/tenant"
)

// submitJob implements POST /v1/jobs.
func (s *server) submitJob(x *requestState) error {
	ints := x.ints()
	wait := preferredWait(x.req.Header)
	// Beyond MaxStreams the client gets the job immediately, and polls.
	if wait > 0 && s.openStream() {
		defer s.closeStream()
		x.mode = modeWait
	} else {
		wait = 0
	}
	var body submission
	if err := decodeBody(x, &body); err != nil {
		return err
	}
	if x.validateOnly() {
		return s.preview(x, &body.jobsBody)
	}
	jobs, replayed, err := s.accept(x, &body.jobsBody, "jobs", wait > 0)
	if err != nil {
		return err
	}
	x.submitted = jobs[0].ID
	// Release the body before waiting.
	body.jobsBody = jobsBody{}
	x.releaseBody()
	resp := &jobResponse{
		x: x, job: &jobs[0], ints: ints, status: http.StatusAccepted, location: true, replayed: replayed,
	}
	if wait > 0 {
		j, err := s.await(x, jobs[0], wait, func(j *job.Job) bool { return j.State.Terminal() })
		if err == nil { // otherwise the job is still accepted
			jobs[0] = j
		}
		if jobs[0].State.Terminal() {
			resp.status, resp.applied = http.StatusOK, wait
		}
	}
	resp.values, _ = s.values(x, &jobs[0], ints) // the job is accepted even if its values cannot be read
	return resp.write()
}

// submitBatch implements POST /v1/jobs:batch.
func (s *server) submitBatch(x *requestState) error {
	ints := x.ints()
	wait := preferredWait(x.req.Header)
	if wait > 0 && s.openStream() {
		defer s.closeStream()
		x.mode = modeWait
	} else {
		wait = 0
	}
	var body batchSubmission
	if err := decodeBody(x, &body); err != nil {
		return err
	}
	if x.validateOnly() {
		return s.preview(x, &body.jobsBody)
	}
	jobs, replayed, err := s.accept(x, &body.jobsBody, "jobs:batch", wait > 0)
	if err != nil {
		return err
	}
	// Release the body before waiting.
	body.jobsBody = jobsBody{}
	x.releaseBody()
	status := http.StatusAccepted
	if wait > 0 && s.awaitAll(x, jobs, wait) {
		status = http.StatusOK
		x.set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	h := x.Header()
	x.vary(varyPrefer)
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	if replayed {
		x.set("Idempotency-Replayed", "true")
	}
	for i := range jobs {
		if !jobs[i].State.Terminal() {
			_, retryAfter := s.Executor.Outlook(&jobs[i])
			x.set("Retry-After", strconv.FormatInt(ceilSeconds(retryAfter), 10))
			break
		}
	}
	x.WriteHeader(status)
	return s.writeJobs(x, jobs, ints, `,"group":`+strconv.Quote(jobs[0].Group))
}

// awaitAll waits until jobs have ended, at most for wait, and updates them. It reports whether all have ended. A job that
// cannot be read, because it was deleted or the client has gone, stays as it was accepted.
func (s *server) awaitAll(x *requestState, jobs []job.Job, wait time.Duration) (ended bool) {
	ended = true
	until := time.Now().Add(wait)
	for i := range jobs {
		j, err := s.await(x, jobs[i], max(0, time.Until(until)), func(j *job.Job) bool { return j.State.Terminal() })
		if err == nil {
			jobs[i] = j
		}
		ended = ended && jobs[i].State.Terminal()
	}
	return ended
}

// accept validates a submission, reserves its idempotency key, checks the tenant's rate and submits the jobs. It
// returns the submitted jobs, or (replayed) the jobs of an earlier request with the same key, which may have reached
// another node after the reservation here.
func (s *server) accept(x *requestState, body *jobsBody, route string, wait bool) (jobs []job.Job, replayed bool, err error) {
	text, err := idempotencyKey(x.req.Header)
	if err != nil {
		return nil, false, err
	}
	var key *job.Key
	if text != "" {
		// Compute the fingerprint before envelope.spec modifies the body.
		key = &job.Key{Tenant: x.principal.Tenant, Route: route, Value: text, Fingerprint: sha256.Sum256(body.data)}
	}
	subs, err := s.submissions(x, body)
	if err != nil {
		return nil, false, err
	}
	jobs, replayed, err = s.acceptOnce(x, subs, key, wait)
	return jobs, replayed, body.locate(err)
}

// acceptOnce is accept for submissions.
func (s *server) acceptOnce(x *requestState, subs []job.Submission, key *job.Key, wait bool) (jobs []job.Job, replayed bool, err error) {
	if key != nil {
		prior, err := s.Keys.Reserve(x, *key)
		if err != nil {
			return nil, false, err
		}
		if len(prior) > 0 {
			jobs, err = s.replay(x, prior)
			return jobs, true, err
		}
	}
	jobs, err = s.submit(x, subs, key, wait)
	if errors.Is(err, job.ErrDependencyEnded) { // the key was released; at most once for each job that the submission waits for
		return s.acceptOnce(x, subs, key, wait)
	}
	if prior, ok := errors.AsType[*job.DuplicateKeyError](err); ok {
		jobs, err = s.replay(x, prior.IDs)
		return jobs, true, err
	}
	return jobs, false, err
}

// locate prefixes the pointers of the executor's errors with the only job of a batch. With several jobs the executor has
// already prefixed the index.
func (b *jobsBody) locate(err error) error {
	invalid, ok := errors.AsType[*fields.Errors](err)
	if !ok || len(b.jobs) != 1 {
		return err
	}
	prefixed := new(fields.Errors)
	prefixed.Merge(b.pointer(0), invalid)
	return prefixed
}

// submissions decodes the submitted jobs. If an envelope has errors the kinds validate their parts too, so that all
// errors are reported together; otherwise the executor calls the kinds.
func (s *server) submissions(x *requestState, body *jobsBody) ([]job.Submission, error) {
	errs := &body.errs
	now := time.Now()
	subs := make([]job.Submission, len(body.jobs))
	group := ""
	if given(body.group) {
		group = fields.Text(body.group)
		checkGroupName(group, "/group", errs)
	} else if body.batch {
		group = job.NewID().String()
	}
	for i := range body.jobs {
		var own fields.Errors
		earlier := 0
		if body.batch {
			earlier = i
		}
		subs[i] = s.submission(x, &body.jobs[i], earlier, body.data, now, &own)
		if body.batch {
			if subs[i].Group != "" {
				own.Add("/group", "the jobs of a batch are in the group of the batch; set /group")
			}
			subs[i].Group = group
		}
		errs.Merge(body.pointer(i), &own)
	}
	if errs.Total() == 0 {
		return subs, nil
	}
	for i := range subs {
		if subs[i].Kind == "" || errs.Total() > fields.MaxListed {
			continue
		}
		err := s.Kinds.Validate(x, x.principal.Tenant, subs[i].Kind, subs[i].Spec)
		if own, ok := errors.AsType[*fields.Errors](err); ok {
			errs.Merge(body.pointer(i), own)
		} else if err != nil {
			return nil, err
		}
	}
	return nil, errs
}

// pointer returns the JSON pointer of job i in the body.
func (b *jobsBody) pointer(i int) string {
	if !b.batch {
		return ""
	}
	return "/jobs/" + strconv.Itoa(i)
}

// submit deducts the jobs from the tenant's rate and passes them to the executor.
func (s *server) submit(x *requestState, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error) {
	if s.Tenants == nil {
		return s.Executor.Submit(x, subs, key, wait)
	}
	allowance, ok := s.Tenants.Take(x.principal.Tenant, len(subs), time.Now())
	if !ok {
		if key != nil {
			s.Keys.Release(*key)
		}
		x.setRate(allowance)
		if len(subs) > allowance.Rate.Jobs { // waiting does not help
			return nil, fields.Invalidf("/jobs", "%d jobs exceed the rate limit of %d jobs in %s: split the batch",
				len(subs), allowance.Rate.Jobs, time.Duration(allowance.Rate.Window))
		}
		detail := fmt.Sprintf("%d more of %d jobs in %s", allowance.Left, allowance.Rate.Jobs, time.Duration(allowance.Rate.Window))
		return nil, &job.Rejection{Err: job.ErrQuota, Reason: rejectedRate, Detail: detail, RetryAfter: allowance.Wait}
	}
	jobs, err := s.Executor.Submit(x, subs, key, wait)
	if err != nil {
		s.Tenants.Return(x.principal.Tenant, len(subs), time.Now())
		if allowance.Left += len(subs); allowance.Left == allowance.Rate.Jobs {
			allowance.Wait = 0
		}
	}
	x.setRate(allowance)
	return jobs, err
}

// replay returns the current state of the jobs of an earlier request. It returns job.ErrExpired when one was deleted,
// because keys may outlive their jobs.
func (s *server) replay(x *requestState, ids []job.ID) ([]job.Job, error) {
	jobs := make([]job.Job, len(ids))
	for i, id := range ids {
		var err error
		if jobs[i], err = s.Jobs.Get(x, x.principal.Tenant, id); errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) {
			return nil, &job.Rejection{Err: job.ErrExpired, Detail: "The job that was submitted with this Idempotency-Key was deleted, or its retention has passed. Use a fresh key to submit it again."}
		} else if err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// setRate sets the rate limit headers.
func (x *requestState) setRate(a tenant.Allowance) {
	if a.Rate.Jobs == 0 {
		return
	}
	window := int64(time.Duration(a.Rate.Window) / time.Second)
	x.set("Ratelimit-Policy", `"jobs";q=`+strconv.Itoa(a.Rate.Jobs)+";w="+strconv.FormatInt(max(1, window), 10))
	t := int64(0)
	if a.Wait > 0 {
		t = ceilSeconds(a.Wait)
	}
	x.set("Ratelimit", `"jobs";r=`+strconv.Itoa(a.Left)+";t="+strconv.FormatInt(t, 10))
}

// writeJobs writes {"jobs":[...]} with further members in tail. It encodes and writes in pieces.
func (s *server) writeJobs(x *requestState, jobs []job.Job, ints intEncoding, tail string) error {
	buf := getBuffer()
	defer putBuffer(buf)
	b := append((*buf)[:0], `{"jobs":[`...)
	for i := range jobs {
		if i > 0 {
			b = append(b, ',')
		}
		view := s.view(&jobs[i], ints)
		b = appendJob(b, &view)
		if len(b) > flushSize {
			if err := s.writeWithDeadline(x, b); err != nil {
				return nil
			}
			b = b[:0]
		}
	}
	b = append(append(append(b, ']'), tail...), "}\n"...)
	*buf = b
	return clientError(s.writeWithDeadline(x, b))
}
