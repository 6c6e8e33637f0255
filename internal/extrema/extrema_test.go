package extrema_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"gather/internal/extrema"
	"gather/internal/npy"
)

// lengths are around multiples of what the kernels read at once, and of a limit of their counters.
var lengths = []int{0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 500, 2048, 5000, 1<<19 + 200}

// indices are the first extremes and the first NaN by definition, or -1, and the counts.
type indices struct{ min, max, nan, zeros, nans int }

func reference[T any](x []T, value func(T) float64, less func(a, b T) bool) indices {
	s := indices{min: -1, max: -1, nan: -1}
	for i, v := range x {
		switch f := value(v); {
		case math.IsNaN(f):
			if s.nans == 0 {
				s.nan = i
			}
			s.nans++
			continue
		case f == 0:
			s.zeros++
		}
		if s.min < 0 || less(v, x[s.min]) {
			s.min = i
		}
		if s.max < 0 || less(x[s.max], v) {
			s.max = i
		}
	}
	return s
}

// check compares a summary, and what index finds, with the reference.
func check[T extrema.Number](t *testing.T, n int, got extrema.Summary[T], want indices, value func(i int) T, index func(T) int) {
	t.Helper()
	w := extrema.Summary[T]{Zeros: want.zeros, NaNs: want.nans}
	if want.min >= 0 {
		w.Min, w.Max = value(want.min), value(want.max)
	}
	if got != w {
		t.Errorf("%d elements: got %+v, want %+v", n, got, w)
	}
	if want.min >= 0 {
		if i, k := index(w.Min), index(w.Max); i != want.min || k != want.max {
			t.Errorf("%d elements: got the minimum at %d and the maximum at %d, want %d and %d", n, i, k, want.min, want.max)
		}
	}
	if want.nan >= 0 {
		if i := index(value(want.nan)); i != want.nan {
			t.Errorf("%d elements: got NaN at %d, want %d", n, i, want.nan)
		}
	}
}

func testNumbers[T extrema.Number](t *testing.T, sets map[string]func(*rand.Rand) T) {
	t.Helper()
	value := func(v T) float64 { return float64(v) }
	less := func(a, b T) bool { return a < b }
	for name, next := range sets {
		t.Run(fmt.Sprintf("%T/%s", T(0), name), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			for _, n := range lengths {
				x := make([]T, n+1)[1:] // unaligned
				for i := range x {
					x[i] = next(rng)
				}
				want := reference(x, value, less)
				check(t, n, extrema.Of(x), want, func(i int) T { return x[i] }, func(v T) int { return extrema.Index(x, 1, v) })
				if n > 0 && want.nans == 0 {
					if lo, hi := extrema.Range(x); lo != x[want.min] || hi != x[want.max] {
						t.Errorf("%d elements: got range %v to %v, want %v to %v", n, lo, hi, x[want.min], x[want.max])
					}
				}
			}
		})
	}
}

func integers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64]() map[string]func(*rand.Rand) T {
	return map[string]func(*rand.Rand) T{
		"any":      func(rng *rand.Rand) T { return T(rng.Uint64()) },
		"small":    func(rng *rand.Rand) T { return T(rng.IntN(7)) },
		"zeros":    func(*rand.Rand) T { return 0 },
		"ones":     func(*rand.Rand) T { return 1 },
		"negative": func(rng *rand.Rand) T { return ^T(rng.IntN(3)) }, // or large
		"a zero":   func(rng *rand.Rand) T { return T(min(rng.IntN(100), 1)) },
	}
}

func floats[T float32 | float64]() map[string]func(*rand.Rand) T {
	nan, inf, negZero := T(math.NaN()), T(math.Inf(1)), T(math.Copysign(0, -1))
	choice := func(v ...T) func(*rand.Rand) T { return func(rng *rand.Rand) T { return v[rng.IntN(len(v))] } }
	return map[string]func(*rand.Rand) T{
		"normal":               func(rng *rand.Rand) T { return T(rng.NormFloat64()) },
		"integers":             func(rng *rand.Rand) T { return T(rng.IntN(9) - 4) },
		"zeros":                choice(0, negZero),
		"NaNs":                 choice(nan),
		"NaNs and values":      choice(nan, nan, nan, 1, 2, -3),
		"NaNs and infinities":  choice(nan, inf, -inf),
		"NaNs and +Inf":        choice(nan, inf),
		"NaNs and -Inf":        choice(nan, -inf),
		"+Inf":                 choice(inf),
		"-Inf":                 choice(-inf),
		"zeros and ones":       choice(0, negZero, 1, 1, 1),
		"zeros and minus ones": choice(negZero, 0, -1, -1, -1),
		"subnormals":           func(rng *rand.Rand) T { return T(math.SmallestNonzeroFloat32) * T(rng.IntN(9)-4) },
		"a rare NaN": func(rng *rand.Rand) T {
			if rng.IntN(700) == 0 {
				return nan
			}
			return T(rng.NormFloat64())
		},
	}
}

