package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// anyNode submits to one node and does everything else at the others.
func (s *suite) anyNode(t *testing.T) {
	f := s.fleet(t, 3, noneDies)
	ctx := f.context()

	// At once: a node that has not read so far waits for the log instead of answering 404.
	const clients, jobs = 16, 480
	ids := make([]string, jobs, jobs+3)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < jobs; i += clients {
				if err := f.atOnce(ctx, i, &ids[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, order := range []order{rangeOrder(1, 20_000), sleepOrder([]int{300, 5, 150}), sumOrder(`{"source":"ones","shape":[1000,1000],"chunks":100}`, "1000000")} {
		v := f.accept(ctx, 0, &order, order.body, "")
		if order.items != 0 {
			f.resume(ctx, v.ID, ndjson)
			f.resume(ctx, v.ID, sse)
		}
		a, err := f.caller(2).wait(ctx, v.ID)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := f.caller(1).wait(ctx, v.ID); err != nil || a.outcome() != b.outcome() {
			t.Errorf("node 2 says %s, and node 1 %s, %v", a.outcome(), b.outcome(), err)
		}
		if got := f.status(ctx, 1, http.MethodGet, "/v1/jobs/"+v.ID+"/results?order=index", ""); got != http.StatusOK {
			t.Errorf("results in the order of the input: %d", got)
		}
		ids = append(ids, v.ID)
	}
	f.verify(ctx)
	f.pages(ctx, ids)
	f.cancelAndDelete(ctx)
}

// atOnce submits a job to one node and asks the others for it in the same moment.
func (f *fleet) atOnce(ctx context.Context, i int, id *string) error {
	o := numbersOrder(int64(i))
	v, _, err := f.caller(i).submit(ctx, &o, o.body, "")
	if *id = v.ID; err != nil {
		return err
	}
	for k := 1; k < len(f.nodes); k++ {
		path := [...]string{"", "/events", "/results"}[i%3]
		at := (i + k) % len(f.nodes)
		asked, cancel := context.WithCancel(ctx)
		req, err := http.NewRequestWithContext(asked, http.MethodGet, f.nodes[at].url("/v1/jobs/"+v.ID+path), nil)
		if err == nil {
			var resp *http.Response
			if resp, err = f.asks[at].http.Do(req); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s at node %d, right after node %d accepted the job: %s", path, at, i%len(f.nodes), resp.Status)
				}
			}
		}
		if cancel(); err != nil {
			return err
		}
	}
	return nil
}

// resume follows a job at node 1, breaks off in the middle, and goes on at node 2.
func (f *fleet) resume(ctx context.Context, id, media string) {
	f.t.Helper()
	var r reading
	c := f.caller(1)
	if _, err := c.followOnce(ctx, id, media, &r, 4); err != nil {
		f.t.Fatalf("%s at node 1: %v", media, err)
	}
	before := len(r.seqs)
	c.hop()
	if _, err := c.followOnce(ctx, id, media, &r, -1); err != nil || !r.whole || before == 0 || len(r.seqs) == before {
		f.t.Errorf("%s at node 2: %v; whole: %t, %d events after %d", media, err, r.whole, len(r.seqs), before)
	}
	f.add(&told{node: 2, job: id, read: &r})
}

// pages lists jobs, each page at another node.
func (f *fleet) pages(ctx context.Context, want []string) {
	f.t.Helper()
	var got []string
	path := "/v1/jobs?page_size=10"
	for i := 0; path != ""; i++ {
		a, err := f.asks[i%3].do(ctx, http.MethodGet, path, "")
		if err != nil {
			f.t.Fatal(err)
		}
		var page struct {
			Jobs []view  `json:"jobs"`
			Next *string `json:"next_page_token"`
		}
		if err := a.unmarshal(&page); err != nil {
			f.t.Fatal(err)
		}
		for _, v := range page.Jobs {
			got = append(got, v.ID)
		}
		if path = ""; page.Next != nil {
			path = "/v1/jobs?page_size=10&page_token=" + *page.Next
		}
	}
	slices.Reverse(got) // newest first
	if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		f.t.Errorf("listed over all nodes are %d jobs, want %d", len(got), len(want))
	}
}

