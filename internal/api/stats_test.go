package api_test

import (
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

// The jobs, totals and latencies are of the requesting tenant, the load and the bounds of the service.
func TestStats(t *testing.T) {
	s := newService(t, withKeys(nil))
	stats := func() api.Stats {
		t.Helper()
		a := s.do("GET", "/v1/stats", "")
		if a.status != 200 || a.Header.Get("Cache-Control") != "private, no-cache" {
			t.Fatalf("got %d %v: %s", a.status, a.Header, a.body)
		}
		return decode[api.Stats](t, a.body)
	}
	first := stats()
	if first.Latency.Wait != nil || first.Latency.Duration != nil || first.Totals.Accepted != 0 {
		t.Errorf("before the first job: got %+v, want no latency", first)
	}
	s.finished(`{"kind":"squares","numbers":[1,2]}`)
	s.running()
	a := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"start_after":"1h"}`)
	if a.status != 202 {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	// The room of a job that has ended is free a moment after its end is stored.
	s.until(func() bool { return stats().Bounds.Jobs.Used == 2 })
	got := stats()
	if got.Node != nodeAlice.ID || got.Nodes != 3 || got.Workers != 4 || got.WorkersBusy != 3 || got.WaitingItems != 1<<40 {
		t.Errorf("load: got %+v, want the sums of the nodes", got)
	}
	if got.Jobs.Delayed != 1 || got.Jobs.Queued+got.Jobs.Running != 1 || got.Totals.Accepted != 3 || got.Totals.Succeeded != 1 {
		t.Errorf("jobs: got %+v, %+v, want 3 accepted, of which 1 has succeeded and 1 is delayed", got.Jobs, got.Totals)
	}
	if got.Since.After(got.At) || !got.Since.Equal(first.Since) || time.Since(got.At) < 0 {
		t.Errorf("got since %v, at %v; want the start, which was %v, and now", got.Since, got.At, first.Since)
	}
	if d := got.Latency.Duration; d == nil || d.Count != 1 || d.P50 != d.P95 || d.P50 < 0 {
		t.Errorf("duration: got %+v, want one", d)
	}
	if b := got.Bounds; b.Jobs.Used != 2 || b.Jobs.Limit != 100_000 || b.WaitingItems.Used != 2 || b.Bytes.Used <= 0 || b.Streams.Limit <= 0 {
		t.Errorf("bounds: got %+v, want the 2 unfinished jobs in them", b)
	}
	if q := got.Bounds.TenantJobs; q != nil {
		t.Errorf("quota: got %+v, want none", q)
	}
	if _, err := s.executor.Submit(t.Context(), []job.Submission{{Tenant: "other", Kind: "squares", Spec: []byte(`{"numbers":[3]}`)}}, nil, true); err != nil {
		t.Fatal(err)
	}
	if totals := stats().Totals; totals.Accepted != 3 {
		t.Errorf("totals after another tenant's job: got %+v, want 3 accepted", totals)
	}
}