func TestOf(t *testing.T) {
	testNumbers(t, integers[int8]())
	testNumbers(t, integers[int16]())
	testNumbers(t, integers[int32]())
	testNumbers(t, integers[int64]())
	testNumbers(t, integers[uint8]())
	testNumbers(t, integers[uint16]())
	testNumbers(t, integers[uint32]())
	testNumbers(t, integers[uint64]())
	testNumbers(t, floats[float32]())
	testNumbers(t, floats[float64]())
}

func TestOfFloat16s(t *testing.T) {
	for name, next := range floats[float32]() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			for _, n := range lengths {
				x := make([]uint16, n+1)[1:]
				for i := range x {
					x[i] = npy.Float16bits(float64(next(rng)))
					if i%50 == 20 && name != "NaNs" {
						x[i] = uint16(rng.Uint32())
					}
				}
				want := reference(x, npy.Float16frombits, less16)
				value := func(i int) float32 { return float32(npy.Float16frombits(x[i])) }
				check(t, n, extrema.OfFloat16s(x), want, value, func(v float32) int { return extrema.IndexOfFloat16(x, 1, v) })
				if n > 0 && want.nans == 0 {
					if lo, hi := extrema.RangeOfFloat16s(x); lo != value(want.min) || hi != value(want.max) {
						t.Errorf("%d elements: got range %v to %v, want %v to %v", n, lo, hi, value(want.min), value(want.max))
					}
				}
			}
		})
	}
}

func less16(a, b uint16) bool { return npy.Float16frombits(a) < npy.Float16frombits(b) }

func TestOfBools(t *testing.T) {
	truth := func(b byte) byte { return min(b, 1) }
	for name, next := range integers[uint8]() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			for _, n := range lengths {
				x := make([]byte, n)
				for i := range x {
					x[i] = next(rng)
				}
				r := reference(x, func(b byte) float64 { return float64(b) }, func(a, b byte) bool { return truth(a) < truth(b) })
				want := extrema.Summary[uint8]{Zeros: r.zeros}
				if n > 0 {
					want.Min, want.Max = truth(x[r.min]), truth(x[r.max])
				}
				if got := extrema.OfBools(x); got != want {
					t.Errorf("%d elements: got %+v, want %+v", n, got, want)
				}
			}
		})
	}
}

// shapes are rows and columns around the lengths of vectors and the limit for rows side by side.
var shapes = [][2]int{{1, 1}, {3, 5}, {200, 1}, {129, 3}, {65, 17}, {300, 31}, {64, 63}, {64, 64}, {7, 65}, {50, 100}, {5, 300}}

func testColumns[T extrema.Number](t *testing.T, sets map[string]func(*rand.Rand) T) {
	t.Helper()
	for name, next := range sets {
		t.Run(fmt.Sprintf("%T/%s", T(0), name), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			for _, shape := range shapes {
				for _, gap := range []int{0, 3} {
					rows, cols := shape[0], shape[1]
					stride := cols + gap
					x := make([]T, (rows-1)*stride+cols)
					for i := range x {
						if x[i] = next(rng); x[i] != x[i] { //nolint:revive // NaN
							x[i] = 0
						}
					}
					lo, hi := make([]T, cols), make([]T, cols)
					extrema.Columns(lo, hi, x, rows, stride)
					for j := range cols {
						want := [2]T{x[j], x[j]}
						for i := range rows {
							want = [2]T{min(want[0], x[i*stride+j]), max(want[1], x[i*stride+j])}
						}
						if lo[j] != want[0] || hi[j] != want[1] {
							t.Errorf("%d x %d, column %d: got %v to %v, want %v", rows, cols, j, lo[j], hi[j], want)
						}
						if i := extrema.Index(x[j:], stride, lo[j]); x[j+i*stride] != lo[j] || i > 0 && extrema.Index(x[j:j+(i-1)*stride+1], stride, lo[j]) >= 0 {
							t.Errorf("%d x %d, column %d: row %d is not the first with the minimum", rows, cols, j, i)
						}
					}
				}
			}
		})
	}
}

