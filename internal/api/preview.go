package api

import (
	"cmp"
	"maps"
	"net/http"
	"time"

	"gather/internal/job"
)

// validateOnly reports whether a submission is to be validated and described, but not made.
func (x *requestState) validateOnly() bool { return x.query().Get("validate_only") == "true" }

// preview validates a submission and responds with a description of the jobs that it would make. It neither uses the
// idempotency key nor counts toward the rate.
func (s *server) preview(x *requestState, body *jobsBody) error {
	batch := body.batch
	subs, err := s.submissions(x, body)
	if err != nil {
		return err
	}
	previews, err := s.Executor.Preview(x, subs)
	if err != nil {
		return body.locate(err)
	}
	jobs := make([]SubmissionPreview, len(previews))
	for i := range previews {
		jobs[i] = s.previewModel(&previews[i])
	}
	x.Header()["Cache-Control"] = privateNoCache
	if batch {
		return x.writeJSON(http.StatusOK, BatchPreview{Jobs: jobs})
	}
	return x.writeJSON(http.StatusOK, jobs[0])
}

func (s *server) previewModel(p *job.Preview) SubmissionPreview {
	bounds := maps.Clone(s.kindLimits[p.Job.Kind])
	maps.Copy(bounds, p.Bounds)
	m := SubmissionPreview{
		Kind: p.Job.Kind, Priority: Priority(p.Job.Priority.String()), Tasks: int64(p.Size.Tasks), Items: p.Size.Units,
		Bytes: p.Size.Bytes, MemoryBytes: p.Size.Memory, WaitingItems: p.Size.Waiting, ResultBytes: p.Size.Results,
		Retention: p.Job.Retention.String(), FailedRetention: cmp.Or(p.Job.FailedRetention, p.Job.Retention).String(), Bounds: bounds,
	}
	if p.Job.Timeout > 0 {
		m.Timeout = new(p.Job.Timeout.String())
	}
	if at := p.Job.StartAfter; !at.IsZero() {
		m.StartAfter = new(time.Time)
		*m.StartAfter = at.UTC()
	}
	return m
}
