package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// anyNode submits to one node and sends all other requests to the others.
func (s *suite) anyNode(t *testing.T) {
	f := s.cluster(t, 3, longNodeTimeout)
	ctx := f.context()

	// Immediately: a node that lags waits for the log instead of responding 404.
	const clients, jobs = 16, 480
	ids := make([]string, jobs, jobs+3)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < jobs; i += clients {
				if err := f.readElsewhere(ctx, i, &ids[i]); err != nil {
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
		a, err := f.client(2).wait(ctx, v.ID)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := f.client(1).wait(ctx, v.ID); err != nil || a.outcome() != b.outcome() {
			t.Errorf("node 2 returns %s, node 1 %s, %v", a.outcome(), b.outcome(), err)
		}
		if got := f.status(ctx, 1, http.MethodGet, "/v1/jobs/"+v.ID+"/results?order=index", ""); got != http.StatusOK {
			t.Errorf("results by index: %d", got)
		}
		ids = append(ids, v.ID)
	}
	f.verify(ctx)
	f.pages(ctx, ids)
	f.cancelAndDelete(ctx)
	f.bulk(ctx)
	f.groups(ctx)
}

// readElsewhere submits a job to one node and immediately reads it from the others.
func (f *testCluster) readElsewhere(ctx context.Context, i int, id *string) error {
	o := numbersOrder(int64(i))
	v, _, err := f.client(i).submit(ctx, &o, o.body, "")
	if *id = v.ID; err != nil {
		return err
	}
	for k := 1; k < len(f.nodes); k++ {
		path := [...]string{"", "/events", "/results"}[i%3]
		at := (i + k) % len(f.nodes)
		ctx, cancel := context.WithCancel(ctx)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.nodes[at].url("/v1/jobs/"+v.ID+path), nil)
		if err == nil {
			var resp *http.Response
			if resp, err = f.clients[at].http.Do(req); err == nil {
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

// resume follows a job at node 1, disconnects in the middle, and resumes at node 2.
func (f *testCluster) resume(ctx context.Context, id, media string) {
	f.t.Helper()
	var r reading
	c := f.client(1)
	if _, err := c.followOnce(ctx, id, media, &r, 4); err != nil {
		f.t.Fatalf("%s at node 1: %v", media, err)
	}
	before := len(r.seqs)
	c.hop()
	if _, err := c.followOnce(ctx, id, media, &r, -1); err != nil || !r.whole || before == 0 || len(r.seqs) == before {
		f.t.Errorf("%s at node 2: %v; whole: %t, %d events after %d", media, err, r.whole, len(r.seqs), before)
	}
	f.add(&observation{node: 2, job: id, read: &r})
}

// pages lists jobs, each page from another node.
func (f *testCluster) pages(ctx context.Context, want []string) {
	f.t.Helper()
	var got []string
	path := "/v1/jobs?page_size=10"
	for i := 0; path != ""; i++ {
		a, err := f.clients[i%3].do(ctx, http.MethodGet, path, "")
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
		f.t.Errorf("got %d jobs over all nodes, want %d", len(got), len(want))
	}
}

// cancelAndDelete cancels a job of node 0 through node 1, and deletes it through node 2.
func (f *testCluster) cancelAndDelete(ctx context.Context) {
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
		if v, err := f.client(2).wait(ctx, v.ID); err != nil || v.State != "cancelled" {
			f.t.Fatalf("%s: %s, %v", body, v.State, err)
		}
		// The tasks have stopped. A node that was about to start one must not.
		for i := range f.nodes {
			f.until(ctx, 2*time.Minute, body+": a node still runs it after the cancel", func(ctx context.Context) (bool, any) {
				m, err := f.self(ctx, i)
				return err == nil && !m.runs(v.ID), []any{m, err}
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

// keys tests that an idempotency key creates one job, whichever nodes receive it, sequentially or concurrently.
func (s *suite) keys(t *testing.T) {
	f := s.cluster(t, 3, longNodeTimeout)
	ctx := f.context()
	o := numbersOrder(1)
	v := f.accept(ctx, 0, &o, o.body, "one")
	for i := range f.nodes {
		if again, replayed, err := f.client(i).submit(ctx, &o, o.body, "one"); err != nil || !replayed || again.ID != v.ID {
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
				if _, _, err := f.client(i).submit(ctx, &o, o.body, fmt.Sprintf("key-%d", k)); err != nil {
					t.Errorf("key %d at node %d: %v", k, i%3, err)
				}
			})
		}
	}
	wg.Wait()
	// The same key concurrently with two bodies: one of them wins on all nodes.
	const bodies = 10
	var mu sync.Mutex
	won := make(map[int]map[int64]int)
	for k := range bodies {
		won[k] = make(map[int64]int)
		for i := range copies {
			wg.Go(func() {
				o := numbersOrder(int64(i % 2))
				_, _, err := f.client(i).submit(ctx, &o, o.body, fmt.Sprintf("torn-%d", k))
				if err != nil && !errors.Is(err, errResponse) {
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
		a, err := f.client(i).try(ctx, http.MethodPost, "/v1/jobs:batch", batch, "Idempotency-Key", "batch")
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
		if listed, err := f.clients[i].list(ctx); err != nil || len(listed) != want {
			t.Errorf("node %d lists %d jobs, want %d; %v", i, len(listed), want, err)
		}
	}
}

func numbersOrderBody(i int64) string {
	o := numbersOrder(i)
	return o.body
}

// bulk cancels jobs of all nodes through node 1 as soon as they are accepted, and deletes them through node 2.
func (f *testCluster) bulk(ctx context.Context) {
	f.t.Helper()
	const jobs = 30
	for i := range jobs {
		f.accept(ctx, i%3, nil, `{"kind":"sleep_batch","count":1,"duration":"10m","labels":{"bulk":"yes"}}`, "")
	}
	for _, step := range []struct {
		node             int
		request          string
		matched, changed int64
	}{
		{1, "cancel?label=bulk:yes&validate_only=true", jobs, 0},
		{1, "cancel?label=bulk:yes", jobs, jobs},
		{2, "cancel?label=bulk:yes", 0, 0},
		{2, "delete?label=bulk:yes", jobs, jobs},
		{0, "delete?label=bulk:yes", 0, 0},
	} {
		if step.matched == jobs && step.node == 2 {
			f.ended(ctx, step.node, "/v1/jobs?label=bulk:yes&state=queued&state=running&state=cancelling")
		}
		a, err := f.clients[step.node].do(ctx, http.MethodPost, "/v1/jobs:"+step.request, "")
		if err != nil {
			f.t.Fatal(err)
		}
		var got struct {
			Matched, Changed int64
		}
		if err := a.unmarshal(&got); err != nil || got.Matched != step.matched || got.Changed != step.changed {
			f.t.Errorf("%s through node %d: matched %d, changed %d, %v; want %d and %d", step.request, step.node, got.Matched, got.Changed, err, step.matched, step.changed)
		}
	}
}

// ended waits until a list is empty at a node.
func (f *testCluster) ended(ctx context.Context, node int, list string) {
	f.t.Helper()
	for {
		a, err := f.clients[node].do(ctx, http.MethodGet, list, "")
		if err != nil {
			f.t.Fatal(err)
		}
		var page struct {
			Jobs []view `json:"jobs"`
		}
		if err := a.unmarshal(&page); err != nil {
			f.t.Fatal(err)
		}
		if len(page.Jobs) == 0 {
			return
		}
		if _, err := f.client(node).wait(ctx, page.Jobs[0].ID); err != nil {
			f.t.Fatal(err)
		}
	}
}

// groups submits jobs of one group to all nodes. Each node counts all of them, and has their ends in the same order under the same
// numbers.
func (f *testCluster) groups(ctx context.Context) {
	f.t.Helper()
	const jobs = 60
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() {
			f.accept(ctx, i%3, nil, fmt.Sprintf(`{"kind":"sleep_batch","durations":["%dms"],"group":"shared"}`, i%7), "")
		})
	}
	wg.Wait()
	var first string
	for i := range f.nodes {
		var group struct {
			Jobs       map[string]int
			FinishedAt *time.Time `json:"finished_at"`
		}
		f.until(ctx, 2*time.Minute, "the group ends", func(ctx context.Context) (bool, any) {
			a, err := f.clients[i].do(ctx, http.MethodGet, "/v1/groups/shared", "", "Prefer", "wait=10")
			if err == nil {
				err = a.unmarshal(&group)
			}
			return err == nil && group.FinishedAt != nil, []any{group, err}
		})
		if group.Jobs["succeeded"] != jobs || group.Jobs["total"] != jobs {
			f.t.Errorf("node %d counts %v, want %d succeeded", i, group.Jobs, jobs)
		}
		a, err := f.clients[i].do(ctx, http.MethodGet, "/v1/groups/shared/events", "", "Accept", "application/x-ndjson")
		if err != nil {
			f.t.Fatal(err)
		}
		ends := ""
		for line := range bytes.Lines(a.body) {
			var e struct {
				Seq  uint64
				Data struct{ ID string }
			}
			if err := json.Unmarshal(line, &e); err != nil {
				f.t.Fatal(err)
			}
			if e.Seq > 0 {
				ends += fmt.Sprintln(e.Seq, e.Data.ID)
			}
		}
		if first == "" {
			first = ends
		}
		if n := strings.Count(ends, "\n"); n != jobs || ends != first {
			f.t.Errorf("node %d has %d ends\n%s, want as node 0\n%s", i, n, ends, first)
		}
	}
}
