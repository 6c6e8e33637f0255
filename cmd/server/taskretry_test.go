package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gather/client"
)

// An outage is an object store with one .npy file. While it is down, it rejects all reads but those of submissions, with a status that
// the client of S3 does not repeat itself.
type outage struct {
	*httptest.Server
	down atomic.Bool
	body string // a sum of the file, whose tasks are attempted until the store is back
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	file := float64s(t, 200_000)
	o := new(outage)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var lo, hi int64
		_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi)
		if r.Method == http.MethodGet && (err != nil || hi-lo >= headPiece) && o.down.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", `"v"`)
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(file))
	}))
	t.Cleanup(o.Close)
	o.down.Store(true)
	o.body = `{"kind":"array_sum","array":{"source":"npy","url":"s3://data/x.npy"},"retry":{"attempts":100,"backoff":"100ms","max_backoff":"1s"}}`
	return o
}

// flag returns the flag that allows the store.
func (o *outage) flag() string { return "--array-bucket=s3://data?region=r&endpoint=" + o.URL }

const sumOfOutage = "19999920000.0" // of i + 0.1 for i < 200000, exactly rounded

// jobOf returns a job.
func jobOf(ctx context.Context, t *testing.T, c *testClient, id string) (j client.Job) {
	t.Helper()
	a, err := c.do(ctx, http.MethodGet, "/v1/jobs/"+id, "")
	if err == nil {
		err = json.Unmarshal(a.body, &j)
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// awaitRetries waits until at least n attempts of a job have failed, and returns the job.
func awaitRetries(ctx context.Context, t *testing.T, c *testClient, id string, n int64) client.Job {
	t.Helper()
	var j client.Job
	until(ctx, t, 5*time.Minute, fmt.Sprintf("%d attempts have failed", n), func(ctx context.Context) (bool, any) {
		j = jobOf(ctx, t, c, id)
		return j.Retries >= n && j.Retrying != nil, j.Retries
	})
	if j.State != client.StateRunning || !strings.Contains(j.Retrying.Error, "reading the array failed") {
		t.Fatalf("the job is %s, retrying %+v; want running, and why", j.State, j.Retrying)
	}
	return j
}

// checkRetried checks that a job has succeeded, and that its events have every attempt, numbered without gaps.
func checkRetried(ctx context.Context, t *testing.T, c *testClient, id string) {
	t.Helper()
	v, err := c.wait(ctx, id)
	if err != nil || v.State != "succeeded" || string(v.Result) != sumOfOutage {
		t.Fatalf("the job is %s, %v, want succeeded with %s", v.outcome(), err, sumOfOutage)
	}
	j := jobOf(ctx, t, c, id)
	a, err := c.do(ctx, http.MethodGet, "/v1/jobs/"+id+"/events", "", "Accept", "application/x-ndjson")
	if err != nil {
		t.Fatal(err)
	}
	retries := int64(0)
	for line := range bytes.Lines(a.body) {
		var e struct {
			Event string
			Data  client.RetryEvent
		}
		if json.Unmarshal(line, &e) == nil && e.Event == "retry" {
			if retries++; e.Data.Attempts != retries || e.Data.Task != 0 {
				t.Errorf("event %d is %+v, want one for each attempt", retries, e.Data)
			}
		}
	}
	if j.Retries != retries || j.Retrying != nil {
		t.Errorf("the job has %d retries, the last one %+v, and %d events; want none, and as many", j.Retries, j.Retrying, retries)
	}
}

// A job whose bucket cannot be read waits for it, through kill -9, and fails after its last attempt.
func TestTaskRetries(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	p := startProcess(t, o.flag())
	c := newClient(p)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	v, err := c.submit(ctx, o.body)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before := awaitRetries(ctx, t, c, v.ID, jobOf(ctx, t, c, v.ID).Retries+2).Retries
		p.kill()
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		if after := jobOf(ctx, t, c, v.ID).Retries; after < before {
			t.Errorf("%d attempts after the kill, %d before", after, before)
		}
	}
	once, err := c.submit(ctx, strings.Replace(o.body, `"attempts":100`, `"attempts":2`, 1))
	if err == nil {
		once, err = c.wait(ctx, once.ID)
	}
	if err != nil || once.State != "failed" || !strings.Contains(string(once.Error), "(2 attempts)") || !strings.Contains(string(once.Error), "job-failed") {
		t.Errorf("with two attempts: %s, %v; want job-failed", once.outcome(), err)
	}
	o.down.Store(false)
	checkRetried(ctx, t, c, v.ID)
}

// taskRetries tests that another node continues the attempts of a node that is killed.
func (s *suite) taskRetries(t *testing.T) {
	o := newOutage(t)
	f := s.cluster(t, 3, "--workers=1", o.flag())
	ctx := f.context()
	v, err := f.clients[0].submit(ctx, o.body)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range f.nodes {
		other := f.clients[(i+1)%3]
		before := awaitRetries(ctx, t, other, v.ID, jobOf(ctx, t, other, v.ID).Retries+2).Retries
		p.kill()
		awaitRetries(ctx, t, other, v.ID, before+2)
		f.start(p)
	}
	o.down.Store(false)
	for _, c := range f.clients {
		checkRetried(ctx, t, c, v.ID)
	}
}
