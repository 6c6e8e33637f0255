package api_test

import (
	"testing"

	"gather/internal/api"
	"gather/internal/tenant"
)

// A preview describes the jobs of a submission, and makes nothing: no job, no used key, no use of the rate.
func TestPreview(t *testing.T) {
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 1, Window: tenant.Window(3600e9)} }))
	const sleeps = `{"kind":"sleep_batch","count":7,"duration":"1h","priority":"high","timeout":"90m","start_after":"1h"}`
	a := s.do("POST", "/v1/jobs?validate_only=true", sleeps, "Idempotency-Key: k")
	p := decode[api.SubmissionPreview](t, a.body)
	if a.status != 200 || p.Kind != "sleep_batch" || p.Priority != api.PriorityHigh || p.Tasks != 1 || p.Items != 7 || p.WaitingItems != 7 ||
		p.MemoryBytes <= 0 || p.Timeout == nil || *p.Timeout != "1h30m0s" || p.Retention != "24h0m0s" || p.StartAfter == nil {
		t.Errorf("%d: %s, want the size of a batch of 7 sleeps", a.status, a.body)
	}
	for _, bound := range []string{"items", "unfinished_jobs", "memory_bytes", "waiting_items"} {
		if p.Bounds[bound] <= 0 {
			t.Errorf("bounds are %v, want %s too", p.Bounds, bound)
		}
	}
	const sum = `{"kind":"array_sum","array":{"source":"ones","shape":[1000,1000],"chunks":[100,100]}}`
	a = s.do("POST", "/v1/jobs:batch?validate_only=true", `{"jobs":[`+sum+`,{"kind":"squares","numbers":[]}]}`, "Idempotency-Key: k")
	jobs := decode[api.BatchPreview](t, a.body).Jobs
	if a.status != 200 || len(jobs) != 2 || jobs[0].Items != 100 || jobs[0].Bytes != 8e6 || jobs[1].Items != 0 || jobs[1].Timeout != nil {
		t.Errorf("%d: %s, want a sum of 100 chunks and 8e6 bytes, and no squares", a.status, a.body)
	}
	for path, c := range map[string]struct{ body, pointer string }{
		"/v1/jobs":       {`{"kind":"squares","numbers":[null]}`, "/numbers/0"},
		"/v1/jobs:batch": {`{"jobs":[{"kind":"squares","numbers":[null]}]}`, "/jobs/0/numbers/0"},
	} {
		a := s.do("POST", path+"?validate_only=true", c.body)
		if p := decode[api.Problem](t, a.body); a.status != 422 || *(*p.Errors)[0].Pointer != c.pointer {
			t.Errorf("POST %s: %d: %s, want 422 with pointer %s", path, a.status, a.body, c.pointer)
		}
	}
	if l := decode[api.JobList](t, s.do("GET", "/v1/jobs", "").body); len(l.Jobs) != 0 {
		t.Errorf("%d jobs after previews, want 0", len(l.Jobs))
	}
	if a := s.do("POST", "/v1/jobs?validate_only=false", sleeps, "Idempotency-Key: k"); a.status != 202 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("a submission after its preview: %d: %s, want 202 and a fresh job", a.status, a.body)
	}
}
