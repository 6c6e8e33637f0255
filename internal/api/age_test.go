package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

// replica has the age and the barrier that the test sets.
type replica struct {
	age          atomic.Int64
	disconnected atomic.Bool
	barriers     atomic.Int64
}

func (r *replica) Age() time.Duration { return time.Duration(r.age.Load()) }

func (r *replica) ReadBarrier(context.Context) error {
	r.barriers.Add(1)
	if r.disconnected.Load() {
		return &job.Rejection{Err: job.ErrStorage, Reason: "log-disconnected", Detail: "no connection to NATS", RetryAfter: 3 * time.Second}
	}
	return nil
}

func (r *replica) use(_ *service, c *api.Config) { c.Replica = r }

// Reads on a node have the age of its replica. A request that requires a later state gets the latest one, or 503 while
// the node is disconnected from the log.
func TestAge(t *testing.T) {
	r := new(replica)
	c := newContract(t)
	client := &http.Client{Transport: c}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	s := newService(t, r.use)
	done := s.finished(`{"kind":"array_sum","array":{"source":"ones","shape":[2,2]},"axis":0}`)
	live := s.running()
	r.age.Store(int64(42*time.Second + 900*time.Millisecond))
	etag := s.do("GET", path(done, ""), "").Header.Get("Etag")
	targets := []struct {
		target  string
		headers []string
		status  int
	}{
		{path(live, ""), nil, 200},
		{path(done, ""), []string{"If-None-Match: " + etag}, 304},
		{"/v1/jobs", nil, 200},
		{path(live, "/results"), nil, 200},
		{path(live, "/results"), []string{"Accept: application/x-ndjson"}, 200},
		{path(done, "/results"), []string{"Accept: application/x-npy"}, 200},
	}
	for _, disconnected := range []bool{false, true} {
		r.disconnected.Store(disconnected)
		for _, control := range []struct {
			value  string
			latest bool // the request requires the latest state
		}{
			{"", false},
			{"max-age=43", false},
			{"no-store", false},
			{"max-age=old", false},
			{"no-cache", true},
			{"max-age=42", true},
			{"max-age=0", true},
			{`no-transform, Max-Age="7"`, true},
			{"max-age=100, no-cache", true},
		} {
			for _, g := range targets {
				r.barriers.Store(0)
				headers := g.headers
				if control.value != "" {
					headers = append(slices.Clip(headers), "Cache-Control: "+control.value)
				}
				a := s.through(client, "GET", g.target, "", headers...)
				status, age, barriers := g.status, "42", int64(0)
				if control.latest {
					barriers = 1
				}
				if control.latest && disconnected {
					status, age = 503, ""
					if a.Header.Get("Retry-After") != "3" || !strings.Contains(string(a.body), "/problems/storage-unavailable") {
						t.Errorf("%s %q: got Retry-After %q and %s, want 3 and storage-unavailable", g.target, headers, a.Header.Get("Retry-After"), a.body)
					}
				}
				if got := a.Header.Get("Age"); a.status != status || got != age || r.barriers.Load() != barriers {
					t.Errorf("disconnected %t, %s %q: got %d, Age %q, %d barriers; want %d, %q, %d",
						disconnected, g.target, headers, a.status, got, r.barriers.Load(), status, age, barriers)
				}
			}
		}
		if a := s.through(client, "GET", path(done, fmt.Sprintf("/events?after=%d", s.last(done))), ""); a.status != 204 || a.Header.Get("Age") != "42" {
			t.Errorf("disconnected %t, events behind the last: got %d, Age %q; want 204 and 42", disconnected, a.status, a.Header.Get("Age"))
		}
		// An EventSource sends no-cache with each request, and gives up after an error.
		for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
			a := s.through(client, "GET", path(done, "/events"), "", "Accept: "+accept, "Cache-Control: no-cache")
			if a.status != 200 || a.Header.Get("Age") != "42" || !strings.Contains(string(a.body), "succeeded") {
				t.Errorf("disconnected %t, events as %s: got %d, Age %q: %s; want 200, 42 and the end", disconnected, accept, a.status, a.Header.Get("Age"), a.body)
			}
		}
	}
}

// No-cache requires the latest state however young the replica is; a request that allows its age does not wait.
func TestAgeOfYoungReplica(t *testing.T) {
	r := new(replica)
	s := newService(t, r.use)
	j := s.running()
	for control, want := range map[string]int64{"no-cache": 1, "max-age=0": 1, "max-age=1": 0} {
		r.barriers.Store(0)
		a := s.do("GET", path(j, ""), "", "Cache-Control: "+control)
		if got := r.barriers.Load(); a.status != 200 || a.Header.Get("Age") != "0" || got != want {
			t.Errorf("%s: got %d, Age %q, %d barriers; want 200, 0, %d", control, a.status, a.Header.Get("Age"), got, want)
		}
	}
}

