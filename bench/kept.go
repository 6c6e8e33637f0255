package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"gather/bench/machine"
	"gather/bench/render"
)

const maxBatch = 10_000 // jobs

// submitBatches submits n equal jobs. It waits while the queue is full.
func submitBatches(ctx context.Context, t *target, n int, job string) error {
	w, err := dial(t.api)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	for n > 0 && ctx.Err() == nil {
		size := min(n, maxBatch)
		body := `{"jobs":[` + strings.Repeat(job+",", size-1) + job + `]}`
		var answer bytes.Buffer
		status, err := w.roundTrip(request("POST", "/v1/jobs:batch", body), &answer)
		switch {
		case err != nil:
			return err
		case status == 202:
			n -= size
		case status == 429 || status == 503:
			time.Sleep(20 * time.Millisecond)
		default:
			return fmt.Errorf("got status %d, want 202: %.300s", status, &answer)
		}
	}
	return context.Cause(ctx)
}

// queued measures small jobs beside many jobs that wait, and beside their start.
func queued(ctx context.Context, s *suite) (render.Table, error) {
	n, delay := s.times(100_000, 2000), time.Duration(s.times(60, 5))*time.Second
	t := render.Table{
		Header: []string{"five-number squares", "POST to result p50", "p99", "memory"},
		Note:   "One client with `Prefer: wait=10`. The queued jobs are five-number squares with the priority `low` and one `start_after`.",
	}
	x, err := s.side(ctx, 1, s.server, "--queue-jobs=110000")
	if err != nil {
		return t, err
	}
	defer x.end()
	row := func(name string) error {
		got, err1 := x.load(ctx, waitSmall, 200, time.Duration(s.times(4, 1))*s.round())
		used, err2 := machine.UsageOf(x.cmd.Process.Pid)
		t.Row(name, got.quantile(0.5), got.quantile(0.99), megabytes(used.Memory))
		return errors.Join(err1, err2)
	}
	if err := row("alone"); err != nil {
		return t, err
	}
	began := time.Now()
	start := began.Add(delay)
	job := fmt.Sprintf(`{"kind":"squares","numbers":[1,2,3,4,5],"priority":"low","start_after":%q}`, start.UTC().Format(time.RFC3339Nano))
	if err := submitBatches(ctx, x.target, n, job); err != nil {
		return t, err
	}
	accepted := time.Since(began)
	err1 := row(fmt.Sprintf("beside %s queued jobs", render.Number(float64(n))))
	waiting, err2 := x.metric("gather_admitted_jobs")
	if err := errors.Join(err1, err2); err != nil {
		return t, err
	}
	if waiting != float64(n) {
		return t, fmt.Errorf("%g of %d jobs were queued after %s, before their time", waiting, n, time.Since(began))
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(start)):
	}
	err1 = row("while they start")
	_, err2 = x.drained(ctx)
	t.Note += fmt.Sprintf(" They were accepted in %s, and had all ended at most %s after their time.", render.Duration(accepted), render.Duration(time.Since(start)))
	return t, errors.Join(err1, err2)
}

// restarts measures how long a server with many finished jobs takes to be ready.
func restarts(ctx context.Context, s *suite) (render.Table, error) {
	n := s.times(1_000_000, 5000)
	t := render.Table{
		Header: []string{"restart with " + render.Number(float64(n)) + " kept jobs", "ready after", "memory", "on disk"},
		Note:   "From the start of the process to 200 from `/readyz`. The jobs are five-number squares; after each start all are counted.",
	}
	x, err := start(ctx, s.server)
	if err != nil {
		return t, err
	}
	defer func() { x.stop() }()
	if err := submitBatches(ctx, x, n, small); err != nil {
		return t, err
	}
	if _, err := x.drained(ctx); err != nil {
		return t, err
	}
	for _, end := range []struct {
		name   string
		signal syscall.Signal
	}{{"after SIGTERM", syscall.SIGTERM}, {"after SIGKILL", syscall.SIGKILL}} {
		if end.signal == syscall.SIGKILL { // with something to recover
			if err := submitBatches(ctx, x, n/100, small); err != nil {
				return t, err
			}
			n += n / 100
		}
		x.end(end.signal)
		began := time.Now()
		if x, err = startIn(ctx, x.dir, s.server); err != nil {
			return t, err
		}
		if _, err := x.get("/readyz", 200); err != nil {
			return t, err
		}
		took := time.Since(began)
		if err := x.awaitSucceeded(ctx, n); err != nil {
			return t, err
		}
		used, err1 := machine.UsageOf(x.cmd.Process.Pid)
		disk, err2 := sizeOf(x.dir)
		if err := errors.Join(err1, err2); err != nil {
			return t, err
		}
		t.Row(end.name, took, megabytes(used.Memory), megabytes(disk))
	}
	return t, nil
}

// awaitSucceeded waits until n jobs have succeeded. It fails when one is missing, has failed, or has not ended after a minute.
func (t *target) awaitSucceeded(ctx context.Context, n int) error {
	for end := time.Now().Add(time.Minute); ; {
		text, err := t.get("/v1/jobs:count", 200)
		if err != nil {
			return err
		}
		var v struct{ Total, Queued, Running, Succeeded int }
		if err := json.Unmarshal(text, &v, json.MatchCaseInsensitiveNames(true)); err != nil {
			return err
		}
		if v.Succeeded == n && v.Total == n {
			return nil
		}
		if v.Succeeded+v.Queued+v.Running != n || time.Now().After(end) {
			return fmt.Errorf("%d jobs were kept, and now: %s", n, text)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
