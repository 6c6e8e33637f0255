package exactsum_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"gather/internal/exactsum"
)

// integerTest tests the slice and the column method of one type.
type integerTest[T any] struct {
	slice   func(*exactsum.Adder, *exactsum.Accumulator, []T)
	columns func(*exactsum.Adder, []exactsum.Accumulator, []T, int, int)
	big     func(T) *big.Int
	// make converts random bits to a value.
	make func(uint64) T
}

func signedTest[T int64 | int32 | int16 | int8](
	slice func(*exactsum.Adder, *exactsum.Accumulator, []T), columns func(*exactsum.Adder, []exactsum.Accumulator, []T, int, int),
) func(*testing.T) {
	return integerTest[T]{
		slice, columns,
		func(v T) *big.Int { return big.NewInt(int64(v)) },
		func(b uint64) T { return T(b) },
	}.run
}

func unsignedTest[T uint64 | uint32 | uint16 | uint8](
	slice func(*exactsum.Adder, *exactsum.Accumulator, []T), columns func(*exactsum.Adder, []exactsum.Accumulator, []T, int, int),
) func(*testing.T) {
	return integerTest[T]{
		slice, columns,
		func(v T) *big.Int { return new(big.Int).SetUint64(uint64(v)) },
		func(b uint64) T { return T(b) },
	}.run
}

func TestIntegers(t *testing.T) {
	type F = exactsum.Adder
	t.Run("int64", signedTest((*F).Int64s, (*F).ColumnsInt64))
	t.Run("int32", signedTest((*F).Int32s, (*F).ColumnsInt32))
	t.Run("int16", signedTest((*F).Int16s, (*F).ColumnsInt16))
	t.Run("int8", signedTest((*F).Int8s, (*F).ColumnsInt8))
	t.Run("uint64", unsignedTest((*F).Uint64s, (*F).ColumnsUint64))
	t.Run("uint32", unsignedTest((*F).Uint32s, (*F).ColumnsUint32))
	t.Run("uint16", unsignedTest((*F).Uint16s, (*F).ColumnsUint16))
	t.Run("uint8", unsignedTest((*F).Uint8s, (*F).ColumnsUint8))
	t.Run("bool", integerTest[byte]{
		(*F).Bools, (*F).ColumnsBool,
		func(v byte) *big.Int {
			if v != 0 {
				return big.NewInt(1)
			}
			return new(big.Int)
		},
		func(b uint64) byte { return byte(b & (b >> 8)) },
	}.run)
}

func (c integerTest[T]) run(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for name, generate := range map[string]func() uint64{
		"random":   rng.Uint64,
		"smallest": func() uint64 { return 0x8080808080808080 >> 7 << 7 },
		"minimum":  func() uint64 { return 1<<63 | 1<<31 | 1<<15 | 1<<7 },
		"all ones": func() uint64 { return 1<<64 - 1 },
		"maximum":  func() uint64 { return 0x7f7f7f7f7f7f7f7f },
		"zero":     func() uint64 { return 0 },
		"small":    func() uint64 { return uint64(int64(rng.IntN(7) - 3)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := exactsum.NewAdder()
			for _, n := range lengths {
				x := make([]T, n+1)[1:]
				want := new(big.Int)
				for i := range x {
					x[i] = c.make(generate())
					want.Add(want, c.big(x[i]))
				}
				var a exactsum.Accumulator
				c.slice(f, &a, x)
				if got, ok := a.Int(); !ok || got.Cmp(want) != 0 {
					t.Fatalf("%d values: %v, %v, want %v", n, got, ok, want)
				}
				if a.IsEmpty() != (n == 0) {
					t.Fatalf("%d values: IsEmpty() = %v", n, a.IsEmpty())
				}
			}
			for _, s := range shapes {
				c.runColumns(t, f, generate, s[0], s[1])
			}
		})
	}
}

func (c integerTest[T]) runColumns(t *testing.T, f *exactsum.Adder, generate func() uint64, rows, cols int) {
	t.Helper()
	x := make([]T, rows*cols+1)[1:]
	want := make([]big.Int, cols)
	for i := range x {
		x[i] = c.make(generate())
		want[i%cols].Add(&want[i%cols], c.big(x[i]))
	}
	accs := make([]exactsum.Accumulator, cols)
	c.columns(f, accs, x, rows, cols)
	for j := range accs {
		if got, ok := accs[j].Int(); !ok || got.Cmp(&want[j]) != 0 {
			t.Fatalf("%d x %d, column %d: %v, %v, want %v", rows, cols, j, got, ok, &want[j])
		}
	}
	apart := make([]exactsum.Accumulator, cols)
	spaced, stride := spread(x, rows, cols, c.make(1<<63-1))
	c.columns(f, apart, spaced, rows, stride)
	if !slices.Equal(apart, accs) {
		t.Fatalf("%d x %d, rows %d apart: the sums differ from those without gaps", rows, cols, stride)
	}
}

// Long runs of the extremes, which would overflow a kernel's narrow sums first.
func TestIntegersOfLongRuns(t *testing.T) {
	f := exactsum.NewAdder()
	longRun(t, f.Int64s, f.ColumnsInt64, math.MinInt64, math.MaxInt64)
	longRun(t, f.Int32s, f.ColumnsInt32, math.MinInt32, math.MaxInt32)
	longRun(t, f.Int16s, f.ColumnsInt16, math.MinInt16, math.MaxInt16)
	longRun(t, f.Int8s, f.ColumnsInt8, math.MinInt8, math.MaxInt8)
	longRun(t, f.Uint64s, f.ColumnsUint64, math.MaxUint64)
	longRun(t, f.Uint32s, f.ColumnsUint32, math.MaxUint32)
	longRun(t, f.Uint16s, f.ColumnsUint16, math.MaxUint16, 0)
	longRun(t, f.Uint8s, f.ColumnsUint8, math.MaxUint8)
}

func longRun[T int64 | int32 | int16 | int8 | uint64 | uint32 | uint16 | uint8](
	t *testing.T, add func(*exactsum.Accumulator, []T), addColumns func([]exactsum.Accumulator, []T, int, int), values ...T,
) {
	t.Helper()
	for _, v := range values {
		x := make([]T, longRunLen)
		for i := range x {
			x[i] = v
		}
		var a exactsum.Accumulator
		add(&a, x)
		want := new(big.Int).SetUint64(uint64(v))
		if v < 0 {
			want.SetInt64(int64(v))
		}
		want.Mul(want, big.NewInt(longRunLen))
		if got, ok := a.Int(); !ok || got.Cmp(want) != 0 {
			t.Errorf("%d times %T %v: %v, %v, want %v", longRunLen, v, v, got, ok, want)
		}
		accs := make([]exactsum.Accumulator, longRunCols)
		addColumns(accs, x, longRunLen/longRunCols, longRunCols)
		var total exactsum.Accumulator
		for j := range accs {
			if accs[j] != accs[0] {
				t.Errorf("%T %v: column %d differs from column 0", v, v, j)
			}
			total.Merge(&accs[j])
		}
		if total != a {
			t.Errorf("%T %v: the columns add up to %v, want %v", v, v, total.Float64(), a.Float64())
		}
	}
}
