package executor

import (
	"fmt"
	"time"

	"gather/internal/job"
)

// resultQuotaRetry is the Retry-After of a tenant whose quota of result bytes is used up: until it deletes jobs, or they
// expire.
const resultQuotaRetry = time.Minute

// resultQuota returns a tenant's quota of result bytes; 0 for none.
func (e *Executor) resultQuota(tenant string) int64 {
	if e.cfg.TenantResultBytes == nil || e.cfg.Results == nil {
		return 0
	}
	return e.cfg.TenantResultBytes(tenant)
}

// resultRoom rejects jobs of a tenant whose quota of result bytes is used up, or too small for the minimum size of their
// results.
func (e *Executor) resultRoom(tenant string, jobs int, bytes int64) error {
	quota := e.resultQuota(tenant)
	if quota == 0 {
		return nil
	}
	_, stored := e.cfg.Results(tenant, job.ID{})
	if stored < quota && stored+bytes <= quota {
		return nil
	}
	e.metrics.rejected(reasonQuota, jobs)
	detail := fmt.Sprintf("the results of your jobs have %d of at most %d bytes", stored, quota)
	if bytes > 0 {
		detail += fmt.Sprintf(", and those of the submission would have at least %d", bytes)
	}
	return &job.Rejection{
		Err: job.ErrQuota, Reason: reasonQuota, Detail: detail + ": delete jobs, or wait until they expire", RetryAfter: resultQuotaRetry,
	}
}

// jobResultLimit returns how many bytes of results one job of a tenant may have; 0 for no limit.
func (e *Executor) jobResultLimit(tenant string) int64 {
	limit, quota := e.cfg.MaxResultBytes, e.resultQuota(tenant)
	if limit == 0 || quota > 0 && quota < limit {
		return quota
	}
	return limit
}

// addResults adds the bytes of an event's results to the job's count, before the event is appended. It returns the failure
// of a job whose results would exceed its limit, or its tenant's quota. The count has results that the journal may not have
// yet; a replica of a cluster's log has results of other nodes.
func (e *Executor) addResults(j *job.Job, counted *int64, bytes int64) error {
	*counted += bytes
	limit, quota := e.cfg.MaxResultBytes, e.resultQuota(j.Tenant)
	if bytes == 0 || limit == 0 && quota == 0 {
		return nil
	}
	ofJob, ofTenant := int64(0), int64(0)
	if e.cfg.Results != nil {
		ofJob, ofTenant = e.cfg.Results(j.Tenant, j.ID)
	}
	total := max(*counted, ofJob+bytes)
	tooLarge := func(format string, args ...any) error {
		return &job.Failure{Reason: job.FailedResultTooLarge, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case limit > 0 && total > limit:
		return tooLarge("the job's results have more than %d bytes, the limit of this server", limit)
	case quota > 0 && ofTenant-ofJob+total > quota:
		return tooLarge("with the job's results those of all your jobs have more than %d bytes, your quota", quota)
	}
	return nil
}
