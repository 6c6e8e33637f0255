package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gather/bench/render"
)

// besideGiant measures small jobs on an idle server, and beside a huge job.
func besideGiant(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"five-number squares, POST to result", "p50", "p99", "p99 against idle"},
		Note: "One connection with `Prefer: wait=10`. The giants keep every worker busy: sums of random arrays in chunks of 1e6 elements, and " +
			"squares, one job after the other.",
	}
	x, err := s.side(ctx, 1, s.server)
	if err != nil {
		return t, err
	}
	defer x.end()
	idle := time.Duration(0)
	for _, g := range []struct{ name, body string }{
		{"idle", ""},
		{"beside a sum of 1e10", `{"kind":"array_sum","array":{"source":"random","seed":1,"shape":[100000,100000],"chunks":1000}}`},
		{"beside a sum of 1e12", `{"kind":"array_sum","array":{"source":"random","seed":1,"shape":[1000000,1000000],"chunks":1000}}`},
		{"beside 1e7 squares", `{"kind":"squares","range":{"stop":10000000}}`},
	} {
		got, err := s.beside(ctx, x, g.body)
		if err != nil {
			return t, fmt.Errorf("%s: %w", g.name, err)
		}
		p99 := got.quantile(0.99)
		if idle == 0 {
			idle = p99
		}
		t.Row(g.name, got.quantile(0.5), p99, render.Ratio(float64(p99), float64(idle)))
	}
	return t, nil
}

// beside measures small jobs while jobs of the given body run, one at a time.
func (s *suite) beside(ctx context.Context, x *side, giant string) (got sample, err error) {
	var wg sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	var giantErr error
	if giant != "" {
		post := request("POST", "/v1/jobs", giant)
		wg.Go(func() {
			for running.Err() == nil && giantErr == nil {
				giantErr = x.runUntil(running, post)
			}
		})
		time.Sleep(200 * time.Millisecond) // until it uses all workers
	}
	if _, err = x.load(ctx, waitSmall, 200, s.round()); err == nil {
		got, err = x.load(ctx, waitSmall, 200, time.Duration(s.times(10, 4))*s.round())
	}
	stop()
	wg.Wait()
	return got, errors.Join(err, giantErr)
}

// runUntil runs a job to its end, or cancels it when ctx is done.
func (t *target) runUntil(ctx context.Context, post []byte) error {
	j, err := t.send(post, 202)
	for err == nil && ctx.Err() == nil && j.State != "succeeded" {
		if j.State == "failed" || j.State == "cancelled" {
			return fmt.Errorf("the job %s", j.State)
		}
		time.Sleep(20 * time.Millisecond)
		j, err = t.send(request("GET", "/v1/jobs/"+j.ID, ""), 200)
	}
	if err != nil || j.State == "succeeded" {
		return err
	}
	if _, err := t.send(request("POST", "/v1/jobs/"+j.ID+"/cancel", ""), 200, 202); err != nil {
		return err
	}
	j, err = t.send(request("GET", "/v1/jobs/"+j.ID, "", "Prefer: wait=10"), 200)
	if err == nil && j.State != "cancelled" && j.State != "succeeded" { // it may have ended before the cancel
		err = fmt.Errorf("the job is %s, not cancelled", j.State)
	}
	return err
}

// sleeps measures many concurrent sleeps.
func sleeps(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"sleep_batch", "POST to result", "over the sleep", "peak memory of the server"},
		Note:   "Each on a fresh server; the slowest of its runs.",
	}
	for _, b := range []struct {
		count int
		sleep time.Duration
		runs  int
	}{
		{5, 5 * time.Second, 1},
		{1_000_000, time.Second, s.times(3, 1)},
	} {
		var took time.Duration
		var memory int64
		for range b.runs {
			d, m, err := s.sleep(ctx, b.count, b.sleep)
			if err != nil {
				return t, err
			}
			took, memory = max(took, d), max(memory, m)
		}
		t.Row(fmt.Sprintf("%s sleeps of %s", render.Number(float64(b.count)), b.sleep), took, took-b.sleep, fmt.Sprintf("%d MB", memory/1e6))
	}
	return t, nil
}

func (s *suite) sleep(ctx context.Context, count int, d time.Duration) (took time.Duration, memory int64, err error) {
	t, err := start(ctx, s.server)
	if err != nil {
		return 0, 0, err
	}
	defer t.stop()
	body := fmt.Sprintf(`{"kind":"sleep_batch","count":%d,"duration":"%s"}`, count, d)
	began := time.Now()
	j, err := t.send(request("POST", "/v1/jobs", body, "Prefer: wait=30"), 200)
	took = time.Since(began)
	if err == nil && (j.State != "succeeded" || j.Progress.Completed != int64(count)) {
		err = fmt.Errorf("the job is %s after %d items", j.State, j.Progress.Completed)
	}
	if err == nil {
		memory, err = t.peakMemory()
	}
	return took, memory, err
}

// millionSquares measures one job with a million numbers, from its POST to the last byte of the last result.
func millionSquares(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"squares of 1 000 000 numbers, POST to", "time", "peak memory of the server"},
		Note:   "Each on a fresh server; the median of its runs. The numbers are a list in the request.",
	}
	const n = 1_000_000
	body := numbers(n)
	for _, way := range []struct {
		name   string
		gather func(t *target) error
	}{
		{"the last result, read as it comes (events, NDJSON)", func(t *target) error { return streamSquares(t, n) }},
		{"the finished job", func(t *target) error {
			j, err := t.send(request("POST", "/v1/jobs", body, "Prefer: wait=30"), 200)
			if err == nil && j.State != "succeeded" {
				err = fmt.Errorf("the job is %s", j.State)
			}
			return err
		}},
		{"the last result, read when finished (results, NDJSON)", func(t *target) error {
			j, err := t.send(request("POST", "/v1/jobs", body, "Prefer: wait=30"), 200)
			if err != nil {
				return err
			}
			return t.lines(request("GET", "/v1/jobs/"+j.ID+"/results", "", ndjson), n)
		}},
	} {
		var took []float64
		var memory int64
		for range s.times(5, 1) {
			d, m, err := s.timed(ctx, way.gather)
			if err != nil {
				return t, fmt.Errorf("%s: %w", way.name, err)
			}
			took, memory = append(took, float64(d)), max(memory, m)
		}
		t.Row(way.name, time.Duration(median(took)), fmt.Sprintf("%d MB", memory/1e6))
	}
	return t, nil
}

// timed runs f against a fresh server.
func (s *suite) timed(ctx context.Context, f func(t *target) error) (took time.Duration, memory int64, err error) {
	t, err := start(ctx, s.server)
	if err != nil {
		return 0, 0, err
	}
	defer t.stop()
	began := time.Now()
	err = f(t)
	took = time.Since(began)
	if err == nil {
		memory, err = t.peakMemory()
	}
	return took, memory, err
}

// lines reads a response that must have at least n lines.
func (t *target) lines(req []byte, n int) error {
	w, err := dial(t.api)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	var c lineCounter
	status, err := w.roundTrip(req, &c)
	if err == nil && (status != 200 || c.lines < n) {
		err = fmt.Errorf("got status %d and %d lines, want %d", status, c.lines, n)
	}
	return err
}
