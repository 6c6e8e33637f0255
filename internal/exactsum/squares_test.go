package exactsum_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"gather/internal/exactsum"
)

// encodedSquares returns the encoding of the sum of squares of x, added one by one: those of large and small values
// scaled, and each as a product and its error.
func encodedSquares(x []float64) []byte {
	var sums [3]exactsum.Accumulator
	for _, v := range x {
		at, abs := 0, math.Abs(v)
		switch {
		case v == 0:
			sums[0].AddInt64(0)
			continue
		case math.IsNaN(v) || math.IsInf(v, 0):
			sums[0].AddFloat64(abs)
			continue
		case abs < 0x1p-485:
			at, v = 1, math.Ldexp(v, 600)
		case abs >= 0x1p511:
			at, v = 2, math.Ldexp(v, -600)
		}
		sums[0].AddInt64(0)
		sums[at].AddFloat64(v * v)
		sums[at].AddFloat64(math.FMA(v, v, -(v * v)))
	}
	var dst []byte
	for i := range sums {
		sum, _ := sums[i].AppendBinary(nil) // never fails
		dst = append(append(dst, byte(len(sum)), byte(len(sum)>>8)), sum...)
	}
	return dst
}

// squareSets are datasets for which levels of squares could be wrong.
var squareSets = map[string]func(*rand.Rand, int) []float64{
	"small exponents":           exponents(-490, -480),
	"large exponents":           exponents(505, 513),
	"the smallest first scale":  exponents(-440, -410),
	"the largest first scale":   exponents(480, 511),
	"exponents over 20 bits":    exponents(-20, 0),
	"exponents over 40 bits":    exponents(-40, 0),
	"exponents over 80 bits":    exponents(-80, 0),
	"products that become 0":    among(1, 0x1.23456789abcdep-560),
	"errors that underflow":     among(1, 0x1.23456789abcdep-500),
	"exact tiny squares":        among(0x1p-420, 0x1p-490),
	"exact squares far below":   among(1, 0x1p-500),
	"products in range":         among(0x1p-430, 0x1p-485),
	"a value above the range":   among(0x1p490, 0x1p511),
	"products that overflow":    among(0x1p490, 0x1p700),
	"a subnormal":               among(0x1p-300, 0x1p-1074),
	"the largest value of 2^10": each(func(*rand.Rand, int) float64 { return 0x1p11 - 0x1p-42 }),
	"errors of one sign":        each(func(*rand.Rand, int) float64 { return 1 + 0x1.8p-27 }),
}

func exponents(lo, hi int) func(*rand.Rand, int) []float64 {
	return each(func(rng *rand.Rand, _ int) float64 {
		return math.Ldexp(1+rng.Float64(), lo+rng.IntN(hi-lo)) * float64(rng.IntN(2)*2-1)
	})
}

// among returns values of the size of most, and one other in every 1000.
func among(most, other float64) func(*rand.Rand, int) []float64 {
	return each(func(rng *rand.Rand, i int) float64 {
		if i%1000 == 500 {
			return other
		}
		return most * float64(1+rng.IntN(100))
	})
}

func TestSquaresOfFloats(t *testing.T) {
	for _, sets := range []map[string]func(*rand.Rand, int) []float64{datasets, squareSets} {
		for name, generate := range sets {
			t.Run(name, func(t *testing.T) {
				f := exactsum.NewAdder() // keeps the scale of the last block
				for i, n := range lengths {
					x := generate(rand.New(rand.NewPCG(uint64(i), 7)), n)
					var wide, narrow exactsum.Squares
					f.Squares64(&wide, x)
					if got, _ := wide.AppendBinary(nil); !bytes.Equal(got, encodedSquares(x)) {
						t.Errorf("%d float64: got state %x, want %x", n, got, encodedSquares(x))
					}
					y := float32s(x)
					f.Squares32(&narrow, y)
					if got, _ := narrow.AppendBinary(nil); !bytes.Equal(got, encodedSquares(widened(y))) {
						t.Errorf("%d float32: got state %x, want %x", n, got, encodedSquares(widened(y)))
					}
				}
			})
		}
	}
}

