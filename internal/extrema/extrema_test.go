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

// reference is the summary by definition.
func reference[T any](x []T, value func(T) float64, less func(a, b T) bool) extrema.Summary {
	s := extrema.Summary{Min: -1, Max: -1, FirstNaN: -1}
	for i, v := range x {
		switch f := value(v); {
		case math.IsNaN(f):
			if s.NaNs == 0 {
				s.FirstNaN = i
			}
			s.NaNs++
			continue
		case f == 0:
			s.Zeros++
		}
		if s.Min < 0 || less(v, x[s.Min]) {
			s.Min = i
		}
		if s.Max < 0 || less(x[s.Max], v) {
			s.Max = i
		}
	}
	return s
}

func testNumbers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](
	t *testing.T, sets map[string]func(*rand.Rand) T,
) {
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
				if got, want := extrema.Of(x), reference(x, value, less); got != want {
					t.Errorf("%d elements: got %+v, want %+v", n, got, want)
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
				want := reference(x, npy.Float16frombits, func(a, b uint16) bool { return npy.Float16frombits(a) < npy.Float16frombits(b) })
				if got := extrema.OfFloat16s(x); got != want {
					t.Errorf("%d elements: got %+v, want %+v", n, got, want)
				}
			}
		})
	}
}

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
				want := reference(x, func(b byte) float64 { return float64(b) }, func(a, b byte) bool { return truth(a) < truth(b) })
				if got := extrema.OfBools(x); got != want {
					t.Errorf("%d elements: got %+v, want %+v", n, got, want)
				}
			}
		})
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
		for name, got := range map[string]extrema.Summary{"float64": extrema.Of(x), "int8": extrema.Of(n)} {
			if got.Min != i {
				t.Errorf("%s: minimum at %d, want %d", name, got.Min, i)
			}
		}
		x[i] = math.NaN()
		if got := extrema.Of(x); got.FirstNaN != i || got.Max != 299-i {
			t.Errorf("got NaN at %d, maximum at %d; want %d, %d", got.FirstNaN, got.Max, i, 299-i)
		}
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

var sink extrema.Summary

func benchmark[T any](b *testing.B, size int, of func([]T) extrema.Summary) {
	x := make([]T, 2048)
	b.Run(fmt.Sprintf("%T", x[0]), func(b *testing.B) {
		b.SetBytes(int64(size * len(x)))
		for b.Loop() {
			sink = of(x)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	benchmark(b, 8, extrema.Of[float64])
	benchmark(b, 4, extrema.Of[float32])
	benchmark(b, 8, extrema.Of[int64])
	benchmark(b, 4, extrema.Of[int32])
	benchmark(b, 2, extrema.Of[int16])
	benchmark(b, 1, extrema.Of[uint8])
	b.Run("float16", func(b *testing.B) { benchmark(b, 2, extrema.OfFloat16s) })
}
