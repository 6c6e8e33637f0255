package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gather/bench/render"
)

// storedArray is an array whose sums along each axis are measured.
type storedArray struct {
	dtype   string // NumPy's letter and size, such as f8
	shape   []int64
	fortran bool
}

func (s storedArray) String() string {
	order := ""
	if s.fortran {
		order = ", Fortran"
	}
	return fmt.Sprintf("%s %s%s", s.dtype, asJSON(s.shape), order)
}

// storedArrays are arrays of mib MiB.
func storedArrays(mib int64) []storedArray {
	const columns = 8192
	rows := mib << 20 / columns
	return []storedArray{
		{"f8", []int64{rows / 8, columns}, false},
		{"f4", []int64{rows / 4, columns}, false},
		{"i2", []int64{rows / 2, columns}, false},
		{"f8", []int64{rows / 8, columns}, true},
		{"f8", []int64{128, 1024, mib}, false},
	}
}

// alongAxes compares the service with Dask on stored arrays, over all axes and over each.
func (l *lab) alongAxes(ctx context.Context, r *report) error {
	sizes := []int64{64, 512}
	if l.short {
		sizes = []int64{16}
	}
	for _, mib := range sizes {
		for i, s := range storedArrays(mib) {
			if mib == 64 && i > 2 {
				break
			}
			if err := l.alongAxesOf(ctx, r, mib, s); err != nil {
				return err
			}
		}
	}
	if l.large {
		return l.alongAxesOf(ctx, r, 4096, storedArrays(4096)[0])
	}
	return nil
}

func (l *lab) alongAxesOf(ctx context.Context, r *report, mib int64, s storedArray) error {
	f, err := l.arrayOf(fmt.Sprintf("stored-%d", mib), s, roundedIf(s.dtype == "i2", normals()))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.path) }()
	if err := l.gather.store(ctx, f); err != nil {
		return err
	}
	axes := []any{nil}
	for i := range s.shape {
		axes = append(axes, i)
	}
	limit, err := l.self.call(request{Op: "bandwidth", Path: f.path})
	if err != nil {
		return err
	}
	for _, axis := range axes {
		along := `,"axis":` + asJSON(axis)
		dask := l.dask("file", f, "auto", 1)
		dask.run = func() (response, error) {
			return l.numpyAndDask.call(request{Op: "dask", Source: "file", Path: f.path, Chunks: "auto", Axis: axis})
		}
		rounds := 9
		if mib > 1000 {
			rounds = 3
		}
		figures, err := l.rounds(rounds,
			l.service(ctx, f.spec("auto")+along, 1), l.service(ctx, f.specOfFile()+along, 1), dask)
		if err != nil {
			return fmt.Errorf("%s, axis %v: %w", s, axis, err)
		}
		name := sumName(axis)
		put, file, theirs := figures[0].seconds, figures[1].seconds, figures[2].seconds
		r.axes.Row(fmt.Sprintf("%d MiB, %s", mib, s), name, render.Seconds(put), render.Seconds(file), render.Seconds(theirs), render.Seconds(limit.Seconds),
			render.Ratio(theirs, put), render.Ratio(theirs, file))
		if s.fortran || len(s.shape) > 2 {
			continue
		}
		want := 1.2
		if axis == nil {
			want = 1.5
		}
		r.target(fmt.Sprintf("stored %d MiB, %s, %s", mib, s, name), figures[0], figures[2], theirs/put, want)
	}
	if mib == 512 && s.dtype == "f8" && !s.fortran && len(s.shape) == 2 && l.large {
		return l.cold(ctx, r, f)
	}
	return nil
}

// sumName returns the name of a sum over an axis, or over all.
func sumName(axis any) string {
	if axis == nil {
		return "whole"
	}
	return fmt.Sprint("axis ", axis)
}

// unmapped is how long the server keeps a file mapped after its last use, and more.
const unmapped = 12 * time.Second

// cold compares sums of a file that is not in memory.
func (l *lab) cold(ctx context.Context, r *report, f file) error {
	for _, axis := range []any{nil, 0} {
		along := `,"axis":` + asJSON(axis)
		evicted := func(run func() (response, error)) func() (response, error) {
			return func() (response, error) {
				time.Sleep(unmapped) // mapped pages cannot be evicted
				if err := evict(f.path); err != nil {
					return response{}, err
				}
				return run()
			}
		}
		ours, theirs := l.service(ctx, f.specOfFile()+along, 1), l.dask("file", f, "auto", 1)
		ours.run = evicted(ours.run)
		theirs.run = evicted(func() (response, error) {
			return l.numpyAndDask.call(request{Op: "dask", Source: "file", Path: f.path, Chunks: "auto", Axis: axis})
		})
		figures, err := l.rounds(3, ours, theirs)
		if err != nil {
			return err
		}
		r.axes.Row("512 MiB, f8, not in memory", sumName(axis), "", render.Seconds(figures[0].seconds),
			render.Seconds(figures[1].seconds), "", "", render.Ratio(figures[1].seconds, figures[0].seconds))
	}
	return nil
}

// evict removes a file from the page cache.
func evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// specOfFile describes the array, in a directory that the server may read, in automatic chunks to the server.
func (f file) specOfFile() string {
	url, err := json.Marshal("file://" + f.path)
	if err != nil {
		panic(err) // a string
	}
	return `"array":{"source":"npy","url":` + string(url) + `,"chunks":"auto"}`
}
