package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/tenant"
)

// TestRevoke tests that revoking a key ends all open requests with it, and no others.
func TestRevoke(t *testing.T) {
	key, text, err := tenant.Generate("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, otherText, err := tenant.Generate("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store, err := tenant.NewStore([]tenant.Key{key, other})
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, func(s *service, c *api.Config) { c.Tenants, s.key = store, text })
	j := s.running()

	open := func(key, target, accept string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path(j, target), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Accept", accept)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	//nolint:bodyclose // the streams end with their key, or with the server
	events, lines := open(text, "/events", "text/event-stream"), open(text, "/events", "application/x-ndjson")
	stays := open(otherText, "/events", "text/event-stream")
	waited := make(chan response, 1)
	go func() { waited <- s.do("GET", path(j, ""), "", "Prefer: wait=30") }()
	part, body := io.Pipe()
	uploaded := make(chan *http.Response, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/v1/arrays/a", part)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+text)
		req.Header.Set("Content-Type", "application/x-npy")
		resp, err := s.Client().Do(req) //nolint:bodyclose // its reader closes it
		if err != nil {
			t.Error(err)
		}
		uploaded <- resp
	}()
	file := npyFile(t, 100)
	if _, err := io.WriteString(body, file[:200]); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return s.gauge("gather_http_streams_open") == 5 })

	if err := store.Replace([]tenant.Key{other}); err != nil {
		t.Fatal(err)
	}
	for name, resp := range map[string]*http.Response{"events": events, "NDJSON": lines} {
		if data, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s ended without an error after %q; want a cut connection", name, data)
		}
		_ = resp.Body.Close()
	}
	if a := <-waited; a.status != 401 {
		t.Errorf("the wait: %d, want 401: %s", a.status, a.body)
	}
	_, _ = io.WriteString(body, file[200:]) // fails if the server has already responded
	_ = body.Close()
	if resp := <-uploaded; resp != nil {
		if resp.StatusCode != 401 {
			t.Errorf("the upload: %d, want 401", resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
	if a := s.do("GET", "/v1/jobs", ""); a.status != 401 {
		t.Errorf("a request with the revoked key: %d, want 401", a.status)
	}
	s.key = otherText
	if a := s.do("GET", "/v1/arrays/a", ""); a.status != 404 {
		t.Errorf("the array of the upload: %d, want 404", a.status)
	}
	if a := s.do("POST", path(j, "/cancel"), ""); a.status >= 300 {
		t.Fatalf("cancel: %d: %s", a.status, a.body)
	}
	data, err := io.ReadAll(stays.Body)
	if err != nil || !strings.Contains(string(data), "event: end") {
		t.Errorf("the stream of the key that stays: %q, %v; want it until the end", data, err)
	}
	_ = stays.Body.Close()
}

// TestBatchBeyondRate tests that a batch larger than the rate allows is rejected without Retry-After.
func TestBatchBeyondRate(t *testing.T) {
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 2, Window: tenant.Window(time.Hour)} }))
	batch := func(n int) string {
		return `{"jobs":[` + strings.TrimSuffix(strings.Repeat(`{"kind":"squares","numbers":[1]},`, n), ",") + `]}`
	}
	a := s.do("POST", "/v1/jobs:batch", batch(3), "Idempotency-Key: k")
	p := decode[api.Problem](t, a.body)
	if a.status != 422 || a.Header.Get("Retry-After") != "" || p.Errors == nil || *(*p.Errors)[0].Pointer != "/jobs" ||
		!strings.Contains((*p.Errors)[0].Detail, "split the batch") {
		t.Errorf("3 jobs of at most 2: %d, Retry-After %q, want 422 without: %s", a.status, a.Header.Get("Retry-After"), a.body)
	}
	if a := s.do("POST", "/v1/jobs:batch", batch(2), "Idempotency-Key: k"); a.status != 202 {
		t.Errorf("2 jobs with the same key: %d, want 202: %s", a.status, a.body)
	}
	if a := s.do("POST", "/v1/jobs:batch", batch(2)); a.status != 429 || a.Header.Get("Retry-After") == "" {
		t.Errorf("2 more: %d, Retry-After %q; want 429 with: %s", a.status, a.Header.Get("Retry-After"), a.body)
	}
	if jobs, _, err := s.journal.List(t.Context(), job.Query{Tenant: "acme", Limit: 9}); err != nil || len(jobs) != 2 {
		t.Errorf("%d jobs, %v; want 2", len(jobs), err)
	}
}
