package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gather/bench/machine"
	"gather/bench/render"
)

// mixed is what one client of the soak repeats: a request, and another one about its job.
type mixed struct {
	clients int
	post    []byte
	status  int
	path    string // after the job's own; none is "-"
	method  string
	lines   int // that its response must have
}

func mixedLoad() []mixed {
	wait := func(body string) []byte { return request("POST", "/v1/jobs", body, "Prefer: wait=10") }
	batch := `{"jobs":[` + strings.Repeat(small+",", 99) + small + `]}`
	return []mixed{
		{8, waitSmall, 200, "-", "", 0},
		{2, request("POST", "/v1/jobs:batch", batch, "Prefer: wait=10"), 200, "-", "", 0},
		{1, wait(`{"kind":"squares","range":{"stop":20000}}`), 200, "/results", "GET", 20_000},
		{1, request("POST", "/v1/jobs", `{"kind":"squares","range":{"stop":5000}}`), 202, "/events", "GET", 5000},
		{1, wait(`{"kind":"sleep_batch","count":1000,"duration":"100ms"}`), 200, "", "DELETE", 0},
		{1, wait(`{"kind":"array_sum","array":{"source":"random","seed":1,"shape":[1000,1000],"chunks":100}}`), 200, "", "GET", 0},
		{1, request("POST", "/v1/jobs", `{"kind":"sleep_batch","count":10,"duration":"1h"}`), 202, "/cancel", "POST", 0},
	}
}

// pause is between two requests of a client of the soak, so that the load is less than all that the machine can do.
const pause = 2 * time.Millisecond

// repeat runs until ctx is done, and hands the latency of each first request to record.
func (m mixed) repeat(ctx context.Context, t *target, record func(time.Duration)) error {
	w, err := dial(t.api)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	for ctx.Err() == nil {
		began := time.Now()
		var body bytes.Buffer
		status, err := w.roundTrip(m.post, &body)
		if err == nil && status != m.status {
			err = fmt.Errorf("got status %d, want %d: %.300s", status, m.status, &body)
		}
		if err != nil {
			return err
		}
		record(time.Since(began))
		if m.path != "-" {
			if err := m.follow(w, body.Bytes()); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// follow sends the second request, about the job in body.
func (m mixed) follow(w *wire, body []byte) error {
	_, rest, _ := bytes.Cut(body, []byte(`"id":"`))
	id, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return fmt.Errorf("no job in %.300s", body)
	}
	var c lineCounter
	path := "/v1/jobs/" + string(id) + m.path
	req := request(m.method, path, "")
	if m.lines > 0 {
		req = request(m.method, path, "", ndjson)
	}
	status, err := w.roundTrip(req, &c)
	if err == nil && (status > 204 || c.lines < m.lines) {
		err = fmt.Errorf("%s %s: got status %d and %d lines, want %d", m.method, path, status, c.lines, m.lines)
	}
	return err
}

// soaked are the measured values, in the order of soakMeasures.
type soaked [5]float64

var soakMeasures = [5]struct {
	name   string
	format func(float64) string
}{
	{"memory", func(v float64) string { return megabytes(int64(v)) }},
	{"goroutines", render.Number},
	{"open files", render.Number},
	{"disk", func(v float64) string { return megabytes(int64(v)) }},
	{"five-number squares, POST to result, p99", render.Seconds},
}

// soak loads a server with all kinds of jobs, which it keeps for a while, and shows what it uses in the course of time.
func soak(ctx context.Context, s *suite) (render.Table, error) {
	kept := max(min(s.soak/10, time.Minute), time.Second)
	t := render.Table{Header: []string{"soak of " + s.soak.String(), "first quarter", "last quarter", "last / first", "maximum", "after the load"}}
	x, err := start(ctx, s.server, "--retention="+kept.String(), "--tombstone-retention="+kept.String(), "--idempotency-retention="+kept.String())
	if err != nil {
		return t, err
	}
	defer x.stop()
	before, err := x.soaked(sample{})
	if err != nil {
		return t, err
	}
	samples, jobs, err := x.runSoak(ctx, s.soak)
	if err != nil {
		return t, err
	}
	after, err := x.settled(ctx, before)
	if err != nil {
		return t, err
	}
	quarter := max(1, len(samples)/4)
	for i, m := range soakMeasures {
		var all []float64
		for _, v := range samples {
			all = append(all, v[i])
		}
		first, last := median(all[:quarter]), median(all[len(all)-quarter:])
		end := ""
		if i < 4 {
			end = m.format(after[i])
		}
		t.Row(m.name, m.format(first), m.format(last), render.Ratio(last, first), m.format(slices.Max(all)), end)
	}
	t.Note = fmt.Sprintf("Fifteen clients with all kinds of jobs, alone and in batches, that wait, follow events, read results, cancel and delete: "+
		"%s requests for jobs, each with the expected response. Finished jobs are kept for %s. Medians of quarters.", render.Number(float64(jobs)), kept)
	s.plots["soak.svg"] = plotSoak(samples, s.soak)
	return t, nil
}

// runSoak loads the server and takes 200 samples.
func (t *target) runSoak(ctx context.Context, d time.Duration) (samples []soaked, jobs int, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs error
	var recent sample
	for i, m := range mixedLoad() {
		for range m.clients {
			wg.Go(func() {
				err := m.repeat(ctx, t, func(took time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					jobs++
					if i == 0 {
						recent.latencies = append(recent.latencies, took)
					}
				})
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = errors.Join(errs, err)
					cancel()
				}
			})
		}
	}
	tick := time.NewTicker(max(d/200, 20*time.Millisecond))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		mu.Lock()
		last := recent
		recent = sample{}
		mu.Unlock()
		v, err := t.soaked(last)
		if err != nil {
			mu.Lock()
			errs = errors.Join(errs, err)
			mu.Unlock()
			cancel()
		}
		samples = append(samples, v)
	}
	wg.Wait()
	if errs == nil && errors.Is(context.Cause(ctx), context.Canceled) {
		errs = context.Canceled
	}
	return samples, jobs, errs
}

