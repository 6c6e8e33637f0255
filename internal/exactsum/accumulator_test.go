package exactsum_test

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

const (
	tiny    = math.SmallestNonzeroFloat64
	largest = math.MaxFloat64
)

var (
	inf     = math.Inf(1)
	nan     = math.NaN()
	minZero = math.Copysign(0, -1)
)

func TestSumOfFewValues(t *testing.T) {
	ulp := math.Ldexp(1, -52)
	for name, x := range map[string][]float64{
		"empty":                         {},
		"one":                           {1},
		"zero":                          {0},
		"only -0":                       {minZero, minZero},
		"-0 and 0":                      {minZero, 0},
		"-0 and a value":                {minZero, 1},
		"cancels to +0":                 {1.5, -1.5},
		"negative":                      {-1, -2.5},
		"smallest subnormal":            {tiny},
		"subnormals":                    {tiny, tiny, -5 * tiny},
		"subnormal to normal":           {0x1p-1022 - tiny, tiny},
		"subnormal of float32":          {0x1p-149, 0x1p-150},
		"tie of float32 to zero":        {0x1p-150},
		"above the tie of float32":      {0x1p-150, tiny},
		"below float32":                 {-0x1p-200},
		"tie to even, down":             {1, ulp / 2},
		"tie to even, up":               {1 + ulp, ulp / 2},
		"tie broken by the last bit":    {1, ulp / 2, tiny},
		"tie broken downwards":          {1 + ulp, ulp / 2, -tiny},
		"carry to the next binade":      {2 - ulp, ulp / 2},
		"double rounding to float32":    {1, 0x1p-24, 0x1p-60},
		"largest":                       {largest},
		"overflow":                      {largest, largest},
		"overflow undone":               {largest, largest, -largest},
		"tie at overflow":               {largest, 0x1p969, 0x1p969},
		"below the tie at overflow":     {largest, 0x1p969, 0x1p969, -tiny},
		"largest float32, tie":          {math.MaxFloat32, 0x1p103},
		"largest float32, below tie":    {math.MaxFloat32, 0x1p103, -1},
		"largest float16, tie":          {65504, 16},
		"largest float16, below tie":    {65504, 16, -0x1p-30},
		"subnormal of float16, tie":     {0x1p-24, 0x1p-25},
		"far below float16":             {0x1p-80},
		"whole range":                   {largest, tiny, -largest},
		"ill-conditioned":               {1e100, 1, -1e100},
		"infinity":                      {inf, 1, -largest},
		"negative infinity":             {1, -inf, largest},
		"both infinities":               {inf, 1, -inf},
		"both infinities, reversed":     {-inf, inf, 3},
		"infinity then nan":             {inf, nan},
		"nan":                           {1, nan},
		"nan with both infinities":      {nan, inf, -inf},
		"-0 and infinity":               {minZero, -inf},
		"integers":                      {0x1p62, 0x1p62, 0x1p62, 3},
		"a fraction that is an integer": {0.5, 0.25, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			a, want := scalar(x), referenceOf(x)
			check(t, a, want)
			if got, want := a.Float16(), want.float16(); got != want {
				t.Fatalf("Float16() = %#04x, want %#04x", got, want)
			}
			if got, want := a.IsEmpty(), len(x) == 0; got != want {
				t.Fatalf("IsEmpty() = %v, want %v", got, want)
			}
			v, special := want.special()
			if got, want := a.IsFinite(), !special || v == 0; got != want {
				t.Fatalf("IsFinite() = %v, want %v", got, want)
			}
			a.Reset()
			if *a != (exactsum.Accumulator{}) {
				t.Fatal("not empty after Reset")
			}
		})
	}
}

// Every binary16 and every midpoint of two, exactly and off the tie by the smallest amount.
func TestFloat16Rounding(t *testing.T) {
	next := func(h uint16) float64 {
		if h == 0x7c00 {
			return 65536
		}
		return float16Value(h)
	}
	for h := range uint16(0x7c00) {
		low, high := next(h), next(h+1)
		even := h + h&1
		middle := []float64{low / 2, high / 2}
		for _, c := range []struct {
			x    []float64
			want uint16
		}{{[]float64{low}, h}, {middle, even}, {append(middle, -tiny), h}, {append(middle, tiny), h + 1}} {
			if got := scalar(c.x).Float16(); got != c.want {
				t.Fatalf("%v: %#04x, want %#04x", c.x, got, c.want)
			}
			for i := range c.x {
				c.x[i] = -c.x[i]
			}
			if got := scalar(c.x).Float16(); h != 0 && got != c.want|0x8000 {
				t.Fatalf("%v: %#04x, want %#04x", c.x, got, c.want|0x8000)
			}
		}
	}
}

func TestIntegersBeyond64Bits(t *testing.T) {
	var a exactsum.Accumulator
	want := new(big.Int)
	for range 1000 {
		a.AddInt64(math.MinInt64)
		want.Add(want, big.NewInt(math.MinInt64))
	}
	for range 3000 {
		a.AddUint64(math.MaxUint64)
		want.Add(want, new(big.Int).SetUint64(math.MaxUint64))
		a.AddInt64(-7)
		want.Sub(want, big.NewInt(7))
	}
	if got, ok := a.Int(); !ok || got.Cmp(want) != 0 {
		t.Fatalf("Int() = %v, %v, want %v", got, ok, want)
	}
}

func TestIntegerAndFloatAgree(t *testing.T) {
	var ints, floats exactsum.Accumulator
	for i := range int64(100) {
		ints.AddInt64(50 - i)
		floats.AddFloat64(float64(50 - i))
	}
	if ints != floats {
		t.Fatalf("states differ: %v and %v", ints, floats)
	}
}

func TestMergeWithItselfDoubles(t *testing.T) {
	a := scalar([]float64{1e300, -3, tiny})
	a.Merge(a)
	check(t, a, referenceOf([]float64{1e300, -3, tiny, 1e300, -3, tiny}))
}

// FuzzOrder splits values into partial sums, merges them in another order, and expects the same state.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{}, uint64(0))
	f.Add(bytesOf(1, 2, 3, 4), uint64(1))
	f.Add(bytesOf(largest, tiny, -largest, minZero, 1), uint64(2))
	f.Add(bytesOf(inf, -inf, nan, 0), uint64(3))
	f.Add(bytesOf(minZero, minZero, minZero), uint64(4))
	f.Add(bytesOf(1e16, 1, -1e16, 1, 0x1p-1074, -0x1p-1060), uint64(5))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		x := floatsOf(data)
		whole := scalar(x)
		check(t, whole, referenceOf(x))

		rng := rand.New(rand.NewPCG(seed, 1))
		rng.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
		parts := []exactsum.Accumulator{{}}
		adder := exactsum.NewAdder()
		for len(x) > 0 {
			n := 1 + rng.IntN(len(x))
			var a exactsum.Accumulator
			if rng.IntN(2) == 0 {
				adder.Float64s(&a, x[:n])
			} else {
				a = *scalar(x[:n])
			}
			parts = append(parts, a)
			x = x[n:]
		}
		for len(parts) > 1 {
			i := rng.IntN(len(parts) - 1)
			parts[i].Merge(&parts[len(parts)-1])
			parts = parts[:len(parts)-1]
		}
		if parts[0] != *whole {
			t.Fatalf("states differ:\n%v\n%v", parts[0], *whole)
		}
	})
}

func bytesOf(x ...float64) (b []byte) {
	for _, v := range x {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func floatsOf(b []byte) (x []float64) {
	for ; len(b) >= 8; b = b[8:] {
		x = append(x, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return x
}
