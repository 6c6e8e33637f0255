package exactsum_test

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"gather/internal/exactsum"
)

// rational returns the exact sum and sum of squares.
func rational(x []float64) (sum, squares *big.Rat) {
	sum, squares = new(big.Rat), new(big.Rat)
	for _, v := range x {
		r := new(big.Rat).SetFloat64(v)
		sum.Add(sum, r)
		squares.Add(squares, r.Mul(r, r))
	}
	return sum, squares
}

// rootOf returns the correctly rounded square root of r, by bisection with exact comparisons.
func rootOf(r *big.Rat) float64 {
	f, _ := r.Float64()
	near := math.Sqrt(f)
	if f < 0x1p-900 || math.IsInf(f, 0) { // subnormal, or beyond the floats, though the root is one
		p := new(big.Float).SetPrec(3000).SetRat(r)
		near, _ = p.Sqrt(p).Float64()
	}
	for _, v := range []float64{math.Nextafter(near, 0), near, math.Nextafter(near, math.Inf(1))} {
		// v is right if r is between the squares of the middles to its neighbours.
		lo, hi := middle(math.Nextafter(v, math.Inf(-1)), v), middle(v, math.Nextafter(v, math.Inf(1)))
		if lo.Sign() < 0 {
			lo.SetInt64(0)
		}
		below, above := lo.Mul(lo, lo).Cmp(r), hi.Mul(hi, hi).Cmp(r)
		tie := below == 0 || above == 0
		if below <= 0 && above >= 0 && !(tie && math.Float64bits(v)&1 != 0) {
			return v
		}
	}
	return near
}

func middle(a, b float64) *big.Rat {
	m := new(big.Rat).Add(new(big.Rat).SetFloat64(a), new(big.Rat).SetFloat64(b))
	return m.Quo(m, big.NewRat(2, 1))
}

func TestStatistics(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 0))
	sets := map[string]func() float64{
		"normal":    rng.NormFloat64,
		"offset":    func() float64 { return 1e9 + rng.NormFloat64()*1e-3 },
		"equal":     func() float64 { return 0.1 },
		"tiny":      func() float64 { return math.Ldexp(rng.NormFloat64(), -1060) },
		"huge":      func() float64 { return math.Ldexp(rng.NormFloat64(), 1015) },
		"every":     func() float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(1500)-750) },
		"subnormal": func() float64 { return math.Float64frombits(rng.Uint64N(1 << 30)) },
		"integers":  func() float64 { return float64(rng.IntN(100) - 50) },
		"border":    func() float64 { return math.Ldexp(1+rng.Float64(), rng.IntN(5)-487) },
		"zero":      func() float64 { return 0 },
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) { // the same values in every run
		next := sets[name]
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 2, 3, 10, 1000, 5000} {
				x := make([]float64, n)
				for i := range x {
					x[i] = next()
				}
				f := exactsum.NewAdder()
				var sum exactsum.Accumulator
				var squares exactsum.Squares
				f.Float64s(&sum, x)
				f.Squares64(&squares, x)
				wantSum, wantSquares := rational(x)
				count := big.NewRat(int64(n), 1)

				want, _ := new(big.Rat).Quo(wantSum, count).Float64()
				if got := sum.Mean(int64(n)).Float64(); got != want {
					t.Errorf("mean of %d: got %v, want %v", n, got, want)
				}
				for _, ddof := range []int64{0, 1, 2} {
					if int64(n) <= ddof {
						continue
					}
					// n*squares - sum^2, over n*(n-ddof)
					v := new(big.Rat).Mul(count, wantSquares)
					v.Sub(v, new(big.Rat).Mul(wantSum, wantSum))
					v.Quo(v, new(big.Rat).Mul(count, big.NewRat(int64(n)-ddof, 1)))
					want, _ := v.Float64()
					got := squares.Variance(&sum, int64(n), ddof)
					if got.Float64() != want {
						t.Errorf("variance of %d, ddof %d: got %v, want %v", n, ddof, got.Float64(), want)
					}
					if got, want := got.Sqrt().Float64(), rootOf(v); got != want {
						t.Errorf("std of %d, ddof %d: got %v, want %v", n, ddof, got, want)
					}
				}
				if got, want := squares.Sum().Sqrt().Float64(), rootOf(wantSquares); got != want {
					t.Errorf("norm of %d: got %v, want %v", n, got, want)
				}
				if want, _ := wantSquares.Float64(); squares.Sum().Float64() != want {
					t.Errorf("sum of squares of %d: got %v, want %v", n, squares.Sum().Float64(), want)
				}
			}
		})
	}
}

// The state of a sum of squares depends only on the values, not on their blocks, and survives its encoding.
func TestSquaresState(t *testing.T) {
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(22, 0))
			x := generate(rng, 5000)
			f := exactsum.NewAdder()
			var whole, parts, again exactsum.Squares
			f.Squares64(&whole, x)
			for lo := 0; lo < len(x); {
				hi := min(lo+1+rng.IntN(900), len(x))
				var part exactsum.Squares
				f.Squares64(&part, x[lo:hi])
				parts.Merge(&part)
				lo = hi
			}
			if parts != whole {
				t.Error("the state of merged parts differs from that of all values")
			}
			data, _ := whole.AppendBinary(nil)
			rest, err := again.UnmarshalPrefix(append(data, 1, 2))
			if err != nil || len(rest) != 2 || again != whole {
				t.Errorf("decoded: got %v, %d bytes left, equal %t; want 2 bytes and the same state", err, len(rest), again == whole)
			}
			y := float32s(x)
			var singles, wide exactsum.Squares
			f.Squares32(&singles, y)
			f.Squares64(&wide, widened(y))
			if singles.Sum().Float64() != wide.Sum().Float64() && !math.IsNaN(wide.Sum().Float64()) {
				t.Errorf("float32: got %v, want %v", singles.Sum().Float64(), wide.Sum().Float64())
			}
		})
	}
}

