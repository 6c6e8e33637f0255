package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"

	"gather/internal/fields"
	"gather/internal/job"
)

// nothingToRetry is the problem of a retry of a job without items that failed.
var nothingToRetry = problemType{status: http.StatusConflict, name: "nothing-to-retry", title: "Nothing to retry"}

// retryJob implements POST /v1/jobs/{job_id}/retry.
func (s *server) retryJob(x *requestState) error {
	ints := x.ints()
	j, err := s.find(x)
	if err == nil && !j.State.Terminal() && s.Replica != nil { // another node may have shown its end already
		if err = s.Replica.ReadBarrier(x); err == nil {
			j, err = s.find(x)
		}
	}
	if err != nil {
		return err
	}
	if !j.State.Terminal() {
		return job.ErrNotFinished
	}
	text, err := idempotencyKey(x.req.Header)
	if err != nil {
		return err
	}
	var key *job.Key
	if text != "" {
		key = &job.Key{Tenant: j.Tenant, Route: "jobs/retry", Value: text, Fingerprint: sha256.Sum256(j.ID[:])}
	}
	if err := x.reserveRead(4 * s.MaxBody); err != nil {
		return err
	}
	sub, err := s.retrySubmission(x, &j)
	if err != nil {
		return err
	}
	x.resizeRead(int64(len(sub.Spec))) // so that other retries do not wait for the disk
	jobs, replayed, err := s.acceptOnce(x, []job.Submission{sub}, key, false)
	x.resizeRead(0)
	if err != nil {
		return err
	}
	x.submitted = jobs[0].ID
	return (&jobResponse{x: x, job: &jobs[0], ints: ints, status: http.StatusAccepted, location: true, replayed: replayed}).write()
}

// retrySubmission returns the submission of a job with the items of an ended job that did not succeed, or with all of a kind without
// items.
func (s *server) retrySubmission(x *requestState, j *job.Job) (sub job.Submission, err error) {
	sub = job.Submission{
		Tenant: j.Tenant, Kind: j.Kind, Priority: j.Priority, Labels: j.Labels, Group: j.Group, Timeout: j.Timeout, Retention: j.Retention,
		FailedRetention: j.FailedRetention, RetryOf: j.ID, RequestID: x.requestID, TraceParent: x.traceParent(),
	}
	for _, w := range j.Webhooks {
		if !w.Standing {
			sub.Webhooks = append(sub.Webhooks, w)
		}
	}
	sub.Webhooks = append(sub.Webhooks, s.readWebhooks(j.Tenant, nil, new(fields.Errors))...)
	spec, err := s.Jobs.Spec(x, j.Tenant, j.ID, 0)
	if errors.Is(err, job.ErrNotFound) {
		return sub, &problem{entry: noSuchResource, detail: "The submission of this job was not kept: the job ended under an earlier version, or was just deleted."}
	}
	if err != nil {
		return sub, err
	}
	if j.State == job.Succeeded && j.Progress.Failed == 0 {
		return sub, &problem{entry: nothingToRetry, detail: "All items of the job have succeeded. To run it again, submit its submission."}
	}
	succeeded, err := s.succeededItems(x, j)
	if err != nil {
		return sub, err
	}
	var ok bool
	if sub.Spec, ok = s.Kinds.SelectItems(j.Kind, spec, func(i int64) bool { return !succeeded.has(i) }); ok {
		return sub, nil
	}
	members := s.Kinds.AppendMembers([]byte("{"), spec)
	if len(members) > 1 {
		members = append(members[:1], members[2:]...) // without the first comma
	}
	sub.Spec = append(members, '}')
	return sub, nil
}

// succeededItems returns the indexes of the items of an ended job that have succeeded.
func (s *server) succeededItems(ctx context.Context, j *job.Job) (set bitset, err error) {
	if !s.valueKinds[j.Kind] {
		return nil, nil
	}
	set = make(bitset, (j.Progress.Total+63)/64)
	for after := int64(-1); ; {
		items, err := s.Log.ItemsByIndex(ctx, j.ID, after, logPage)
		if err != nil || len(items) == 0 {
			return set, err
		}
		for i := range items {
			if after = items[i].Index; items[i].Err == "" && after < j.Progress.Total {
				set[after/64] |= 1 << (after % 64)
			}
		}
	}
}

// A bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i int64) bool { return i/64 < int64(len(b)) && b[i/64]&(1<<(i%64)) != 0 }

// outcomeOf returns which items of an ended job have succeeded. Items that did not run have not.
func (s *server) outcomeOf(j *job.Job) string {
	switch {
	case !j.State.Terminal():
		return ""
	case j.State == job.Succeeded && j.Progress.Failed == 0:
		return string(JobOutcomeAllSucceeded)
	case j.Progress.Completed > 0 && s.valueKinds[j.Kind]:
		return string(JobOutcomeSomeFailed)
	}
	return string(JobOutcomeAllFailed)
}
