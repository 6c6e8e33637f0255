package main

import (
	"context"
	"path/filepath"
	"testing"
)

// spread shows that the tasks of a job run on several nodes, and that its result is the same as that of a server by
// itself, bit for bit.
func (s *suite) spread(t *testing.T) {
	f := s.fleet(t, 3, "--workers=1")
	ctx := f.context()
	const sum = `{"kind":"array_sum","array":{"source":"random","seed":7,"shape":[2000000,1000],"chunks":[1000,1000]}}`
	srv, stop := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"))
	p := &process{t: t}
	base := "http://" + srv.apiListener.Addr().String()
	p.base.Store(&base)
	alone := newClient(p)
	v, _, err := alone.submit(ctx, sum)
	if err == nil {
		v, err = alone.wait(ctx, v.ID)
	}
	alone.http.CloseIdleConnections()
	stop()
	if err != nil || v.State != "succeeded" {
		t.Fatalf("by itself: %s, %v", v.outcome(), err)
	}

	sleeps := make([]int, 8*16384)
	for i := range sleeps {
		sleeps[i] = 3000 + i%7
	}
	for _, tt := range []struct {
		name  string
		order order
	}{
		{"array_sum", order{body: sum, result: string(v.Result)}},
		{"squares", rangeOrder(5, 1_000_000)},
		{"sleep_batch", sleepOrder(sleeps)},
	} {
		v := f.accept(ctx, 0, &tt.order, tt.order.body, "")
		at := f.holders(ctx, v.ID)
		t.Logf("%s: nodes %v had tasks of it", tt.name, at)
		if len(at) < 2 {
			t.Errorf("%s: only nodes %v had tasks of it", tt.name, at)
		}
		if tt.name == "sleep_batch" {
			f.shown(ctx, v.ID)
		}
		done, items, err := f.caller(1).results(ctx, v.ID)
		if err != nil {
			t.Fatal(err)
		}
		if tt.name == "array_sum" && string(done.Result) != tt.order.result {
			t.Errorf("by one the sum is %s, by three %s", tt.order.result, done.Result)
		}
		t.Logf("%s: %d items in %s", tt.name, len(items), done.FinishedAt.Sub(*done.StartedAt))
	}
	f.verify(ctx)
}

// holders returns the nodes that say that they have tasks of a job, until all are among them or it is finished.
func (f *fleet) holders(ctx context.Context, id string) map[int]bool {
	f.t.Helper()
	at := make(map[int]bool)
	for len(at) < len(f.nodes) {
		for i := range f.nodes {
			m, err := f.self(ctx, i)
			if err != nil {
				f.t.Fatal(err)
			}
			if m.works(id) {
				at[i] = true
			}
		}
		if v, err := f.caller(0).get(ctx, id); err != nil || v.terminal() {
			if err != nil {
				f.t.Fatal(err)
			}
			break
		}
	}
	return at
}

// shown waits until one node shows that another has tasks of a job.
func (f *fleet) shown(ctx context.Context, id string) {
	f.t.Helper()
	f.until(ctx, ackWait*5, "a node shows who has tasks", func(ctx context.Context) (bool, any) {
		all, err := f.members(ctx, 0)
		for _, m := range all {
			if !m.Self && m.works(id) {
				return true, nil
			}
		}
		return false, []any{all, err}
	})
}
