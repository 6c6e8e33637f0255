package main

import (
	"context"
	"fmt"

	"gather/bench/render"
)

// stored compares the service with Dask on a file of 1e8 elements.
func (l *lab) stored(ctx context.Context, r *report) error {
	n := int64(1e8)
	if l.short {
		n = 1e7
	}
	f, err := l.array("stored", 8, []int64{n}, normals())
	if err != nil {
		return err
	}
	if err := l.gather.store(ctx, f); err != nil {
		return err
	}
	var best, ours figure // Dask's fastest, and gather at the same chunks
	name := ""
	for _, chunks := range []any{[]int64{1e6}, []int64{1e7}, "auto"} {
		figures, err := l.rounds(15, l.service(ctx, f.spec(chunks), 1), l.dask("file", f, chunks, 1))
		if err != nil {
			return err
		}
		g, d := figures[0], figures[1]
		r.service.Row(fmt.Sprintf("stored, %s elements, chunks %s", render.Number(float64(n)), chunkName(chunks)),
			render.Seconds(g.seconds), render.Seconds(d.seconds), render.Ratio(d.seconds, g.seconds))
		if best.seconds == 0 || d.seconds < best.seconds {
			best, ours, name = d, g, chunkName(chunks)
		}
	}
	r.target(fmt.Sprintf("service against Dask: stored `.npy`, %s elements, at Dask's best chunks (%s)", render.Number(float64(n)), name),
		ours, best, best.seconds/ours.seconds, 1)
	return nil
}

// generated compares the service with Dask on ones.
func (l *lab) generated(ctx context.Context, r *report) error {
	for _, c := range []struct {
		shape  []int64
		chunks []int64
		rounds int
		times  int // jobs in each round
		want   float64
	}{
		{[]int64{20000, 20000}, []int64{1000, 1000}, 9, 1, 2},
		{[]int64{1000, 1000}, []int64{100, 100}, 15, 10, 10},
		{[]int64{10000}, []int64{1}, 7, 1, 100},
		{[]int64{1000, 1000}, []int64{10, 10}, 7, 1, 100},
	} {
		name := fmt.Sprintf("`ones(%s)`, chunks %s", asJSON(c.shape), asJSON(c.chunks))
		spec := fmt.Sprintf(`"array":{"source":"ones","shape":%s,"chunks":%s}`, asJSON(c.shape), asJSON(c.chunks))
		figures, err := l.rounds(c.rounds, l.service(ctx, spec, c.times), l.dask("ones", file{shape: c.shape}, c.chunks, c.times))
		if err != nil {
			return err
		}
		g, d := figures[0], figures[1]
		if g.hex != d.hex {
			return fmt.Errorf("%s: the sums are %s and %s", name, g.hex, d.hex)
		}
		r.service.Row(name, render.Seconds(g.seconds), render.Seconds(d.seconds), render.Ratio(d.seconds, g.seconds))
		r.target("service against Dask: "+name, g, d, d.seconds/g.seconds, c.want)
	}
	return nil
}
