package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// load runs many clients that submit jobs of all kinds to all nodes and gather them in all ways.
type load struct {
	f *testCluster
	// order returns job number i; nil for orderFor.
	order func(i int) order
	// next is the number of the next job.
	next     atomic.Int64
	accepted milestones
	stopped  atomic.Bool
	wg       sync.WaitGroup
	// onError is called for every failed attempt, concurrently; nil for none.
	onError func(node int, at time.Time, a *response, err error)
}

// start starts clients that together submit jobs up to a number. The caller must call wait.
func (l *load) start(ctx context.Context, clients, jobs int) {
	l.stopped.Store(false)
	for range clients {
		l.wg.Go(func() {
			for {
				i := int(l.next.Add(1)) - 1
				if i >= jobs || ctx.Err() != nil || l.stopped.Load() {
					return
				}
				if err := l.one(ctx, i); err != nil {
					l.f.t.Errorf("job %d: %v", i, err)
					return
				}
			}
		})
	}
}

// reach waits until a number of jobs was accepted.
func (l *load) reach(ctx context.Context, jobs int) { l.accepted.reach(ctx, jobs) }

// wait waits for the clients.
func (l *load) wait() { l.wg.Wait() }

// stop waits for the clients to finish their current jobs. They can be started again.
func (l *load) stop() {
	l.stopped.Store(true)
	l.wait()
}

// one submits job number i to one node and gathers it from another.
func (l *load) one(ctx context.Context, i int) error {
	c := l.f.client(i)
	c.onError = l.onError
	newOrder := l.order
	if newOrder == nil {
		newOrder = orderFor
	}
	o := newOrder(i)
	key := ""
	if i%3 == 0 {
		key = fmt.Sprintf("key-%d", i)
	}
	var header []string
	if gatherMode(i%4) == waitsOnSubmit {
		header = []string{"Prefer", "wait=5"}
	}
	v, _, err := c.submit(ctx, &o, o.body, key, header...)
	if err != nil {
		return err
	}
	l.accepted.add()
	c.hop()
	if key != "" {
		again, replayed, err := c.submit(ctx, &o, o.body, key)
		if err != nil {
			return err
		}
		if again.ID != v.ID || !replayed {
			return fmt.Errorf("a retry with key %s returned job %s (replayed: %t), want %s", key, again.ID, replayed, v.ID)
		}
		c.hop()
	}
	switch gatherMode(i % 4) {
	case waitsOnGet:
		_, err = c.wait(ctx, v.ID)
	case follows:
		media := ndjson
		if i%8 >= 4 {
			media = sse
		}
		err = c.follow(ctx, v.ID, media)
	}
	return err
}

// verify reads every accepted job to the end, from the nodes in turn, and reports all violations in the history.
func (f *testCluster) verify(ctx context.Context) {
	f.t.Helper()
	began := time.Now()
	type one struct {
		id   string
		node int
		*accepted
	}
	work := make(chan one)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for w := range work {
				c := f.client(w.node)
				_, _, err := c.results(ctx, w.id)
				if err == nil && w.key != "" && w.order != nil {
					_, _, err = c.submit(ctx, w.order, w.order.body, w.key)
				}
				if err != nil {
					f.t.Errorf("job %s: %v", w.id, err)
				}
			}
		})
	}
	all := f.jobs()
	i := 0
	for id, a := range all {
		work <- one{id: id, node: i, accepted: a}
		i++
	}
	close(work)
	wg.Wait()
	for i := range f.nodes {
		listed, err := f.clients[i].list(ctx)
		if err != nil {
			f.t.Fatalf("node %d: %v", i, err)
		}
		for id := range all {
			if !listed[id] {
				f.t.Errorf("job %s is not listed by node %d", id, i)
			}
		}
	}
	f.checkHistory()
	f.t.Logf("verified %d jobs in %s", len(all), time.Since(began).Round(time.Millisecond))
}

// checkHistory reports the violations in the history.
func (f *testCluster) checkHistory() {
	f.t.Helper()
	violations := f.check()
	for i, err := range violations {
		if i == 20 {
			f.t.Errorf("and %d more", len(violations)-i)
			break
		}
		f.t.Error(err)
	}
}

// accept submits a job to node i, which must accept it.
func (f *testCluster) accept(ctx context.Context, i int, o *order, body, key string) view {
	f.t.Helper()
	v, replayed, err := f.client(i).submit(ctx, o, body, key)
	if err != nil || replayed {
		f.t.Fatalf("node %d: %v (replayed: %t)", i, err, replayed)
	}
	return v
}

// status sends a request to node i and returns the status.
func (f *testCluster) status(ctx context.Context, i int, method, path, body string, header ...string) int {
	f.t.Helper()
	a, err := f.clients[i].try(ctx, method, path, body, header...)
	if err != nil {
		f.t.Fatalf("node %d: %s %s: %v", i, method, path, err)
	}
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		f.t.Errorf("node %d: %s %s: 503 without Retry-After", i, method, path)
	}
	return a.status
}
