package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gather/bench/render"
)

// report has the results of a run.
type report struct {
	targets, service, axes, statistics, worst, kernels, singles, chunks, identity, columns render.Table

	bars  render.Bars
	plots []*render.Plot
	text  strings.Builder
}

func newReport() *report {
	return &report{
		targets: render.Table{Header: []string{"target", "gather", "other", "wanted", "measured", ""}},
		service: render.Table{Header: []string{"sum", "gather, POST to result", "Dask, compute() alone", "Dask / gather"}},
		axes: render.Table{
			Header: []string{"stored", "sum", "gather, PUT", "gather, file://", "Dask, file", "limit", "Dask / PUT", "Dask / file"},
			Note: "The limit is the time in which the kernel, on all cores, sums the mapped file: its bytes over the memory " +
				"bandwidth at that moment. gather's times are from POST to result, with the result on disk.",
		},
		statistics: render.Table{Header: []string{"stored", "over", "gather, five statistics", "gather, sum", "Dask, five statistics", "five / sum", "Dask / gather"}},
		worst:      render.Table{Header: []string{"variance of", "gather", "NumPy", "Dask, chunks of 100 x 100", "exact, rounded to float64"}},
		kernels:    render.Table{Header: []string{"size", "one core, float64", "GB/s", "against `np.sum`", "result", ""}},
		singles:    render.Table{Header: []string{"size", "one core, float32", "GB/s", "against `np.sum`", "result"}},
		chunks:     render.Table{Header: []string{"size", "chunks", "gather", "Dask, file", "Dask, memory", "file / gather", "memory / gather", "gather GB/s"}},
		identity:   render.Table{Header: []string{"chunks", "gather", "Dask"}},
		columns:    render.Table{Header: []string{"2^25 rows of 2 float32, each 0.1, along the first axis", "sum of a column", "time"}},
	}
}

// target adds a result with its target.
func (r *report) target(what string, ours, theirs figure, got, want float64) {
	verdict := "met"
	if got < want {
		verdict = "**missed**"
	}
	r.targets.Row(what, render.Seconds(ours.seconds), render.Seconds(theirs.seconds), render.Ratio(want, 1), render.Ratio(got, 1), verdict)
}

// measure runs all measurements.
func (l *lab) measure(ctx context.Context) (*report, error) {
	r := newReport()
	about, err := l.machine()
	if err != nil {
		return nil, err
	}
	steps := []struct {
		name string
		run  func() error
	}{
		{"generated", func() error { return l.generated(ctx, r) }},
		{"stored", func() error { return l.stored(ctx, r) }},
		{"axes", func() error { return l.alongAxes(ctx, r) }},
		{"statistics", func() error { return l.statistics(ctx, r) }},
		{"identity", func() error { return l.identity(ctx, r) }},
	}
	for i, s := range l.sizes() {
		steps = append(steps, struct {
			name string
			run  func() error
		}{s.name, func() error { return l.measureSize(ctx, r, s, i < 2) }})
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.run(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		_, _ = fmt.Fprintf(l.stderr, "%s: %s\n", s.name, time.Since(began).Round(100*time.Millisecond))
	}
	fmt.Fprintf(&r.text, "%s\n%d of %d measurements started on an idle machine.\n", about, l.idleMeasurements, l.measurements)
	if l.short {
		r.text.WriteString("\nA short run, to check that the measurements work.\n")
	}
	for _, t := range []struct {
		title string
		table *render.Table
	}{
		{"Targets", &r.targets},
		{"The whole service against Dask", &r.service},
		{"Along every axis", &r.axes},
		{"Five statistics in one pass", &r.statistics},
		{"Variances far from zero", &r.worst},
		{"By the size of chunks", &r.chunks},
		{"The kernel on one core", &r.kernels},
		{"float32", &r.singles},
		{"The same bits", &r.identity},
		{"A sum that stalls", &r.columns},
	} {
		fmt.Fprintf(&r.text, "\n### %s\n\n%s", t.title, t.table)
	}
	return r, nil
}

// measureSize compares all contenders on arrays of one size.
func (l *lab) measureSize(ctx context.Context, r *report, s size, singles bool) error {
	f, err := l.array("doubles", 8, s.shape, normals())
	if err != nil {
		return err
	}
	if err := l.oneCore(r, s, f); err != nil {
		return err
	}
	if err := drop(l.self, l.avx2, l.gonum); err != nil { // Dask uses NumPy's array
		return err
	}
	if err := l.byChunks(ctx, r, s, f); err != nil {
		return err
	}
	if err := drop(l.numpyAndDask); err != nil || !singles {
		return err
	}
	return l.singles(r, s)
}

// write writes the results into sums.md and the plots beside it.
func (r *report) write(dir string) error {
	if err := render.WritePage(filepath.Join(dir, "sums.md"), r.text.String()); err != nil {
		return err
	}
	r.bars.Title = "Speed of sums on one core"
	if err := os.WriteFile(filepath.Join(dir, "sums-kernel.svg"), []byte(r.bars.SVG()), 0o644); err != nil {
		return err
	}
	lines := []string{"gather, POST to result", "Dask, file, compute() alone", "Dask, memory, compute() alone"}
	plots := render.Plots("Time to sum by the size of chunks", lines, r.plots)
	return os.WriteFile(filepath.Join(dir, "sums-chunks.svg"), []byte(plots), 0o644)
}

// point adds the times of one size of chunks to the plot of an array.
func (r *report) point(s size, side float64, times ...float64) {
	title := s.name + " of float64"
	if n := len(r.plots); n == 0 || r.plots[n-1].Title != title {
		r.plots = append(r.plots, &render.Plot{Title: title, XTitle: "elements of a chunk"})
	}
	name := fmt.Sprintf("%.0f²", side)
	if side == float64(s.shape[0]) {
		name = "whole"
	}
	r.plots[len(r.plots)-1].Add(side, name, times...)
}

func gbps(bytes int64, seconds float64) string {
	return fmt.Sprintf("%.1f", float64(bytes)/seconds/1e9)
}
