package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gather/bench/render"
)

// program is a program that people write, in bench/peers/programs.py, and the same work in gather.
type program struct {
	name, title string
	modules     []string // of Python
	gather      func(t *target, n int) error
	want        func(n int) float64 // the result of the program
}

func allPrograms() []program {
	squares := func(n int) float64 { return float64((n - 1) * n * (2*n - 1) / 6) }
	return []program{
		{"sleeps", "asyncio.gather, sleeps of 1 s", nil, sleepBatch, func(n int) float64 { return float64(n) }},
		{"threads", "ThreadPoolExecutor, as_completed", nil, streamSquares, squares},
		{"processes", "ProcessPoolExecutor, as_completed", nil, streamSquares, squares},
		{"ones", "dask.array.ones.sum, chunks of 1000", []string{"dask.array"}, sumOnes, func(n int) float64 { return float64(1000 * n) }},
	}
}

func sleepBatch(t *target, n int) error {
	j, err := t.send(request("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"sleep_batch","count":%d,"duration":"1s"}`, n), "Prefer: wait=30"), 200)
	if err == nil && (j.State != "succeeded" || j.Progress.Completed != int64(n)) {
		err = fmt.Errorf("the job is %s after %d sleeps", j.State, j.Progress.Completed)
	}
	return err
}

// numbers is a job of the squares of the first n numbers.
func numbers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return `{"kind":"squares","numbers":[` + strings.Join(list, ",") + `]}`
}

const ndjson = "Accept: application/x-ndjson"

// streamSquares reads each result when it is there, as as_completed does.
func streamSquares(t *target, n int) error {
	j, err := t.send(request("POST", "/v1/jobs", numbers(n)), 202)
	if err != nil {
		return err
	}
	return t.lines(request("GET", "/v1/jobs/"+j.ID+"/events", "", ndjson), n)
}

func sumOnes(t *target, n int) error {
	body := fmt.Sprintf(`{"kind":"array_sum","array":{"source":"ones","shape":[%d],"chunks":1000}}`, 1000*n)
	j, err := t.send(request("POST", "/v1/jobs", body, "Prefer: wait=30"), 200)
	if err == nil && (j.State != "succeeded" || j.Result != float64(1000*n)) {
		err = fmt.Errorf("the job is %s with the result %v", j.State, j.Result)
	}
	return err
}

// programs compares programs in Python with jobs.
func programs(ctx context.Context, s *suite) (render.Table, error) {
	limit := time.Duration(s.times(60, 20)) * time.Second
	t := render.Table{
		Header: []string{"program", "n", "the program", "gather, POST to last result", "program / gather", "memory of the program", "of gather"},
		Note: fmt.Sprintf("Medians of three, or one of 100 000 and more; each on a new server and in a new process, without the start of either. "+
			"The results of squares are streamed. A program is ended after %s. Memory is the peak; of ProcessPoolExecutor, that of the parent "+
			"and of its children's largest.", limit),
	}
	if reason := needs(s.python)(); reason != "" {
		t.Note = "Skipped, because " + reason + "."
		return t, nil
	}
	if err := s.findRoot(ctx); err != nil {
		return t, err
	}
	sizes := []int{5, 1000, 100_000, 1_000_000}
	if s.short {
		sizes = sizes[:2]
	}
	var plots []*render.Plot
	for _, p := range allPrograms() {
		if reason := s.lacks(p.modules...); reason != "" {
			t.Note += fmt.Sprintf(" Skipped: %s, because %s.", p.title, reason)
			continue
		}
		plot := &render.Plot{Title: p.title, XTitle: "n"}
		ended := true
		for _, n := range sizes {
			ours, theirs, err := s.both(ctx, p, n, limit, ended)
			if err != nil {
				return t, fmt.Errorf("%s of %d: %w", p.name, n, err)
			}
			cells := []any{"more than " + render.Duration(limit), ours.took, "more than " + render.Ratio(limit.Seconds(), ours.took.Seconds()), ""}
			y := math.NaN()
			if ended = theirs.took > 0; ended {
				y = theirs.took.Seconds()
				cells = []any{theirs.took, ours.took, render.Ratio(y, ours.took.Seconds()), megabytes(theirs.memory)}
			}
			t.Row(append(append([]any{p.title, float64(n)}, cells...), megabytes(ours.memory))...)
			plot.Add(float64(n), strings.Replace(fmt.Sprintf("%.3g", float64(n)), "e+0", "e", 1), y, ours.took.Seconds())
		}
		plots = append(plots, plot)
	}
	s.plots["programs.svg"] = render.Plots("Programs and jobs", []string{"the program", "gather, POST to last result"}, plots)
	return t, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%d MB", n/1e6) }

// programCost is a time and the peak memory.
type programCost struct {
	took   time.Duration
	memory int64
}

// both alternates between gather and a program, which has no cost when it takes longer than the limit. A program that did for
// a smaller size is not run.
func (s *suite) both(ctx context.Context, p program, n int, limit time.Duration, run bool) (ours, theirs programCost, err error) {
	runs := 1
	if n <= 1000 {
		runs = s.times(3, 1)
	}
	var a, b []float64
	for range runs {
		took, memory, err := s.timed(ctx, func(t *target) error { return p.gather(t, n) })
		if err != nil {
			return ours, theirs, err
		}
		a, ours.memory = append(a, took.Seconds()), max(ours.memory, memory)
		if !run {
			continue
		}
		got, err := s.python3(ctx, p, n, limit)
		if run = err == nil; errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return ours, theirs, err
		}
		b, theirs.memory = append(b, got.took.Seconds()), max(theirs.memory, got.memory)
	}
	ours.took = time.Duration(median(a) * float64(time.Second))
	if run {
		theirs.took = time.Duration(median(b) * float64(time.Second))
	}
	return ours, theirs, nil
}

// python3 runs a program in a process of its own.
func (s *suite) python3(ctx context.Context, p program, n int, limit time.Duration) (c programCost, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d, err := newDaemons()
	if err != nil {
		return c, err
	}
	defer d.stop()
	cmd := exec.CommandContext(ctx, s.python, filepath.Join(s.root, "bench/peers/programs.py"), p.name, strconv.Itoa(n))
	text, err := d.output(cmd)
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	if err != nil {
		return c, err
	}
	var v struct {
		Seconds float64 `json:"seconds"`
		Memory  int64   `json:"memory"`
		Result  float64 `json:"result"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return c, fmt.Errorf("%w:\n%s", err, text)
	}
	if want := p.want(n); v.Result != want {
		return c, fmt.Errorf("the program's result is %g, want %g", v.Result, want)
	}
	return programCost{time.Duration(v.Seconds * float64(time.Second)), v.Memory}, nil
}
