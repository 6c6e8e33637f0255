package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report has the results of a run.
type report struct {
	targets, service, axes, statistics, worst, kernels, singles, chunks, identity, columns table

	bars  bars
	plots []*plot
	text  strings.Builder
}

func newReport() *report {
	return &report{
		targets: table{header: []string{"target", "gather", "other", "wanted", "measured", ""}},
		service: table{header: []string{"sum", "gather, POST to result", "Dask, compute() alone", "Dask / gather"}},
		axes: table{
			header: []string{"stored", "sum", "gather, PUT", "gather, file://", "Dask, file", "limit", "Dask / PUT", "Dask / file"},
			note: "The limit is the time in which the kernel, on all cores, sums the mapped file: its bytes over the memory " +
				"bandwidth at that moment. gather's times are from POST to result, with the result on disk.",
		},
		statistics: table{header: []string{"stored", "over", "gather, five statistics", "gather, sum", "Dask, five statistics", "five / sum", "Dask / gather"}},
		worst:      table{header: []string{"variance of", "gather", "NumPy", "Dask, chunks of 100 x 100", "exact, rounded to float64"}},
		kernels:    table{header: []string{"size", "one core, float64", "GB/s", "against `np.sum`", "result", ""}},
		singles:    table{header: []string{"size", "one core, float32", "GB/s", "against `np.sum`", "result"}},
		chunks:     table{header: []string{"size", "chunks", "gather", "Dask, file", "Dask, memory", "file / gather", "memory / gather", "gather GB/s"}},
		identity:   table{header: []string{"chunks", "gather", "Dask"}},
		columns:    table{header: []string{"2^25 rows of 2 float32, each 0.1, along the first axis", "sum of a column", "time"}},
	}
}

// target adds a result with its target.
func (r *report) target(what string, ours, theirs figure, got, want float64) {
	verdict := "met"
	if got < want {
		verdict = "**missed**"
	}
	r.targets.row(what, seconds(ours.seconds), seconds(theirs.seconds), ratio(want, 1), ratio(got, 1), verdict)
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
		table *table
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

const begin, end = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

// write writes the results into sums.md, between the marks, and the plots beside it.
func (r *report) write(dir string) error {
	page := filepath.Join(dir, "sums.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q and %q", page, begin, end)
	}
	if err := os.WriteFile(page, []byte(before+begin+"\n"+r.text.String()+"\n"+end+after), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "sums-kernel.svg"), []byte(r.bars.svg()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sums-chunks.svg"), []byte(svgOf(r.plots)), 0o644)
}
