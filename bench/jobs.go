package main

import (
	"context"
	"fmt"
	"time"

	"gather/bench/render"
)

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
