package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gather/bench/render"
)

// workers are the pool sizes, on which results must not depend.
var workers = []int{1, 2, 8}

// identity sums one array over pools of several sizes and in ten chunkings.
func (l *lab) identity(ctx context.Context, r *report) error {
	f, err := l.array("wide", 8, []int64{1000, 1000}, wide())
	if err != nil {
		return err
	}
	exact, err := l.self.call(f.at("exact", 1))
	if err != nil {
		return err
	}
	fsum, err := l.numpyAndDask.call(f.at("fsum", 1))
	if err != nil {
		return err
	}
	var pools []*service
	defer func() {
		for _, s := range pools {
			s.stop()
		}
	}()
	for _, n := range workers {
		s, err := startService(ctx, l.server, "--workers="+strconv.Itoa(n))
		if err != nil {
			return err
		}
		pools = append(pools, s)
		if err := s.store(ctx, f); err != nil {
			return err
		}
	}
	ours, theirs := map[string]bool{}, map[string]bool{}
	for _, chunks := range []any{
		[]int64{100, 100},
		[]int64{1000, 1},
		[]int64{1, 1000},
		[]int64{37, 41},
		[]int64{333, 500},
		[]int64{7, 1000},
		[][]int64{{1, 999}, {500, 500}},
		250, "auto", whole,
	} {
		gather, dask := map[string]bool{}, map[string]bool{}
		for i, n := range workers {
			got, _, err := pools[i].sum(ctx, f.spec(chunks))
			if err != nil {
				return err
			}
			request := f.at("dask", 1)
			request.Source, request.Chunks, request.Workers = "memory", chunks, n
			a, err := l.numpyAndDask.call(request)
			if err != nil {
				return err
			}
			gather[got.Details.Hex], dask[a.Hex] = true, true
			ours[got.Details.Hex], theirs[a.Hex] = true, true
		}
		r.identity.Row(chunkName(chunks), keys(gather), keys(dask))
	}
	if len(ours) != 1 || !ours[exact.Hex] || fsum.Hex != exact.Hex {
		return fmt.Errorf("the sums are not all the same: %v, kernel %s, math.fsum %s", ours, exact.Hex, fsum.Hex)
	}
	r.identity.Note = fmt.Sprintf("1 000 000 normal values times powers of two from -30 to 29, each sum over pools of %s workers: %d sums by gather "+
		"with one result, %d by Dask with %d. `math.fsum` confirms %s.", "1, 2 and 8", 10*len(workers), 10*len(workers), len(theirs), exact.Hex)
	return l.columns(ctx, r)
}

func keys(set map[string]bool) string {
	var all []string
	for k := range set {
		all = append(all, "`"+k+"`")
	}
	return strings.Join(all, ", ")
}

// columns sums 2^25 rows of float32 along the first axis, where adding row by row stalls.
func (l *lab) columns(ctx context.Context, r *report) error {
	const rows, fill = 1 << 25, 0.1
	shape := []int64{rows, 2}
	ours, took, err := l.gather.sum(ctx, `"axis":0,"array":{"source":"full","fill_value":0.1,"dtype":"float32","shape":`+asJSON(shape)+`}`)
	if err != nil {
		return err
	}
	var sums []float32 // from the shortest decimals of a float32
	if err := json.Unmarshal(ours.Result, &sums); err != nil {
		return err
	}
	theirs, err := l.numpyAndDask.call(request{Op: "columns", Shape: shape, Fill: fill})
	if err != nil {
		return err
	}
	numpy, err := strconv.ParseFloat(theirs.Hex, 64)
	if err != nil {
		return err
	}
	exact := rows * float64(float32(fill)) // exact: times a power of two
	if len(sums) != 2 || sums[0] != float32(exact) || sums[1] != sums[0] {
		return fmt.Errorf("the sum of columns is %v, want %v", sums, exact)
	}
	r.columns.Row("gather", plain(float64(sums[0])), render.Seconds(took.Seconds()))
	r.columns.Row("`np.sum(x, axis=0)`", plain(numpy), render.Seconds(theirs.Seconds))
	r.columns.Row("exact", plain(exact), "")
	return nil
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
