package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pauseNode pauses a node for longer than the node timeout while it has leases. Other nodes run its tasks; when it
// resumes with its old leases nothing changes.
func (s *suite) pauseNode(t *testing.T) {
	f := s.cluster(t, 3, "--workers=1")
	ctx := f.context()
	sleeps := make([]int, 2*16384)
	for i := range sleeps {
		sleeps[i] = 1000 + i%1000
	}
	var ids []string
	for _, o := range []order{
		sleepOrder(sleeps), rangeOrder(9, 80_000),
		sumOrder(`{"source":"arange","start":0,"stop":3000000000,"dtype":"int64","chunks":1000000}`, "4499999998500000000"),
	} {
		ids = append(ids, f.accept(ctx, 0, &o, o.body, "").ID)
	}
	f.until(ctx, 2*time.Minute, "node 1 has tasks", func(ctx context.Context) (bool, any) {
		m, err := f.self(ctx, 1)
		return m.runs(ids[1]) || m.runs(ids[2]), []any{m, err}
	})
	paused := time.Now()
	f.signal(1, syscall.SIGSTOP)
	first := make(map[string][]item)
	for _, id := range ids {
		v, items, err := f.client(2).results(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s after %s", v.State, time.Since(paused).Round(time.Millisecond))
		first[id] = items
	}
	f.until(ctx, 2*time.Minute, "the pause is longer than the node timeout", func(context.Context) (bool, any) {
		return time.Since(paused) > nodeTimeout+nodeTimeout/2, time.Since(paused)
	})
	f.signal(1, syscall.SIGCONT)

	// All its proposals for those jobs precede its proposals for a new one.
	f.ready(ctx, 1, http.StatusOK)
	o := rangeOrder(3, 50_000)
	v := f.accept(ctx, 1, &o, o.body, "")
	if _, err := f.client(1).wait(ctx, v.ID); err != nil {
		t.Fatal(err)
	}
	for i := range f.nodes {
		for _, id := range ids {
			_, items, err := f.client(i).results(ctx, id)
			if err == nil {
				err = errors.Join(unchanged(first[id], items), unchanged(items, first[id]))
			}
			if err != nil {
				t.Errorf("job %s at node %d, after the pause: %v", id, i, err)
			}
		}
	}
	f.verify(ctx)
}

// rollingRestart restarts the nodes one after the other under load. Clients notice only that the restarting node is
// unavailable.
func (s *suite) rollingRestart(t *testing.T) {
	f := s.cluster(t, 3, "--drain-timeout=2m")
	ctx := f.context()
	var mu sync.Mutex
	away := make([][2]time.Time, 3) // when each node may be unavailable
	retries := 0
	l := &load{f: f, onError: func(node int, at time.Time, a *response, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a != nil && a.status == http.StatusConflict: // a duplicate of a submission under way
			return
		case a != nil && a.status != http.StatusServiceUnavailable:
			t.Errorf("node %d: %d %s", node, a.status, a.body)
		case a == nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) &&
			!errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "server closed idle connection"):
			// The last one also is a closed connection, before the request was written. net/http exports no error for
			// it.
			t.Errorf("node %d: %v", node, err)
		}
		if from, to := away[node][0], away[node][1]; from.IsZero() || time.Now().Before(from) || !to.IsZero() && at.After(to) {
			t.Errorf("node %d was not away, and there was %v, %v", node, a, err)
		}
		retries++
	}}
	const jobs = 450
	l.start(ctx, 16, jobs)
	for i, p := range f.nodes {
		l.reach(ctx, jobs*(i+1)/5)
		mu.Lock()
		away[i][0] = time.Now()
		mu.Unlock()
		code, err := p.stop()
		if err != nil || code != 0 {
			t.Errorf("node %d ended with %d, %v", i, code, err)
		}
		f.start(p)
		f.ready(ctx, i, http.StatusOK)
		mu.Lock()
		away[i][1] = time.Now()
		mu.Unlock()
	}
	l.wait()
	t.Logf("clients retried %d times", retries)
	f.verify(ctx)
}