// cancelAndDelete cancels a job of node 0 at node 1, and deletes it at node 2.
func (f *fleet) cancelAndDelete(ctx context.Context) {
	f.t.Helper()
	for _, body := range []string{
		`{"kind":"sleep_batch","count":50000,"duration":"10m"}`,
		`{"kind":"array_sum","array":{"source":"random","seed":7,"shape":[900000000,1000],"chunks":[1000,1000]}}`,
		`{"kind":"squares","numbers":[1],"start_after":"1h"}`,
	} {
		v := f.accept(ctx, 0, nil, body, "")
		path := "/v1/jobs/" + v.ID
		if got := f.status(ctx, 2, http.MethodDelete, path, ""); got != http.StatusConflict {
			f.t.Errorf("delete before the end: %d", got)
		}
		if got := f.status(ctx, 1, http.MethodPost, path+"/cancel", ""); got != http.StatusAccepted && got != http.StatusOK {
			f.t.Fatalf("cancel at another node: %d", got)
		}
		if v, err := f.caller(2).wait(ctx, v.ID); err != nil || v.State != "cancelled" {
			f.t.Fatalf("%s: %s, %v", body, v.State, err)
		}
		// The work has stopped. A node may have been about to ask whether it may begin; it may not.
		for i := range f.nodes {
			f.until(ctx, 2*time.Minute, body+": cancelled, a node still works on it", func(ctx context.Context) (bool, any) {
				m, err := f.self(ctx, i)
				return err == nil && !m.works(v.ID), []any{m, err}
			})
		}
		if got := f.status(ctx, 2, http.MethodPost, path+"/cancel", ""); got != http.StatusOK {
			f.t.Errorf("cancel again: %d", got)
		}
		if got := f.status(ctx, 2, http.MethodDelete, path, ""); got != http.StatusNoContent {
			f.t.Errorf("delete at another node: %d", got)
		}
		if got := f.status(ctx, 2, http.MethodGet, path, ""); got != http.StatusGone {
			f.t.Errorf("deleted: %d", got)
		}
		f.until(ctx, 2*time.Minute, "the deletion reaches node 0", func(ctx context.Context) (bool, any) {
			got := f.status(ctx, 0, http.MethodGet, path, "")
			if got != http.StatusOK && got != http.StatusGone {
				f.t.Fatalf("deleted at another node: %d", got)
			}
			return got == http.StatusGone, got
		})
	}
}

// keys shows that an idempotency key is good for one job, whichever nodes see it, one after the other or at once.
func (s *suite) keys(t *testing.T) {
	f := s.fleet(t, 3, noneDies)
	ctx := f.context()
	o := numbersOrder(1)
	v := f.accept(ctx, 0, &o, o.body, "one")
	for i := range f.nodes {
		if again, replayed, err := f.caller(i).submit(ctx, &o, o.body, "one"); err != nil || !replayed || again.ID != v.ID {
			t.Errorf("node %d: %s (replayed: %t), want %s; %v", i, again.ID, replayed, v.ID, err)
		}
		if got := f.status(ctx, i, http.MethodPost, "/v1/jobs", numbersOrderBody(2), "Idempotency-Key", "one"); got != http.StatusUnprocessableEntity {
			t.Errorf("node %d: another body: %d", i, got)
		}
	}

	const keys, copies = 40, 6
	var wg sync.WaitGroup
	for k := range keys {
		for i := range copies {
			wg.Go(func() {
				o := numbersOrder(int64(k))
				if _, _, err := f.caller(i).submit(ctx, &o, o.body, fmt.Sprintf("key-%d", k)); err != nil {
					t.Errorf("key %d at node %d: %v", k, i%3, err)
				}
			})
		}
	}
	wg.Wait()
	// The same key with two bodies at once: one of them wins everywhere.
	const bodies = 10
	var mu sync.Mutex
	won := make(map[int]map[int64]int)
	for k := range bodies {
		won[k] = make(map[int64]int)
		for i := range copies {
			wg.Go(func() {
				o := numbersOrder(int64(i % 2))
				_, _, err := f.caller(i).submit(ctx, &o, o.body, fmt.Sprintf("torn-%d", k))
				if err != nil && !errors.Is(err, errAnswer) {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won[k][int64(i%2)]++
				}
			})
		}
	}
	wg.Wait()
	for k, w := range won {
		if len(w) != 1 {
			t.Errorf("key torn-%d: both bodies, or none, were accepted: %v", k, w)
		}
	}

	const batch = `{"jobs":[{"kind":"squares","numbers":[1]},{"kind":"squares","numbers":[2]}]}`
	var first []string
	for i := range f.nodes {
		a, err := f.caller(i).try(ctx, http.MethodPost, "/v1/jobs:batch", batch, "Idempotency-Key", "batch")
		var v struct {
			Jobs []view `json:"jobs"`
		}
		if err != nil || json.Unmarshal(a.body, &v) != nil || len(v.Jobs) != 2 {
			t.Fatalf("batch at node %d: %v, %v", i, a, err)
		}
		got := []string{v.Jobs[0].ID, v.Jobs[1].ID}
		if replayed := a.header.Get("Idempotency-Replayed") == "true"; replayed != (i > 0) || i > 0 && !slices.Equal(got, first) {
			t.Errorf("batch at node %d: %v (replayed: %t), the first time %v", i, got, replayed, first)
		}
		first = got
	}
	f.verify(ctx)
	want := 1 + keys + bodies + 2
	for i := range f.nodes {
		if listed, err := f.asks[i].list(ctx); err != nil || len(listed) != want {
			t.Errorf("node %d lists %d jobs, want %d; %v", i, len(listed), want, err)
		}
	}
}

func numbersOrderBody(i int64) string {
	o := numbersOrder(i)
	return o.body
}