// A server outside a cluster has no replica: its responses have no Age, and every state is current enough.
func TestNoAge(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","numbers":[1,2]}`)
	for _, target := range []string{path(j, ""), "/v1/jobs", path(j, "/results"), path(j, "/events")} {
		if a := s.do("GET", target, "", "Cache-Control: no-cache"); a.status != 200 || len(a.Header.Values("Age")) > 0 {
			t.Errorf("%s: got %d, Age %q; want 200 without Age", target, a.status, a.Header.Values("Age"))
		}
	}
}

// A wait on a node that is disconnected at its start or at its end is 503. A finished job stays available.
func TestWaitCutOff(t *testing.T) {
	for _, c := range []struct {
		name               string
		disconnected, heal time.Duration // when; negative for never
		finishes, known    bool
		status             int
		took               time.Duration
	}{
		{"connected", -1, -1, false, false, 200, 7 * time.Second},
		{"disconnected before", 0, -1, false, false, 503, 0},
		{"disconnected before, with a newer ETag", 0, -1, false, true, 503, 0},
		{"disconnected meanwhile", 2 * time.Second, -1, false, false, 503, 7 * time.Second},
		{"disconnected and healed meanwhile", 2 * time.Second, 5 * time.Second, false, false, 200, 7 * time.Second},
		{"finished before", 0, -1, true, false, 200, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				r := new(replica)
				s, h := newStill(t, func(c *api.Config) { c.Replica = r })
				if c.finishes {
					s.apply(job.Started{At: time.Now()})
					s.apply(job.Finished{State: job.Succeeded, At: time.Now()})
				}
				r.disconnected.Store(c.disconnected == 0)
				if c.disconnected > 0 {
					time.AfterFunc(c.disconnected, func() { r.disconnected.Store(true) })
				}
				if c.heal > 0 {
					time.AfterFunc(c.heal, func() { r.disconnected.Store(false) })
				}
				req := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/jobs/"+s.job.ID.String(), nil)
				req.Header.Set("Prefer", "wait=7")
				if c.known {
					req.Header.Set("If-None-Match", `W/"9"`)
				}
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, req)
				if w.Code != c.status || time.Since(began) != c.took {
					t.Errorf("got %d after %s, want %d after %s: %s", w.Code, time.Since(began), c.status, c.took, w.Body)
				}
			})
		})
	}
}

// A stream on a disconnected node ends with a comment but no end event, so that its client reconnects.
func TestEventsCutOff(t *testing.T) {
	const comment = ": this node is cut off"
	for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, before %t", accept, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // time is the subject
					r := new(replica)
					s, h := newStill(t, func(c *api.Config) { c.Replica = r })
					cut := func() { r.age.Store(int64(11 * time.Second)) }
					want := time.Duration(0)
					if before {
						cut()
					} else {
						r.age.Store(int64(9 * time.Second))
						time.AfterFunc(16*time.Second, cut)
						want = 30 * time.Second // with the second keep-alive
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					req := httptest.NewRequestWithContext(ctx, "GET", "/v1/jobs/"+s.job.ID.String()+"/events", nil)
					req.Header.Set("Accept", accept)
					w := httptest.NewRecorder()
					began := time.Now()
					func() {
						defer func() { _ = recover() }() // of a stream that lasts until its client disconnects
						h.ServeHTTP(w, req)
					}()
					body := w.Body.String()
					if w.Code != 200 || time.Since(began) != want {
						t.Errorf("got %d after %s, want 200 after %s", w.Code, time.Since(began), want)
					}
					if !strings.Contains(body, "queued") || strings.Contains(body, "end") {
						t.Errorf("got %s, want the first event and no end", body)
					}
					if sse := accept == "text/event-stream"; strings.Contains(body, comment) != sse {
						t.Errorf("got a comment %t, want %t: %s", !sse, sse, body)
					}
				})
			})
		}
	}
}

// A cursor beyond the job's log is 503 while the node is disconnected, because another node may have returned it.
func TestCursorCutOff(t *testing.T) {
	r := new(replica)
	s := newService(t, r.use)
	j := s.running()
	after := s.last(j) + 5
	r.disconnected.Store(true)
	for _, target := range []string{"/events", "/results"} {
		if a := s.do("GET", path(j, fmt.Sprintf("%s?after=%d", target, after)), ""); a.status != 503 || a.Header.Get("Retry-After") != "3" {
			t.Errorf("%s: got %d, Retry-After %q, want 503 and 3: %s", target, a.status, a.Header.Get("Retry-After"), a.body)
		}
	}
}