func TestSquaresOfIntegers(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 0))
	for _, unsigned := range []bool{false, true} {
		var s exactsum.Squares
		want := new(big.Int)
		for i := range 2000 {
			v := int64(rng.Uint64())
			if i < 3 {
				v = []int64{math.MinInt64, math.MaxInt64, -1}[i]
			}
			s.SquareInt(v, unsigned)
			b := big.NewInt(v)
			if unsigned {
				b.SetUint64(uint64(v))
			}
			want.Add(want, b.Mul(b, b))
		}
		f, _ := new(big.Float).SetInt(want).Float64()
		if got := s.Sum().Float64(); got != f {
			t.Errorf("unsigned %t: got %v, want %v", unsigned, got, f)
		}
	}
}

// What is not finite, and divisors that are not positive, are as in NumPy.
func TestSpecialStatistics(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		x               []float64
		ddof            int64
		mean, variance  float64
		sumOfSquares    float64
		withoutVariance bool
	}{
		{x: nil, mean: nan, variance: nan, sumOfSquares: 0},
		{x: []float64{1}, ddof: 1, mean: 1, variance: nan, sumOfSquares: 1},
		{x: []float64{1, 3}, ddof: 2, mean: 2, variance: inf, sumOfSquares: 10},
		{x: []float64{1, 3}, ddof: 5, mean: 2, variance: inf, sumOfSquares: 10},
		{x: []float64{1, 3}, ddof: math.MinInt64, mean: 2, variance: 2 / 0x1p63, sumOfSquares: 10},
		{x: []float64{inf, 1}, mean: inf, variance: nan, sumOfSquares: inf},
		{x: []float64{inf, -inf}, mean: nan, variance: nan, sumOfSquares: inf},
		{x: []float64{nan, 1}, mean: nan, variance: nan, sumOfSquares: nan},
		{x: []float64{math.MaxFloat64, math.MaxFloat64}, mean: math.MaxFloat64, variance: 0, sumOfSquares: inf},
		{x: []float64{math.MaxFloat64, -math.MaxFloat64}, mean: 0, variance: inf, sumOfSquares: inf},
	} {
		t.Run(fmt.Sprint(c.x, c.ddof), func(t *testing.T) {
			f := exactsum.NewAdder()
			var sum exactsum.Accumulator
			var squares exactsum.Squares
			f.Float64s(&sum, c.x)
			f.Squares64(&squares, c.x)
			n := int64(len(c.x))
			for _, v := range []struct {
				name      string
				got, want float64
			}{
				{"mean", sum.Mean(n).Float64(), c.mean},
				{"variance", squares.Variance(&sum, n, c.ddof).Float64(), c.variance},
				{"sum of squares", squares.Sum().Float64(), c.sumOfSquares},
				{"norm", squares.Sum().Sqrt().Float64(), math.Sqrt(c.sumOfSquares)},
			} {
				if v.name == "norm" && math.IsInf(c.sumOfSquares, 0) && squares.IsFinite() {
					continue // the root of a sum beyond the floats is one
				}
				if v.got != v.want && !(math.IsNaN(v.got) && math.IsNaN(v.want)) {
					t.Errorf("%s: got %v, want %v", v.name, v.got, v.want)
				}
			}
		})
	}
}

// A statistic is rounded once, also to the narrow types.
func TestNarrowStatistics(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want [2]float64 // float32, float16
	}{
		{[]float64{1 + 0x1p-24 + 0x1p-52}, [2]float64{1 + 0x1p-23, 1}},
		{[]float64{1 + 0x1p-11 + 0x1p-40}, [2]float64{1 + 0x1p-11, 1 + 0x1p-10}},
		{[]float64{65519.99}, [2]float64{65519.99, 65504}},
		{[]float64{65520}, [2]float64{65520, math.Inf(1)}},
		{[]float64{0x1p-25}, [2]float64{0x1p-25, 0}},
		{[]float64{0x1.0001p-25}, [2]float64{0x1.0001p-25, 0x1p-24}},
		{[]float64{0x1.8p-25}, [2]float64{0x1.8p-25, 0x1p-24}},
		{[]float64{0x1.8p-24}, [2]float64{0x1.8p-24, 0x1p-23}},
		{[]float64{-0x1.4p-24}, [2]float64{-0x1.4p-24, -0x1p-24}},
		{[]float64{1e-30}, [2]float64{1e-30, 0}},
		{[]float64{math.Inf(-1)}, [2]float64{math.Inf(-1), math.Inf(-1)}},
		{[]float64{0}, [2]float64{0, 0}},
	} {
		var a exactsum.Accumulator
		for _, v := range c.x {
			a.AddFloat64(v)
		}
		m := a.Mean(1)
		if got, want := m.Float32(), float32(c.want[0]); got != want {
			t.Errorf("%v as float32: got %v, want %v", c.x, got, want)
		}
		if got := widened16([]uint16{m.Float16()})[0]; got != c.want[1] {
			t.Errorf("%v as float16: got %v, want %v", c.x, got, c.want[1])
		}
	}
}

func FuzzSquares(f *testing.F) {
	var s exactsum.Squares
	s.SquareInt(-3, false)
	data, _ := s.AppendBinary(nil)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s exactsum.Squares
		rest, err := s.UnmarshalPrefix(data)
		if err != nil {
			return
		}
		again, _ := s.AppendBinary(nil)
		if string(again) != string(data[:len(data)-len(rest)]) {
			t.Errorf("got %x again, want %x", again, data[:len(data)-len(rest)])
		}
	})
}
