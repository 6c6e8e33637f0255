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
					f.ColumnsFloat64(accs, x, rows)
					compareColumns(t, accs, x, rows)
				}
				accs := make([]exactsum.Accumulator, cols)
				f.ColumnsFloat32(accs, y, rows)
				compareColumns(t, accs, widened(y), rows)
				clear(accs)
				f.ColumnsFloat16(accs, h, rows)
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
		f.ColumnsFloat64(accs, x, rows)
	}
	for j := range accs {
		if accs[j] != want[j] {
			t.Fatalf("column %d: %v, want %v", j, accs[j].Float64(), want[j].Float64())
		}
	}
}

func TestColumnsRejectWrongShape(t *testing.T) {
	f := exactsum.NewAdder()
	for _, c := range []struct{ length, rows, cols int }{
		{5, 2, 2}, {4, 1, 2}, {4, 3, 2}, {1, 1, 0}, {0, 1, 1}, {4, -2, 2}, {4, math.MaxInt, 4},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f.ColumnsFloat64(make([]exactsum.Accumulator, c.cols), make([]float64, c.length), c.rows)
		})
	}
}
