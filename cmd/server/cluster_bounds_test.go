package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gather/internal/tenant"
)

// bounds tests that the queue's bound and a tenant's quota are exact over all nodes: no job more and none less.
func (s *suite) bounds(t *testing.T) {
	const queue, quota = 20, 7
	keys := filepath.Join(t.TempDir(), "keys.json")
	add := func(name string, most int) (header string) {
		key, text, err := tenant.Generate(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		key.MaxQueued = most
		if err := tenant.AddToFile(keys, key); err != nil {
			t.Fatal(err)
		}
		return "Bearer " + text
	}
	small, large := add("small", quota), add("large", 0)
	f := s.cluster(t, 3, longNodeTimeout, "--workers=1", fmt.Sprintf("--queue-jobs=%d", queue), "--api-keys="+keys)
	ctx := f.context()

	// submit submits n jobs concurrently to all nodes and returns the count of each status, and an accepted job.
	submit := func(auth string, n int) (map[int]int, string) {
		var mu sync.Mutex
		var id string
		statuses := make(map[int]int)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				a, err := f.clients[i%3].try(ctx, http.MethodPost, "/v1/jobs", `{"kind":"sleep_batch","count":1,"duration":"1h"}`,
					"Authorization", auth)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if statuses[a.status]++; a.status == http.StatusAccepted {
					id = filepath.Base(a.header.Get("Location"))
				} else if a.header.Get("Retry-After") == "" {
					t.Errorf("%d without Retry-After", a.status)
				}
			})
		}
		wg.Wait()
		return statuses, id
	}
	want := func(what string, got map[int]int, accepted, status, rejected int) {
		t.Helper()
		if got[http.StatusAccepted] != accepted || got[status] != rejected {
			t.Errorf("%s: %v, want %d accepted and %d times %d", what, got, accepted, rejected, status)
		}
	}
	got, first := submit(small, 45)
	want("a quota", got, quota, http.StatusTooManyRequests, 45-quota)
	got, _ = submit(large, 60)
	want("the queue", got, queue-quota, http.StatusServiceUnavailable, 60-queue+quota)
	got, _ = submit(large, 9)
	want("the full queue", got, 0, http.StatusServiceUnavailable, 9)

	// When one ends, on any node, one more is accepted.
	if got := f.status(ctx, 2, http.MethodPost, "/v1/jobs/"+first+"/cancel", "", "Authorization", small); got != http.StatusAccepted && got != http.StatusOK {
		t.Fatalf("cancel: %d", got)
	}
	for {
		a, err := f.clients[1].try(ctx, http.MethodGet, "/v1/jobs/"+first, "", "Authorization", small, "Prefer", "wait=5")
		var v view
		if err == nil {
			err = a.unmarshal(&v)
		}
		if err != nil {
			t.Fatal(err)
		}
		if v.terminal() {
			break
		}
	}
	got, _ = submit(small, 12)
	if n := got[http.StatusAccepted]; n != 1 {
		t.Errorf("one job ended, and %d were accepted: %v", n, got)
	}
	// A tenant sees only its own jobs, on every node.
	for i := range f.nodes {
		if got := f.status(ctx, i, http.MethodGet, "/v1/jobs/"+first, "", "Authorization", large); got != http.StatusNotFound {
			t.Errorf("node %d shows the job of another tenant: %d", i, got)
		}
	}
}