func TestOfColumns(t *testing.T) {
	testColumns(t, integers[int8]())
	testColumns(t, integers[int16]())
	testColumns(t, integers[int32]())
	testColumns(t, integers[int64]())
	testColumns(t, integers[uint8]())
	testColumns(t, integers[uint16]())
	testColumns(t, integers[uint32]())
	testColumns(t, integers[uint64]())
	testColumns(t, floats[float32]())
	testColumns(t, floats[float64]())
	rng := rand.New(rand.NewPCG(1, 1))
	for _, shape := range shapes {
		rows, cols := shape[0], shape[1]
		x := make([]uint16, rows*cols)
		for i := range x {
			x[i] = npy.Float16bits(rng.NormFloat64())
		}
		lo, hi := make([]float32, cols), make([]float32, cols)
		extrema.ColumnsOfFloat16s(lo, hi, x, rows, cols)
		for j := range cols {
			column := make([]uint16, rows)
			for i := range column {
				column[i] = x[i*cols+j]
			}
			r := reference(column, npy.Float16frombits, less16)
			l, h := npy.Float16frombits(column[r.min]), npy.Float16frombits(column[r.max])
			if float64(lo[j]) != l || float64(hi[j]) != h {
				t.Errorf("%d x %d float16, column %d: got %v to %v, want %v to %v", rows, cols, j, lo[j], hi[j], l, h)
			}
			if i := extrema.IndexOfFloat16(x[j:], cols, lo[j]); i != r.min {
				t.Errorf("%d x %d float16, column %d: got the minimum at %d, want %d", rows, cols, j, i, r.min)
			}
		}
	}
}

// An extreme or a NaN is found wherever it is.
func TestPositions(t *testing.T) {
	for i := range 300 {
		x := make([]float64, 300)
		x[i] = -1
		x[299-i] += 2
		n := make([]int8, 300)
		n[i] = -1
		if got := extrema.Index(x, 1, -1); got != i {
			t.Errorf("float64: minimum at %d, want %d", got, i)
		}
		if got := extrema.Index(n, 1, -1); got != i {
			t.Errorf("int8: minimum at %d, want %d", got, i)
		}
		x[i] = math.NaN()
		if nan, largest := extrema.Index(x, 1, math.NaN()), extrema.Index(x, 1, extrema.Of(x).Max); nan != i || largest != 299-i {
			t.Errorf("got NaN at %d, maximum at %d; want %d, %d", nan, largest, i, 299-i)
		}
	}
	if got := extrema.Index([]int8{1, 2}, 1, 3); got != -1 {
		t.Errorf("got %d for a value that is not there, want -1", got)
	}
}

// The kernels are selected at startup, so the tests run again in a process without AVX2.
func TestWithoutAVX2(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^(TestOf|TestPositions)")
	cmd.Env = append(os.Environ(), "GODEBUG=cpu.avx2=off,cpu.avx512f=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

var sink any

func benchmark[T extrema.Number](b *testing.B, size int) {
	x := make([]T, 2048)
	lo, hi := make([]T, 128), make([]T, 128)
	for name, of := range map[string]func(){
		"summary": func() { sink = extrema.Of(x).Zeros },
		"range":   func() { lo[0], hi[0] = extrema.Range(x) },
		"columns": func() { extrema.Columns(lo, hi, x, 16, 128) },
	} {
		b.Run(fmt.Sprintf("%T/%s", x[0], name), func(b *testing.B) {
			b.SetBytes(int64(size * len(x)))
			for b.Loop() {
				of()
			}
		})
	}
}

func BenchmarkOf(b *testing.B) {
	benchmark[float64](b, 8)
	benchmark[float32](b, 4)
	benchmark[int64](b, 8)
	benchmark[int32](b, 4)
	benchmark[int16](b, 2)
	benchmark[uint8](b, 1)
}
