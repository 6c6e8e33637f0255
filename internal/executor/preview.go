package executor

import (
	"context"

	"gather/internal/job"
)

// Preview validates submissions as Submit does, and returns the jobs that Submit would make. It admits nothing: the
// current load and the used part of quotas do not matter. Errors: *fields.Errors, as of Submit.
func (e *Executor) Preview(ctx context.Context, subs []job.Submission) ([]job.Preview, error) {
	tenant := subs[0].Tenant
	quota, err := e.quota(tenant, len(subs))
	if err != nil {
		return nil, err
	}
	bounds := map[string]int64{
		"unfinished_jobs": int64(e.cfg.MaxJobs), "memory_bytes": e.cfg.MaxBytes, "waiting_items": e.cfg.MaxWaiting,
	}
	if quota > 0 {
		bounds["unfinished_jobs"] = min(int64(quota), bounds["unfinished_jobs"])
	}
	if limit := e.jobResultLimit(tenant); limit > 0 {
		bounds["result_bytes"] = limit
	}
	previews := make([]job.Preview, 0, len(subs))
	_, err = e.plan(ctx, subs, func(p plannedJob) {
		previews = append(previews, job.Preview{Job: p.job, Size: p.size, Bounds: bounds})
		p.closePlan()
	})
	return previews, err
}
