package api

import (
	"context"
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
	ints, err := x.ints()
	if err != nil {
		return err
	}
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return err
	}
	wait := preferredWait(x.req.Header)
	// Without room for one more wait the client is answered immediately, and polls.
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
	jobs, replayed, err := s.accept(x, x, &body.jobsBody, "jobs", wait > 0)
	if err != nil {
		return err
	}
	x.submitted = jobs[0].ID
	// Who waits holds no body.
	body.jobsBody = jobsBody{}
	x.release()
	answer := &jobAnswer{
		srv: s, x: x, job: &jobs[0], ints: ints, status: http.StatusAccepted, location: true, replayed: replayed,
	}
	if wait > 0 {
		j, err := s.await(x, jobs[0], wait, func(j *job.Job) bool { return j.State.Terminal() })
		if err == nil { // otherwise the job is accepted all the same
			jobs[0] = j
		}
		if jobs[0].State.Terminal() {
			answer.status, answer.applied = http.StatusOK, wait
		}
	}
	answer.values, _ = s.values(x, &jobs[0], ints) // the job is accepted, also if they cannot be read
	return answer.write()
}

// submitBatch implements POST /v1/jobs:batch.
func (s *server) submitBatch(x *requestState) error {
	ints, err := x.ints()
	if err != nil {
		return err
	}
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return err
	}
	var body batchSubmission
	if err := decodeBody(x, &body); err != nil {
		return err
	}
	jobs, replayed, err := s.accept(x, x, &body.jobsBody, "jobs:batch", false)
	if err != nil {
		return err
	}
	return (&batchAnswer{srv: s, x: x, jobs: jobs, ints: ints, replayed: replayed}).write()
}

// accept takes a submission through validation, its idempotency key, the tenant's rate and the executor. It returns the
// jobs that were submitted: now, or (replayed) by an earlier request with the same key, which another node may have taken
// since this one looked.
func (s *server) accept(ctx context.Context, x *requestState, body *jobsBody, route string, wait bool) (
	jobs []job.Job, replayed bool, err error,
) {
	text, err := idempotencyKey(x.req.Header)
	if err != nil {
		return nil, false, err
	}
	var key *job.Key
	if text != "" {
		// Before the specs are cut out of the body.
		key = &job.Key{Tenant: x.principal.Tenant, Route: route, Value: text, Fingerprint: sha256.Sum256(body.data)}
	}
	subs, err := s.submissions(x, body)
	if err != nil {
		return nil, false, err
	}
	if key != nil {
		prior, err := s.Keys.Reserve(ctx, *key)
		if err != nil {
			return nil, false, err
		}
		if len(prior) > 0 {
			jobs, err = s.replay(ctx, x.principal.Tenant, prior)
			return jobs, true, err
		}
	}
	jobs, err = s.submit(ctx, x, subs, key, wait)
	if prior, ok := errors.AsType[*job.PriorError](err); ok {
		jobs, err = s.replay(ctx, x.principal.Tenant, prior.IDs)
		return jobs, true, err
	}
	// With several jobs the executor has the index of the job.
	if invalid, ok := errors.AsType[*fields.Errors](err); ok && len(subs) == 1 {
		led := new(fields.Errors)
		led.Merge(body.pointer(0), invalid)
		err = led
	}
	return jobs, false, err
}

// submissions decodes the submitted jobs. If an envelope has errors the kinds validate their parts too, so that all
// errors are reported together; otherwise the executor calls them.
func (s *server) submissions(x *requestState, body *jobsBody) ([]job.Submission, error) {
	faults := &body.faults
	now := time.Now()
	subs := make([]job.Submission, len(body.jobs))
	for i := range body.jobs {
		var own fields.Errors
		subs[i] = s.submission(x, &body.jobs[i], body.data, now, &own)
		faults.Merge(body.pointer(i), &own)
	}
	if faults.Total() == 0 {
		return subs, nil
	}
	for i := range subs {
		if subs[i].Kind == "" || faults.Total() > maxFaults {
			continue
		}
		err := s.Kinds.Validate(x.req.Context(), x.principal.Tenant, subs[i].Kind, subs[i].Spec)
		if own, ok := errors.AsType[*fields.Errors](err); ok {
			faults.Merge(body.pointer(i), own)
		} else if err != nil {
			return nil, err
		}
	}
	return nil, faults
}

