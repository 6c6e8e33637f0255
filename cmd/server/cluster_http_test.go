package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// requests tests that the requests of a job spread over the nodes, within the bounds of the job, that the death of a node
// loses none, and that none is sent after the job is cancelled.
func (s *suite) requests(t *testing.T) {
	r := newReceiver(t)
	r.takes = 10 * time.Millisecond
	f := s.cluster(t, 3, "--workers=1", "--http-allow=127.0.0.1")
	ctx := f.context()
	const n, concurrency = 4000, 33
	o := r.order(n, `,"concurrency":33,"rate":"2000/s"`)
	v := f.accept(ctx, 0, &o, o.body, "")
	r.reach(ctx, n/3)
	f.nodes[1].kill()
	_, items, err := f.client(2).results(ctx, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.check(t, &o, v.ID, items)
	if r.most > concurrency {
		t.Errorf("%d requests were in flight, want at most %d", r.most, concurrency)
	}
	f.start(f.nodes[1])

	before := r.count()
	sent := func(node int) float64 {
		n, err := f.metric(ctx, node, "gather_outbound_requests_total")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var first []float64
	for i := range f.nodes {
		first = append(first, sent(i))
	}
	endless := r.order(1_000_000, "")
	v = f.accept(ctx, 0, &endless, endless.body, "")
	r.reach(ctx, before+1000)
	for i := range f.nodes {
		f.until(ctx, 2*time.Minute, fmt.Sprintf("node %d sends requests", i), func(context.Context) (bool, any) {
			n := sent(i) // a node that was started just now takes its share when it has seen the job
			return n != first[i], n
		})
	}
	if _, err := f.client(1).try(ctx, http.MethodPost, "/v1/jobs/"+v.ID+"/cancel", ""); err != nil {
		t.Fatal(err)
	}
	if v, err = f.client(2).wait(ctx, v.ID); err != nil || v.State != "cancelled" {
		t.Fatalf("the job is %s, %v; want cancelled", v.outcome(), err)
	}
	r.forbid(v.ID)
	last := r.order(200, "")
	v2 := f.accept(ctx, 0, &last, last.body, "")
	if _, err := f.client(0).wait(ctx, v2.ID); err != nil {
		t.Fatal(err)
	}
	r.checkForbidden(t)
}
