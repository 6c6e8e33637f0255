package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gather/internal/api"
	"gather/internal/job"
)

// stopped submits a job, waits until some of its items have succeeded, and cancels it.
func (s *service) stopped(body string, items int64) api.Job {
	s.t.Helper()
	j := decode[api.Job](s.t, s.do("POST", "/v1/jobs", body).body)
	for j.Progress.Completed < items {
		a := s.do("GET", path(j, ""), "", "Prefer: wait=1", `If-None-Match: W/"0"`)
		j = decode[api.Job](s.t, a.body)
	}
	s.do("POST", path(j, "/cancel"), "")
	return decode[api.Job](s.t, s.do("GET", path(j, ""), "", "Prefer: wait=20").body)
}

func outcome(j api.Job) string {
	if j.Outcome == nil {
		return "null"
	}
	return string(*j.Outcome)
}

// TestRetry: a retry has the items that did not succeed, and what the job was submitted with.
func TestRetry(t *testing.T) {
	s := newService(t)
	j := s.stopped(`{"kind":"sleep_batch","durations":["1ms","10m","2ms","11m"],"labels":{"team":"a"},"priority":"high","group":"g","timeout":"1h"}`, 2)
	if j.State != api.StateCancelled || outcome(j) != "some_failed" || j.RetryOf != nil {
		t.Errorf("the cancelled job: %s, outcome %s, retry of %v", j.State, outcome(j), j.RetryOf)
	}
	a := s.do("POST", path(j, "/retry"), "", "Idempotency-Key: k")
	again := decode[api.Job](t, a.body)
	if a.status != 202 || a.Header.Get("Location") != path(again, "") || again.RetryOf == nil || *again.RetryOf != j.Id || outcome(again) != "null" {
		t.Errorf("the retry: %d, %s", a.status, a.body)
	}
	shown := decode[map[string]any](t, s.do("GET", path(again, "/submission"), "").body)
	if got := fmt.Sprint(shown); got != "map[durations:[10m 11m] group:g kind:sleep_batch labels:map[team:a] priority:high retention:24h0m0s timeout:1h0m0s]" {
		t.Errorf("the retry was submitted as %s", got)
	}
	b := s.do("POST", path(j, "/retry"), "", "Idempotency-Key: k")
	if replayed := decode[api.Job](t, b.body); replayed.Id != again.Id || b.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same key makes %s, want %s", replayed.Id, again.Id)
	}
	if b := s.do("POST", path(again, "/retry"), "", "Idempotency-Key: other"); b.status != 409 || !strings.Contains(string(b.body), "job-not-finished") {
		t.Errorf("a retry of an unfinished job: %d %s", b.status, b.body)
	}
	done := s.finished(`{"kind":"squares","numbers":[1]}`)
	if b := s.do("POST", path(done, "/retry"), ""); outcome(done) != "all_succeeded" || b.status != 409 || !strings.Contains(string(b.body), "nothing-to-retry") {
		t.Errorf("a retry of a job with outcome %s: %d %s", outcome(done), b.status, b.body)
	}
	s.do("POST", path(again, "/cancel"), "")

	// A job that has not begun is retried as it is; a sum has no items.
	for body, want := range map[string]string{
		`{"kind":"sleep_batch","count":5,"duration":"1s","start_after":"1h"}`:                              "map[count:5 duration:1s kind:sleep_batch priority:normal retention:24h0m0s]",
		`{"kind":"squares","range":{"start":3,"stop":6},"start_after":"1h"}`:                               "map[kind:squares numbers:[3 4 5] priority:normal retention:24h0m0s]",
		`{"kind":"array_sum","array":{"source":"ones","shape":[2]},"start_after":"1h","labels":{"a":"b"}}`: "map[array:map[shape:[2] source:ones] kind:array_sum labels:map[a:b] priority:normal retention:24h0m0s]",
	} {
		j := s.stopped(body, 0)
		again := decode[api.Job](t, s.do("POST", path(j, "/retry"), "").body)
		if got := fmt.Sprint(decode[map[string]any](t, s.do("GET", path(again, "/submission"), "").body)); got != want || outcome(j) != "all_failed" {
			t.Errorf("%s: outcome %s, submitted again as %s, want all_failed and %s", body, outcome(j), got, want)
		}
	}
}

// withFailedItems shows the jobs of a journal with some items that failed.
type withFailedItems struct{ logOfItems }

// logOfItems has another name, because Log is one of its methods.
type logOfItems interface{ api.Log }

func (w withFailedItems) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error) {
	items, err := w.logOfItems.ItemsByIndex(ctx, id, after, min(limit, 7))
	for i := range items {
		if items[i].Index%10 == 3 {
			items[i].Err = "503"
		}
	}
	return items, err
}

type withFailures struct{ api.Jobs }

func (w withFailures) Get(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	j, err := w.Jobs.Get(ctx, tenant, id)
	if j.State == job.Succeeded && j.Progress.Total == 100 {
		j.Progress.Completed, j.Progress.Failed = 90, 10
	}
	return j, err
}

// TestRetryFailedItems: of a job that succeeded with some failed items these are run again.
func TestRetryFailedItems(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.Log, c.Jobs = withFailedItems{c.Log}, withFailures{c.Jobs} })
	j := s.finished(`{"kind":"squares","range":{"stop":100}}`)
	if outcome(j) != "some_failed" {
		t.Errorf("outcome %s, want some_failed", outcome(j))
	}
	again := decode[api.Job](t, s.do("POST", path(j, "/retry"), "").body)
	shown := decode[map[string]any](t, s.do("GET", path(again, "/submission"), "").body)
	if got := fmt.Sprint(shown["numbers"]); got != "[3 13 23 33 43 53 63 73 83 93]" {
		t.Errorf("the items %s are run again", got)
	}
}
