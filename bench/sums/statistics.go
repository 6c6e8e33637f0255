package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"gather/bench/render"
)

// fiveStatistics are computed in one pass, by Dask in one compute.
var fiveStatistics = []string{"sum", "mean", "var", "min", "max"}

// statistics compares five statistics in one job with Dask's, and with a sum alone.
func (l *lab) statistics(ctx context.Context, r *report) error {
	mib := int64(512)
	if l.short {
		mib = 16
	}
	for _, s := range storedArrays(mib)[:3] {
		f, err := l.arrayOf("statistics", s, roundedIf(s.dtype == "i2", normals()))
		if err != nil {
			return err
		}
		for _, axis := range []any{nil, 0, 1} {
			along := `,"axis":` + asJSON(axis)
			theirs := peerContender("Dask", l.numpyAndDask, request{Op: "dask statistics", Path: f.path, Chunks: "auto", Axis: axis})
			sum := l.service(ctx, f.specOfFile()+along, 1)
			five := l.service(ctx, f.specOfFile()+along+`,"ops":`+asJSON(fiveStatistics), 1)
			figures, err := l.rounds(5, five, sum, theirs)
			if err != nil {
				return fmt.Errorf("statistics of %s: %w", s, err)
			}
			ours, alone, dask := figures[0], figures[1], figures[2]
			name := sumName(axis)
			r.statistics.Row(fmt.Sprintf("%d MiB, %s", mib, s), name, render.Seconds(ours.seconds), render.Seconds(alone.seconds), render.Seconds(dask.seconds),
				render.Ratio(ours.seconds, alone.seconds), render.Ratio(dask.seconds, ours.seconds))
			if axis == nil {
				r.target(fmt.Sprintf("five statistics of %d MiB, %s, whole", mib, s), ours, dask, dask.seconds/ours.seconds, 2)
			}
		}
		if err := os.Remove(f.path); err != nil {
			return err
		}
	}
	return l.worstCases(ctx, r)
}

// worstCases shows the variance of values that are far from 0, by whom it is computed.
func (l *lab) worstCases(ctx context.Context, r *report) error {
	for _, c := range []struct {
		dtype  string
		offset float64
	}{{"f8", 1e9}, {"f8", 1e15}, {"f4", 1e4}} {
		normal := normals()
		f, err := l.arrayOf("offset", storedArray{dtype: c.dtype, shape: []int64{1000, 1000}}, func() float64 { return c.offset + normal() })
		if err != nil {
			return err
		}
		job, _, err := l.gather.run(ctx, "array_reduce", f.specOfFile()+`,"ops":["var"]`)
		if err != nil {
			return err
		}
		var got struct{ Var json.Number }
		if err := json.Unmarshal(job.Result, &got); err != nil {
			return err
		}
		theirs, err := l.numpyAndDask.call(request{Op: "variances", Path: f.path})
		if err != nil {
			return err
		}
		var v struct{ NumPy, Dask, Exact string }
		if err := json.Unmarshal([]byte(theirs.Text), &v); err != nil {
			return err
		}
		r.worst.Row(fmt.Sprintf("%s, %.0e plus normal noise", c.dtype, c.offset), got.Var.String(), v.NumPy, v.Dask, v.Exact)
	}
	return nil
}

// roundedIf rounds and scales what next returns, for integers.
func roundedIf(integers bool, next func() float64) func() float64 {
	if !integers {
		return next
	}
	return func() float64 { return float64(int64(1000 * next())) }
}