// squareInts are generators of integers whose squares could be wrong.
func squareInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64]() map[string]func(*rand.Rand) T {
	return map[string]func(rng *rand.Rand) T{
		"any":      func(rng *rand.Rand) T { return T(rng.Uint64()) },
		"smallest": func(*rand.Rand) T { return T(1) << (8*unsafe.Sizeof(T(0)) - 1) }, // or large
		"largest":  func(*rand.Rand) T { return ^T(0) - T(1)<<(8*unsafe.Sizeof(T(0))-1) },
		"ones":     func(*rand.Rand) T { return ^T(0) }, // -1, or the largest
		"small":    func(rng *rand.Rand) T { return T(rng.IntN(5)) },
	}
}

func testSquareInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](t *testing.T) {
	t.Helper()
	for name, next := range squareInts[T]() {
		t.Run(fmt.Sprintf("%T/%s", T(0), name), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(24, 0))
			for _, n := range append([]int{127, 128, 129, 1<<20 + 1}, lengths...) {
				x := make([]T, n)
				var got, want exactsum.Squares
				for i := range x {
					x[i] = next(rng)
					want.SquareInt(int64(x[i]), ^T(0) > 0)
				}
				exactsum.SquareInts(&got, x)
				if got != want {
					t.Errorf("%d elements: got sum of squares %v, want %v", n, got.Sum().Float64(), want.Sum().Float64())
				}
			}
		})
	}
}

func TestSquaresOfInts(t *testing.T) {
	testSquareInts[int8](t)
	testSquareInts[int16](t)
	testSquareInts[int32](t)
	testSquareInts[int64](t)
	testSquareInts[uint8](t)
	testSquareInts[uint16](t)
	testSquareInts[uint32](t)
	testSquareInts[uint64](t)
	for _, n := range lengths {
		x := make([]byte, n)
		var got, want exactsum.Squares
		for i := range x {
			x[i] = byte(i % 3)
			want.SquareInt(int64(min(x[i], 1)), false)
		}
		exactsum.SquareBools(&got, x)
		if got != want {
			t.Errorf("%d bools: got sum of squares %v, want %v", n, got.Sum().Float64(), want.Sum().Float64())
		}
	}
}

func FuzzSquaresOfFloats(f *testing.F) {
	f.Add(1.0, 0x1p-40, 0x1p-500, uint16(1000))
	f.Add(0x1p510, 0x1p-485, 0x1p-1074, uint16(33))
	f.Fuzz(func(t *testing.T, a, b, c float64, n uint16) {
		x := make([]float64, n)
		for i := range x {
			x[i] = []float64{a, b, c, a * b, a + b, b - c, c * c}[i%7] * float64(i%5+1)
		}
		adder := exactsum.NewAdder()
		var s exactsum.Squares
		adder.Squares64(&s, x)
		adder.Squares64(&s, x)
		got, _ := s.AppendBinary(nil)
		if want := encodedSquares(slices.Concat(x, x)); !bytes.Equal(got, want) {
			t.Errorf("got state %x, want %x", got, want)
		}
	})
}

func BenchmarkSquares(b *testing.B) {
	x := normals(1 << 17)
	y := float32s(x)
	f := exactsum.NewAdder()
	var s exactsum.Squares
	b.Run("float64", func(b *testing.B) {
		b.SetBytes(8 << 17)
		for b.Loop() {
			f.Squares64(&s, x)
		}
	})
	b.Run("float32", func(b *testing.B) {
		b.SetBytes(4 << 17)
		for b.Loop() {
			f.Squares32(&s, y)
		}
	})
}

func BenchmarkSquareInts(b *testing.B) {
	benchSquares(b, 8, ints[int64])
	benchSquares(b, 4, ints[int32])
	benchSquares(b, 2, ints[int16])
	benchSquares(b, 1, ints[int8])
}

func benchSquares[T int8 | int16 | int32 | int64](b *testing.B, size int, generate func(int) []T) {
	b.Helper()
	x := generate(1 << 18 / size)
	b.Run(fmt.Sprintf("%T", x[0]), func(b *testing.B) {
		var s exactsum.Squares
		b.SetBytes(1 << 18)
		for b.Loop() {
			exactsum.SquareInts(&s, x)
		}
	})
}
