package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gather/bench/machine"
	"gather/bench/render"
)

// A giant is a job that keeps every worker busy, and what was measured beside it.
type giant struct {
	name, body string
	unit       float64 // what one completed item counts in the rate, such as the elements of a chunk

	small     sample
	took      time.Duration
	completed int64 // items of the giant while the small jobs ran
	written   int64 // bytes that the server handed to the disk meanwhile
	memory    int64 // peak, resident
}

func giants() []*giant {
	return []*giant{
		{name: "idle"},
		{name: "beside a sum of 1e11", unit: 1e6, body: `{"kind":"array_sum","array":{"source":"ones","shape":[100000,1000000],"chunks":1000}}`},
		{name: "beside 1e7 squares", unit: 1, body: `{"kind":"squares","range":{"stop":10000000}}`},
	}
}

// besideGiant measures small jobs on an idle server and beside a huge job, in alternating rounds.
func besideGiant(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"five-number squares, POST to result", "p50", "p99", "p99 against idle", "max", "the giant", "written to disk", "peak memory"},
		Note: "One connection with `Prefer: wait=10`; one server, and alternating rounds of each row. The giants keep every worker busy: a sum of ones in chunks of " +
			"1e6 elements, and squares, one job after the other. Written to disk: by the server, with the small jobs, and in brackets for each item of the giant.",
	}
	x, err := s.side(ctx, 1, s.server)
	if err != nil {
		return t, err
	}
	defer x.end()
	all := giants()
	for range s.times(6, 1) {
		for _, g := range all {
			if err := s.beside(ctx, x, g); err != nil {
				return t, fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	idle := all[0].small.quantile(0.99)
	for _, g := range all {
		p99 := g.small.quantile(0.99)
		rate, written := "", render.Number(float64(g.written)/1e6/g.took.Seconds())+" MB/s"
		if g.completed > 0 {
			rate = render.Number(float64(g.completed)*g.unit/g.took.Seconds()) + "/s"
			written += fmt.Sprintf(" (%s B)", render.Number(float64(g.written)/float64(g.completed)))
		}
		t.Row(g.name, g.small.quantile(0.5), p99, render.Ratio(float64(p99), float64(idle)), g.small.quantile(1), rate, written, megabytes(g.memory))
	}
	return t, nil
}

// beside measures small jobs for one round, while jobs of the giant run, one at a time.
func (s *suite) beside(ctx context.Context, x *side, g *giant) error {
	if err := x.resetPeakMemory(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	defer stop()
	var runs giantRuns
	if g.body != "" {
		wg.Go(func() { runs.repeat(running, x.target, request("POST", "/v1/jobs", g.body)) })
	}
	err := x.measure(ctx, s, g, &runs)
	stop()
	wg.Wait()
	memory, err1 := x.peakMemory()
	g.memory = max(g.memory, memory)
	_, err2 := x.drained(ctx)
	if g.body != "" {
		time.Sleep(s.round()) // what is left to compact
	}
	return errors.Join(err, err1, err2, runs.err)
}

// measure loads the server with small jobs, first to warm up.
func (x *side) measure(ctx context.Context, s *suite, g *giant, runs *giantRuns) error {
	if _, err := x.load(ctx, waitSmall, 200, s.round()/2); err != nil {
		return err
	}
	pid := x.cmd.Process.Pid
	before, err1 := machine.UsageOf(pid)
	done, err2 := runs.completed(x.target)
	began := time.Now()
	got, err3 := x.load(ctx, waitSmall, 200, time.Duration(s.times(4, 1))*s.round())
	g.took += time.Since(began)
	after, err4 := machine.UsageOf(pid)
	ended, err5 := runs.completed(x.target)
	g.small.add(got)
	g.written += after.Sub(before).Written
	g.completed += ended - done
	return errors.Join(err1, err2, err3, err4, err5)
}

// giantRuns are the runs of a giant, one after the other.
type giantRuns struct {
	mu    sync.Mutex
	ended int64  // items of the jobs before
	job   string // the current one; "" for none
	err   error
}

// repeat runs jobs until ctx is done, when it cancels the last.
func (r *giantRuns) repeat(ctx context.Context, t *target, post []byte) {
	for ctx.Err() == nil {
		j, err := t.send(post, 202)
		if err == nil {
			r.mu.Lock()
			r.job = j.ID
			r.mu.Unlock()
			j, err = t.await(ctx, j.ID)
		}
		r.mu.Lock()
		r.ended += j.Progress.Completed
		r.job, r.err = "", err
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// completed returns how many items the jobs have completed so far.
func (r *giantRuns) completed(t *target) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job == "" {
		return r.ended, r.err
	}
	j, err := t.send(request("GET", "/v1/jobs/"+r.job, ""), 200)
	return r.ended + j.Progress.Completed, err
}

// await waits for the end of a job, or cancels it when ctx is done.
func (t *target) await(ctx context.Context, id string) (j jobView, err error) {
	get := request("GET", "/v1/jobs/"+id, "")
	for err == nil && ctx.Err() == nil && j.State != "succeeded" {
		if j.State == "failed" || j.State == "cancelled" {
			return j, fmt.Errorf("the job %s", j.State)
		}
		time.Sleep(20 * time.Millisecond)
		j, err = t.send(get, 200)
	}
	if err != nil || j.State == "succeeded" {
		return j, err
	}
	if _, err := t.send(request("POST", "/v1/jobs/"+id+"/cancel", ""), 200, 202); err != nil {
		return j, err
	}
	j, err = t.send(request("GET", "/v1/jobs/"+id, "", "Prefer: wait=10"), 200)
	if err == nil && j.State != "cancelled" && j.State != "succeeded" { // it may have ended before the cancel
		err = fmt.Errorf("the job is %s, not cancelled", j.State)
	}
	return j, err
}

// resetPeakMemory makes peakMemory return the peak from now on.
func (t *target) resetPeakMemory() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.cmd.Process.Pid), []byte("5"), 0)
}

// runUntil runs a job to its end, or cancels it when ctx is done.
func (t *target) runUntil(ctx context.Context, post []byte) error {
	j, err := t.send(post, 202)
	if err == nil {
		_, err = t.await(ctx, j.ID)
	}
	return err
}
