package exactsum_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// squareShapes are some of the shapes, because the reference takes long.
var squareShapes = [][2]int{{0, 3}, {1, 1}, {2000, 1}, {1030, 7}, {33, 40}, {5, 1029}, {2100, 12}}

// compareSquareColumns expects the states of the squares added one by one.
func compareSquareColumns(t *testing.T, s []exactsum.Squares, x []float64, rows int) {
	t.Helper()
	column := make([]float64, rows)
	for j := range s {
		for i := range column {
			column[i] = x[i*len(s)+j]
		}
		want := encodedSquares(column)
		if rows == 0 {
			want, _ = new(exactsum.Squares).AppendBinary(nil) // never fails
		}
		if got, _ := s[j].AppendBinary(nil); !bytes.Equal(got, want) {
			t.Fatalf("%d x %d, column %d: got state %x, want %x", rows, len(s), j, got, want)
		}
	}
}

func TestSquaresOfColumnsOfFloats(t *testing.T) {
	for _, sets := range []map[string]func(*rand.Rand, int) []float64{datasets, squareSets} {
		for name, generate := range sets {
			t.Run(name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(11, 0))
				f := exactsum.NewAdder()
				for _, shape := range squareShapes {
					rows, cols := shape[0], shape[1]
					x := generate(rng, rows*cols+1)[1:]
					s := make([]exactsum.Squares, cols)
					sum := func(j int) *exactsum.Squares { return &s[j] }
					f.SquareColumns64(cols, sum, x, rows, cols)
					compareSquareColumns(t, s, x, rows)
					clear(s)
					spaced, stride := spread(x, rows, cols, math.Inf(1))
					f.SquareColumns64(cols, sum, spaced, rows, stride)
					compareSquareColumns(t, s, x, rows)
					clear(s)
					y := float32s(x)
					f.SquareColumns32(cols, sum, y, rows, cols)
					compareSquareColumns(t, s, widened(y), rows)
					clear(s)
					spaced32, stride := spread(y, rows, cols, float32(math.NaN()))
					f.SquareColumns32(cols, sum, spaced32, rows, stride)
					compareSquareColumns(t, s, widened(y), rows)
				}
			})
		}
	}
}

func testSquareColumns[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](t *testing.T) {
	t.Helper()
	for name, next := range squareInts[T]() {
		t.Run(fmt.Sprintf("%T/%s", T(0), name), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(24, 0))
			f := exactsum.NewAdder()
			for _, shape := range squareShapes {
				rows, cols := shape[0], shape[1]
				x := make([]T, rows*cols)
				got, want := make([]exactsum.Squares, cols), make([]exactsum.Squares, cols)
				for i := range x {
					x[i] = next(rng)
					want[i%cols].SquareInt(int64(x[i]), ^T(0) > 0)
				}
				spaced, stride := spread(x, rows, cols, 99)
				for _, c := range []struct {
					x      []T
					stride int
				}{{x, cols}, {spaced, stride}} {
					clear(got)
					exactsum.SquareColumns(f, cols, func(j int) *exactsum.Squares { return &got[j] }, c.x, rows, c.stride)
					for j := range got {
						if got[j] != want[j] {
							t.Fatalf("%d x %d, column %d: got sum of squares %v, want %v",
								rows, cols, j, got[j].Sum().Float64(), want[j].Sum().Float64())
						}
					}
				}
			}
		})
	}
}

func TestSquaresOfColumnsOfInts(t *testing.T) {
	testSquareColumns[int8](t)
	testSquareColumns[int16](t)
	testSquareColumns[int32](t)
	testSquareColumns[int64](t)
	testSquareColumns[uint8](t)
	testSquareColumns[uint16](t)
	testSquareColumns[uint32](t)
	testSquareColumns[uint64](t)
}

// More rows than the sums of halves hold without a drain.
func TestSquaresOfLongColumns(t *testing.T) {
	const rows = 1<<19 + 20
	x := make([]uint64, rows*16)
	want := make([]exactsum.Squares, 16)
	for i := range x {
		x[i] = math.MaxUint64 - uint64(i%3)
		want[i%16].SquareInt(int64(x[i]), true)
	}
	got := make([]exactsum.Squares, 16)
	exactsum.SquareColumns(exactsum.NewAdder(), 16, func(j int) *exactsum.Squares { return &got[j] }, x, rows, 16)
	for j := range got {
		if got[j] != want[j] {
			t.Fatalf("column %d: got sum of squares %v, want %v", j, got[j].Sum().Float64(), want[j].Sum().Float64())
		}
	}
}

func FuzzSquaresOfColumns(f *testing.F) {
	f.Add(1.0, 0x1p-40, 0x1p-500, uint16(1000), uint8(9))
	f.Add(0x1p510, 0x1p-485, 0x1p-1074, uint16(33), uint8(40))
	f.Fuzz(func(t *testing.T, a, b, c float64, n uint16, width uint8) {
		rows, cols := int(n%3000), int(width)
		x := make([]float64, rows*cols)
		for i := range x {
			x[i] = []float64{a, b, c, a * b, a + b, b - c, c * c}[i%7] * float64(i%5+1)
		}
		adder := exactsum.NewAdder()
		s := make([]exactsum.Squares, cols)
		adder.SquareColumns64(cols, func(j int) *exactsum.Squares { return &s[j] }, x, rows, cols)
		compareSquareColumns(t, s, x, rows)
	})
}

func BenchmarkSquareColumns(b *testing.B) {
	const rows, cols = 128, 512
	x := normals(rows * cols)
	y := float32s(x)
	z := ints[int16](rows * cols)
	f := exactsum.NewAdder()
	s := make([]exactsum.Squares, cols)
	accs := make([]exactsum.Accumulator, cols)
	sum := func(j int) *exactsum.Squares { return &s[j] }
	for name, c := range map[string]struct {
		size int
		add  func()
	}{
		"float64":     {8, func() { f.SquareColumns64(cols, sum, x, rows, cols) }},
		"float32":     {4, func() { f.SquareColumns32(cols, sum, y, rows, cols) }},
		"int16":       {2, func() { exactsum.SquareColumns(f, cols, sum, z, rows, cols) }},
		"sum float64": {8, func() { f.ColumnsFloat64(accs, x, rows, cols) }},
		"sum float32": {4, func() { f.ColumnsFloat32(accs, y, rows, cols) }},
		"sum int16":   {2, func() { f.ColumnsInt16(accs, z, rows, cols) }},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(rows * cols * c.size))
			for b.Loop() {
				c.add()
			}
		})
	}
}
