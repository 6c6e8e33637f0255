package exactsum_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// sizes in bytes: one that fits the cache, one far beyond it.
var sizes = map[string]int{"1MiB": 1 << 20, "512MiB": 512 << 20}

// normals returns n normal values quickly.
func normals(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float64, n)
	for i := range x {
		if i < 1<<17 {
			x[i] = rng.NormFloat64()
		} else {
			x[i] = x[i-(1<<17)]
		}
	}
	return x
}

var sink float64

//go:noinline
func naiveSum(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

// BenchmarkFloat64s compares the exact sum with a plain loop, alternately.
func BenchmarkFloat64s(b *testing.B) {
	for name, size := range sizes {
		if testing.Short() && size > 1<<20 {
			continue
		}
		x := normals(size / 8)
		b.Run("naive/"+name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				sink = naiveSum(x)
			}
		})
		b.Run("exact/"+name, func(b *testing.B) {
			f := exactsum.NewAdder()
			b.SetBytes(int64(size))
			for b.Loop() {
				var a exactsum.Accumulator
				f.Float64s(&a, x)
				sink = a.Float64()
			}
		})
	}
}

// BenchmarkDatasets measures data that two levels cannot sum.
func BenchmarkDatasets(b *testing.B) {
	for _, name := range []string{
		"normal", "exponents over 100 bits", "exponents over all bits", "subnormal", "near overflow", "a nan",
	} {
		x := datasets[name](rand.New(rand.NewPCG(1, 1)), 1<<17)
		b.Run(name, func(b *testing.B) {
			f := exactsum.NewAdder()
			b.SetBytes(8 << 17)
			for b.Loop() {
				var a exactsum.Accumulator
				f.Float64s(&a, x)
				sink = a.Float64()
			}
		})
	}
}

func benchSlice[T any](
	b *testing.B, name string, width int, add func(*exactsum.Adder, *exactsum.Accumulator, []T), generate func(n int) []T,
) {
	b.Helper()
	x := generate(1 << 20 / width)
	b.Run(name, func(b *testing.B) {
		f := exactsum.NewAdder()
		b.SetBytes(1 << 20)
		for b.Loop() {
			var a exactsum.Accumulator
			add(f, &a, x)
			sink = a.Float64()
		}
	})
}

func ints[T int64 | int32 | int16 | int8](n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(uint64(i) * 0x9e3779b9)
	}
	return x
}

func BenchmarkTypes(b *testing.B) {
	type F = exactsum.Adder
	benchSlice(b, "float64", 8, (*F).Float64s, normals)
	benchSlice(b, "float32", 4, (*F).Float32s, func(n int) []float32 { return float32s(normals(n)) })
	benchSlice(b, "float16", 2, (*F).Float16s, func(n int) []uint16 { return float16s(normals(n)) })
	benchSlice(b, "int64", 8, (*F).Int64s, ints[int64])
	benchSlice(b, "int32", 4, (*F).Int32s, ints[int32])
	benchSlice(b, "int16", 2, (*F).Int16s, ints[int16])
	benchSlice(b, "int8", 1, (*F).Int8s, ints[int8])
	benchSlice(b, "bool", 1, (*F).Bools, func(n int) []byte { return make([]byte, n) })
}

func BenchmarkColumns(b *testing.B) {
	for _, cols := range []int{2, 100, 1000} {
		rows := 1 << 17 / cols
		x := normals(rows * cols)
		y := float32s(x)
		z := ints[int64](len(x))
		accs := make([]exactsum.Accumulator, cols)
		f := exactsum.NewAdder()
		b.Run(fmt.Sprintf("naive float64/%d", cols), func(b *testing.B) {
			b.SetBytes(int64(8 * len(x)))
			s := make([]float64, cols)
			for b.Loop() {
				for i := range rows {
					for j, v := range x[i*cols:][:cols] {
						s[j] += v
					}
				}
			}
		})
		b.Run(fmt.Sprintf("float64/%d", cols), func(b *testing.B) {
			b.SetBytes(int64(8 * len(x)))
			for b.Loop() {
				f.ColumnsFloat64(accs, x, rows, len(accs))
			}
		})
		b.Run(fmt.Sprintf("float32/%d", cols), func(b *testing.B) {
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				f.ColumnsFloat32(accs, y, rows, len(accs))
			}
		})
		b.Run(fmt.Sprintf("int64/%d", cols), func(b *testing.B) {
			b.SetBytes(int64(8 * len(x)))
			for b.Loop() {
				f.ColumnsInt64(accs, z, rows, len(accs))
			}
		})
	}
}

// BenchmarkColumnsFar reads columns from memory beyond the cache.
func BenchmarkColumnsFar(b *testing.B) {
	if testing.Short() {
		b.Skip("takes 512 MiB")
	}
	x := normals(512 << 20 / 8)
	for _, cols := range []int{2, 100, 1000, 10000} {
		rows := len(x) / cols
		accs := make([]exactsum.Accumulator, cols)
		f := exactsum.NewAdder()
		b.Run(fmt.Sprint(cols), func(b *testing.B) {
			b.SetBytes(int64(8 * rows * cols))
			for b.Loop() {
				f.ColumnsFloat64(accs, x[:rows*cols], rows, len(accs))
			}
		})
	}
}

func BenchmarkSmall(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		x := normals(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := exactsum.NewAdder()
			var a exactsum.Accumulator
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				f.Float64s(&a, x)
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	x := normals(100)
	p, q := scalar(x), scalar(x)
	for b.Loop() {
		p.Merge(q)
	}
}

func BenchmarkAddFloat64(b *testing.B) {
	x := normals(1000)
	var a exactsum.Accumulator
	for b.Loop() {
		for _, v := range x {
			a.AddFloat64(v)
		}
	}
}
