package exactsum_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// shapes are rows and columns around the limits of tiles (256 columns, 1024 rows) and of vectors.
var shapes = [][2]int{
	{0, 3},
	{3, 0},
	{1, 1},
	{5, 1},
	{1, 5},
	{2000, 1},
	{5000, 2},
	{3000, 3},
	{1030, 7},
	{33, 40},
	{100, 100},
	{17, 511},
	{16, 512},
	{9, 513},
	{5, 1029},
	{1025, 65},
	{2100, 12},
}

func compareColumns(t *testing.T, accs []exactsum.Accumulator, x []float64, rows int) {
	t.Helper()
	cols := len(accs)
	column := make([]float64, rows)
	for j := range accs {
		for i := range column {
			column[i] = x[i*cols+j]
		}
		if want := scalar(column); accs[j] != *want {
			t.Fatalf("%d x %d, column %d: state differs\n got %x, %v\nwant %x, %v",
				rows, cols, j, encode(&accs[j]), accs[j].Float64(), encode(want), want.Float64())
		}
	}
}

// spread returns the rows of a matrix with gaps between them, which are full of v.
func spread[T any](x []T, rows, cols int, v T) (spaced []T, stride int) {
	stride = cols + 5
	for i := range rows {
		spaced = append(spaced, x[i*cols:][:cols]...)
		if i < rows-1 && cols > 0 {
			spaced = append(spaced, v, v, v, v, v)
		}
	}
	return spaced, stride
}

func TestColumnsOfFloats(t *testing.T) {
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(11, 0))
			f := exactsum.NewAdder()
			for _, s := range shapes {
				rows, cols := s[0], s[1]
				x := generate(rng, rows*cols+1)[1:]
				y, h := float32s(x), float16s(x)
				for range 2 {
					accs := make([]exactsum.Accumulator, cols)
					f.ColumnsFloat64(accs, x, rows, len(accs))
					compareColumns(t, accs, x, rows)
				}
				accs := make([]exactsum.Accumulator, cols)
				f.ColumnsFloat32(accs, y, rows, len(accs))
				compareColumns(t, accs, widened(y), rows)
				clear(accs)
				f.ColumnsFloat16(accs, h, rows, len(accs))
				compareColumns(t, accs, widened16(h), rows)
				clear(accs)
				spaced, stride := spread(x, rows, cols, math.Inf(1))
				f.ColumnsFloat64(accs, spaced, rows, stride)
				compareColumns(t, accs, x, rows)
				clear(accs)
				spaced32, stride := spread(y, rows, cols, float32(math.NaN()))
				f.ColumnsFloat32(accs, spaced32, rows, stride)
				compareColumns(t, accs, widened(y), rows)
				clear(accs)
				spaced16, stride := spread(h, rows, cols, 0x7c00)
				f.ColumnsFloat16(accs, spaced16, rows, stride)
				compareColumns(t, accs, widened16(h), rows)
			}
		})
	}
}

// Each column has its own scale: columns of very different magnitudes and earlier values must not affect each other.
func TestColumnsOfDifferentScale(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const rows, cols = 2500, 30
	x := make([]float64, rows*cols)
	f := exactsum.NewAdder()
	accs := make([]exactsum.Accumulator, cols)
	want := make([]exactsum.Accumulator, cols)
	for round := range 3 {
		for i := range x {
			x[i] = rng.NormFloat64() * []float64{1, 1e-200, 1e200, 1e20}[(i%cols+round)%4]
			want[i%cols].AddFloat64(x[i])
		}
		f.ColumnsFloat64(accs, x, rows, len(accs))
	}
	for j := range accs {
		if accs[j] != want[j] {
			t.Fatalf("column %d: %v, want %v", j, accs[j].Float64(), want[j].Float64())
		}
	}
}

func TestColumnsRejectWrongShape(t *testing.T) {
	f := exactsum.NewAdder()
	for _, c := range []struct{ length, rows, cols, stride int }{
		{5, 2, 2, 2},
		{4, 1, 2, 2},
		{4, 3, 2, 2},
		{1, 1, 0, 0},
		{0, 1, 1, 1},
		{4, -2, 2, 2},
		{4, math.MaxInt, 4, 4},
		{4, 2, 2, 1},
		{4, 2, 2, 3},
		{6, 2, 2, 3},
		{4, 2, 2, 0},
		{4, 2, 2, -2},
		{5, 2, 2, math.MaxInt},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f.ColumnsFloat64(make([]exactsum.Accumulator, c.cols), make([]float64, c.length), c.rows, c.stride)
		})
	}
}
