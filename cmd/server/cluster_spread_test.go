package main

import (
	"context"
	"path/filepath"
	"testing"
)

// spread tests that the tasks of a job run on several nodes, with exactly the result of a single server.
func (s *suite) spread(t *testing.T) {
	f := s.cluster(t, 3, longNodeTimeout, "--workers=1")
	ctx := f.context()
	const sum = `{"kind":"array_sum","array":{"source":"random","seed":7,"shape":[500000,1000],"chunks":[1000,1000]}}`
	srv, stop := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"))
	p := &process{t: t}
	base := "http://" + srv.apiListener.Addr().String()
	p.base.Store(&base)
	single := newClient(p)
	v, err := single.submit(ctx, sum)
	if err == nil {
		v, err = single.wait(ctx, v.ID)
	}
	single.http.CloseIdleConnections()
	stop()
	if err != nil || v.State != "succeeded" {
		t.Fatalf("a single server: %s, %v", v.outcome(), err)
	}

	sleeps := make([]int, 6*16384)
	for i := range sleeps {
		sleeps[i] = 3000 + i%7
	}
	for _, tt := range []struct {
		name  string
		order order
	}{
		{"array_sum", order{body: sum, result: string(v.Result)}},
		{"squares", rangeOrder(5, 200_000)},
		{"sleep_batch", sleepOrder(sleeps)},
	} {
		v := f.accept(ctx, 0, &tt.order, tt.order.body, "")
		at, shown := f.holders(ctx, v.ID)
		t.Logf("%s: nodes %v had tasks of it; others showed %v", tt.name, at, shown)
		if len(at) < 2 {
			t.Errorf("%s: only nodes %v had tasks of it", tt.name, at)
		}
		// Nodes show each other's tasks with the delay of a heartbeat; other jobs may end sooner.
		if tt.name == "sleep_batch" && len(shown) == 0 {
			t.Errorf("%s: no node showed that another had tasks of it", tt.name)
		}
		done, items, err := f.client(1).results(ctx, v.ID)
		if err != nil {
			t.Fatal(err)
		}
		if tt.name == "array_sum" && string(done.Result) != tt.order.result {
			t.Errorf("on one node the sum is %s, on three %s", tt.order.result, done.Result)
		}
		t.Logf("%s: %d items in %s", tt.name, len(items), done.FinishedAt.Sub(*done.StartedAt))
	}
	f.verify(ctx)
}

// holders returns, after a job has finished, which nodes showed tasks of it, and on which other nodes they showed
// tasks.
func (f *testCluster) holders(ctx context.Context, id string) (at map[int]bool, shown map[string]bool) {
	f.t.Helper()
	at, shown = make(map[int]bool), make(map[string]bool)
	for {
		for i := range f.nodes {
			all, err := f.members(ctx, i)
			if err != nil {
				f.t.Fatal(err)
			}
			for _, m := range all {
				if m.runs(id) && m.Self {
					at[i] = true
				} else if m.runs(id) {
					shown[m.Name] = true
				}
			}
		}
		if v, err := f.client(0).get(ctx, id); err != nil || v.terminal() {
			if err != nil {
				f.t.Fatal(err)
			}
			return at, shown
		}
	}
}
