package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/client"
)

// trackedJob is an accepted job and what its client saw of it.
type trackedJob struct {
	order order
	id    string
	final *view // terminal view, if the client saw it
}

// gatherMode is how a client gathers a job.
type gatherMode int

const (
	getsLater gatherMode = iota
	waitsOnSubmit
	waitsOnGet
	follows
)

// tracker has all accepted jobs.
type tracker struct {
	jobs map[string]*trackedJob
}

// verify compares every job with the server's current state.
func (l *tracker) verify(ctx context.Context, t *testing.T, c *testClient) {
	t.Helper()
	work := make(chan *trackedJob)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for p := range work {
				if err := p.verify(ctx, c); err != nil {
					t.Errorf("job %s (%.60s): %v", p.id, p.order.body, err)
				}
			}
		})
	}
	for _, p := range l.jobs {
		work <- p
	}
	close(work)
	wg.Wait()

	listed, err := c.list(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for id := range l.jobs {
		if !listed[id] {
			t.Errorf("job %s is not listed", id)
		}
	}
}

func (p *trackedJob) verify(ctx context.Context, c *testClient) error {
	v, err := c.wait(ctx, p.id)
	if err != nil {
		return err
	}
	if v.State != "succeeded" || !sameNumber(v.Result, p.order.result) {
		return fmt.Errorf("%s with %s, want %s; error %s", v.State, v.Result, p.order.result, v.Error)
	}
	if v.Progress.Completed != v.Progress.Total || v.Progress.Failed != 0 {
		return fmt.Errorf("progress %+v", v.Progress)
	}
	if p.final != nil && p.final.outcome() != v.outcome() {
		return fmt.Errorf("a client saw %s, now it is %s", p.final.outcome(), v.outcome())
	}
	items, err := c.results(ctx, p.id)
	if err != nil {
		return err
	}
	return p.order.verify(items, int(v.Progress.Total))
}

// verify checks the items of a finished job: complete, unique, correct, in the order of their seqs.
func (o *order) verify(items []item, units int) error {
	want := cmp.Or(o.items, units)
	if len(items) != want {
		return fmt.Errorf("%d items, want %d", len(items), want)
	}
	seen := make([]bool, want)
	last := int64(0)
	for _, it := range items {
		switch {
		case it.Seq <= last:
			return fmt.Errorf("seq %d follows %d", it.Seq, last)
		case it.Index < 0 || it.Index >= want || seen[it.Index]:
			return fmt.Errorf("index %d is out of range or duplicate", it.Index)
		case it.Error != nil:
			return fmt.Errorf("item %d failed: %s", it.Index, *it.Error)
		}
		if o.check != nil {
			if problem := o.check(it.Index, string(it.Value)); problem != "" {
				return fmt.Errorf("item %d: %s", it.Index, problem)
			}
		}
		seen[it.Index], last = true, it.Seq
	}
	return nil
}

// unchanged checks that a client's items are a prefix of the current ones.
func unchanged(shown, now []item) error {
	for i := range shown {
		if i >= len(now) {
			return fmt.Errorf("a client saw %d items, now there are %d", len(shown), len(now))
		}
		if shown[i].String() != now[i].String() {
			return fmt.Errorf("a client saw %s, now it is %s", &shown[i], &now[i])
		}
	}
	return nil
}

// list returns the IDs of all jobs.
func (c *testClient) list(ctx context.Context) (map[string]bool, error) {
	ids := make(map[string]bool)
	for j, err := range c.api.List(ctx, client.ListOptions{PageSize: 200}) {
		if err != nil {
			return nil, err
		}
		if ids[j.ID] {
			return nil, fmt.Errorf("job %s is listed twice", j.ID)
		}
		ids[j.ID] = true
	}
	return ids, nil
}

// TestDrain stops the server during long jobs, and tests that it stops in order and that the jobs resume where they
// stopped.
func TestDrain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // takes seconds; a busy machine may need more
	defer cancel()
	p := startProcess(t, "--workers=1", "--drain-timeout=2m")
	c := newClient(p)

	const sum = `{"kind":"array_sum","array":{"source":"random","seed":7,"shape":[%d,1000],"chunks":%s}}`
	const rows = 400_000
	long, err := c.submit(ctx, fmt.Sprintf(sum, rows, `[1000,1000]`))
	if err != nil {
		t.Fatal(err)
	}
	sleeps, err := c.submit(ctx, `{"kind":"sleep_batch","count":3,"duration":"2s"}`)
	if err != nil {
		t.Fatal(err)
	}
	awaitItems(t, p.url("/v1/jobs/"+long.ID), 1)
	before, err := c.get(ctx, long.ID)
	if err != nil {
		t.Fatal(err)
	}
	if before.terminal() {
		t.Fatalf("the job ended too early: %s", before.outcome())
	}
	shown, err := c.results(ctx, long.ID, client.Stored())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	code, err := p.stop()
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
	if !strings.Contains(p.log.String(), `"msg":"stopped"`) {
		t.Error("the log has no record of the stop")
	}
	stopped := time.Now()
	// Sleeps continue while the server is down: until a second after they are due.
	time.Sleep(time.Until(began.Add(3 * time.Second)))
	back := time.Now()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}

	after, err := c.get(ctx, long.ID)
	if err != nil {
		t.Fatal(err)
	}
	if after.Progress.Completed < before.Progress.Completed || !after.StartedAt.Equal(*before.StartedAt) {
		t.Errorf("the job started over: %d of %d done, started %s; before the stop %d, %s", after.Progress.Completed,
			after.Progress.Total, after.StartedAt, before.Progress.Completed, before.StartedAt)
	}
	t.Logf("done before the stop at least %d, after the start %d of %d", before.Progress.Completed, after.Progress.Completed,
		after.Progress.Total)
	slept, err := c.wait(ctx, sleeps.ID)
	if err != nil {
		t.Fatal(err)
	}
	naps, err := c.results(ctx, sleeps.ID)
	if err != nil {
		t.Fatal(err)
	}
	// A restarted sleep would take 2 s, and one that continued has the time without the server too. On a busy machine it
	// may have ended before the stop.
	least := 2 * time.Second
	if slept.FinishedAt.After(stopped) {
		least = back.Sub(*slept.StartedAt).Truncate(100 * time.Millisecond)
	}
	if slept.State != "succeeded" || len(naps) != 3 {
		t.Errorf("the sleeps: got %s and %d items, want success and 3", slept.State, len(naps))
	}
	for _, nap := range naps {
		if got, err := strconv.ParseFloat(string(nap.Value), 64); err != nil || got < least.Seconds() {
			t.Errorf("a sleep: got %s s, %v, want at least %s", nap.Value, err, least)
		}
	}
	done, err := c.wait(ctx, long.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != "succeeded" || done.Progress.Completed != done.Progress.Total {
		t.Errorf("the job ended %s", done.outcome())
	}
	items, err := c.results(ctx, long.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unchanged(shown, items), (&order{}).verify(items, int(done.Progress.Total))); err != nil {
		t.Error(err)
	}
	// The same array in other chunks, without interruption: exactly the same sum.
	again, err := c.submit(ctx, fmt.Sprintf(sum, rows, `[-1,100]`))
	if err != nil {
		t.Fatal(err)
	}
	if again, err = c.wait(ctx, again.ID); err != nil || string(again.Result) != string(done.Result) {
		t.Errorf("interrupted, the sum is %s; uninterrupted %s, %v", done.Result, again.Result, err)
	}
}