// pointer returns the JSON pointer of a job in the body.
func (b *jobsBody) pointer(i int) string {
	if !b.batch {
		return ""
	}
	return "/jobs/" + strconv.Itoa(i)
}

// submit takes the jobs from the tenant's rate and hands them to the executor.
func (s *server) submit(
	ctx context.Context, x *requestState, subs []job.Submission, key *job.Key, wait bool,
) ([]job.Job, error) {
	if s.Tenants == nil {
		return s.Executor.Submit(ctx, subs, key, wait)
	}
	allowance, ok := s.Tenants.Take(x.principal.Tenant, len(subs), time.Now())
	if !ok {
		if key != nil {
			s.Keys.Release(*key)
		}
		x.setRate(allowance)
		if len(subs) > allowance.Rate.Jobs { // however long the client waits
			return nil, fields.Invalidf("/jobs", "%d jobs are more than the %d that may be submitted in %s: split the batch",
				len(subs), allowance.Rate.Jobs, time.Duration(allowance.Rate.Window))
		}
		detail := fmt.Sprintf("%d more of %d jobs in %s", allowance.Left, allowance.Rate.Jobs, time.Duration(allowance.Rate.Window))
		return nil, &job.Rejection{Err: job.ErrQuota, Reason: refusedRate, Detail: detail, RetryAfter: allowance.Wait}
	}
	jobs, err := s.Executor.Submit(ctx, subs, key, wait)
	if err != nil {
		s.Tenants.Return(x.principal.Tenant, len(subs), time.Now())
		if allowance.Left += len(subs); allowance.Left == allowance.Rate.Jobs {
			allowance.Wait = 0
		}
	}
	x.setRate(allowance)
	return jobs, err
}

// replay returns the jobs of an earlier request in their present state. It returns job.ErrExpired when one of them was
// deleted: a key may be remembered for longer than that.
func (s *server) replay(ctx context.Context, tenant string, ids []job.ID) ([]job.Job, error) {
	jobs := make([]job.Job, len(ids))
	for i, id := range ids {
		var err error
		if jobs[i], err = s.Jobs.Get(ctx, tenant, id); errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) {
			return nil, &job.Rejection{Err: job.ErrExpired, Detail: "The job that was submitted with this Idempotency-Key was deleted, or its retention has passed. Use a fresh key to submit it again."}
		} else if err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// setRate sets the headers with the rest of the tenant's rate.
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

// batchAnswer is the answer of POST /v1/jobs:batch.
type batchAnswer struct {
	srv      *server
	x        *requestState
	jobs     []job.Job
	ints     intEncoding
	replayed bool
}

func (a *batchAnswer) write() error {
	x, h := a.x, a.x.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	if a.replayed {
		x.set("Idempotency-Replayed", "true")
	}
	for i := range a.jobs {
		if !a.jobs[i].State.Terminal() {
			_, retryAfter := a.srv.Executor.Outlook(&a.jobs[i])
			x.set("Retry-After", strconv.FormatInt(ceilSeconds(retryAfter), 10))
			break
		}
	}
	x.WriteHeader(http.StatusAccepted)
	return a.srv.writeJobs(x, a.jobs, a.ints, "")
}

// writeJobs writes {"jobs":[...]} with tail, more members, at its end. It does not hold all of it in memory.
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
			if err := s.push(x, b); err != nil {
				return nil
			}
			b = b[:0]
		}
	}
	b = append(append(append(b, ']'), tail...), "}\n"...)
	*buf = b
	return clientError(s.push(x, b))
}