// soaked measures the server now, and the latencies of a sample.
func (t *target) soaked(small sample) (v soaked, err error) {
	used, err1 := machine.UsageOf(t.cmd.Process.Pid)
	goroutines, err2 := t.metric("go_goroutines")
	disk, err3 := sizeOf(t.dir)
	return soaked{float64(used.Memory), goroutines, float64(used.Files), float64(disk), small.quantile(0.99).Seconds()},
		errors.Join(err1, err2, err3)
}

// settled waits until no more goroutines and files are left than before the load, up to a few, and fails after a minute.
func (t *target) settled(ctx context.Context, before soaked) (after soaked, err error) {
	const few = 30 // tables of the journal, and goroutines that read them
	for end := time.Now().Add(time.Minute); ; {
		if after, err = t.soaked(sample{}); err != nil || (after[1] <= before[1]+few && after[2] <= before[2]+few) {
			return after, err
		}
		if time.Now().After(end) {
			return after, fmt.Errorf("a minute after the load there are %g goroutines and %g open files, before it %g and %g",
				after[1], after[2], before[1], before[2])
		}
		select {
		case <-ctx.Done():
			return after, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func plotSoak(samples []soaked, d time.Duration) string {
	var plots []*render.Plot
	for i, m := range soakMeasures {
		p := &render.Plot{Title: m.name, Linear: true, Format: m.format}
		for k, v := range samples {
			name := ""
			if k%max(1, len(samples)/5) == 0 {
				name = (d * time.Duration(k) / time.Duration(len(samples))).Round(time.Second).String()
			}
			p.Add(float64(k), name, v[i])
		}
		plots = append(plots, p)
	}
	return render.Plots("Soak", []string{"gather"}, plots)
}
