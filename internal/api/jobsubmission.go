package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"gather/internal/job"
)

// shownSubmission returns the submission of a job as JSON; nil if it is longer than job.MaxShownSpec, or was not kept.
func (s *server) shownSubmission(ctx context.Context, j *job.Job) ([]byte, error) {
	spec, err := s.Jobs.Spec(ctx, j.Tenant, j.ID, job.MaxShownSpec)
	if errors.Is(err, job.ErrNotFound) || err == nil && spec == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := s.appendSubmission(nil, j, spec)
	if len(b) > job.MaxShownSpec {
		return nil, nil
	}
	return b, nil
}

// appendSubmission appends the submission of a job: its posting makes the same job again.
func (s *server) appendSubmission(b []byte, j *job.Job, spec []byte) []byte {
	b = appendString(append(b, `{"kind":`...), j.Kind)
	b = append(append(append(b, `,"priority":"`...), j.Priority.String()...), '"')
	if len(j.Labels) > 0 {
		b = appendLabels(append(b, `,"labels":`...), j.Labels)
	}
	if j.Group != "" && !isBatchGroup(j.Group) {
		b = appendString(append(b, `,"group":`...), j.Group)
	}
	if j.Timeout > 0 {
		b = appendDuration(append(b, `,"timeout":`...), j.Timeout)
	}
	switch {
	case j.Delay > 0:
		b = appendDuration(append(b, `,"start_after":`...), j.Delay)
	case !j.StartAfter.IsZero():
		b = appendTime(append(b, `,"start_after":`...), j.StartAfter)
	}
	if len(j.After) > 0 {
		b = appendAfter(append(b, `,"after":`...), j.After)
		b = appendDuration(append(b, `,"after_timeout":`...), j.AfterTimeout)
	}
	b = appendDuration(append(b, `,"retention":`...), j.Retention)
	if j.FailedRetention > 0 {
		b = appendDuration(append(b, `,"failed_retention":`...), j.FailedRetention)
	}
	b = appendWebhooks(b, j.Webhooks)
	return append(s.Kinds.AppendMembers(b, spec), '}')
}

// appendDuration appends a duration as submissions have them, such as "1m30s".
func appendDuration(b []byte, d time.Duration) []byte {
	return append(append(append(b, '"'), d.String()...), '"')
}

// getJobSubmission implements GET /v1/jobs/{job_id}/submission.
func (s *server) getJobSubmission(x *requestState) error {
	if err := s.refresh(x); err != nil {
		return err
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	if err := x.reserveRead(2 * s.MaxBody); err != nil {
		return err
	}
	spec, err := s.Jobs.Spec(x, j.Tenant, j.ID, 0)
	if errors.Is(err, job.ErrNotFound) {
		return &problem{entry: noSuchResource, detail: "The submission of this job was not kept: the job ended under an earlier version, or was just deleted."}
	}
	if err != nil {
		return err
	}
	b := append(s.appendSubmission(make([]byte, 0, len(spec)+2048), &j, spec), '\n')
	x.resizeRead(int64(len(spec) + len(b)))
	h := x.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	s.setAge(x)
	x.WriteHeader(http.StatusOK)
	return clientError(s.writeWithDeadline(x, b))
}
