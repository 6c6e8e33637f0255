package exactsum_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// dot returns the exact sum of products of finite values.
func dot(x, y []float64) *big.Rat {
	sum, a, b := new(big.Rat), new(big.Rat), new(big.Rat)
	for i := range x {
		sum.Add(sum, a.Mul(a.SetFloat64(x[i]), b.SetFloat64(y[i])))
	}
	return sum
}

func TestProducts64(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 0))
	f := exactsum.NewAdder()
	for name, exponent := range map[string]func() int{
		"near 1":    func() int { return rng.IntN(40) - 20 },
		"any":       func() int { return rng.IntN(2098) - 1074 },
		"tiny":      func() int { return -1074 + rng.IntN(100) },
		"huge":      func() int { return 900 + rng.IntN(123) },
		"the bound": func() int { return -484 + rng.IntN(4) - 2 },
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 7, 4096, 9001} {
				x, y := make([]float64, n), make([]float64, n)
				for i := range n {
					x[i] = math.Ldexp(1+rng.Float64(), exponent()) * float64(rng.IntN(3)-1)
					y[i] = math.Ldexp(1+rng.Float64(), exponent())
				}
				var all, parts exactsum.Squares
				f.Products64(&all, x, y)
				cut := 0
				if n > 0 {
					cut = rng.IntN(n)
				}
				var other exactsum.Squares
				f.Products64(&parts, x[cut:], y[cut:])
				f.Products64(&other, x[:cut], y[:cut])
				parts.Merge(&other)
				if all != parts {
					t.Errorf("%d products: the states of all and of two parts differ", n)
				}
				want, _ := dot(x, y).Float64()
				if got := all.SumOfProducts().Float64(); got != want {
					t.Errorf("%d products: got %g, want %g", n, got, want)
				}
				var weights exactsum.Accumulator
				f.Float64s(&weights, y)
				if n == 0 {
					continue
				}
				ones := make([]float64, n)
				for i := range ones {
					ones[i] = 1
				}
				mean, _ := new(big.Rat).Quo(dot(x, y), dot(ones, y)).Float64()
				if got := all.Over(&weights).Float64(); got != mean {
					t.Errorf("%d products: got a weighted mean of %g, want %g", n, got, mean)
				}
			}
		})
	}
}

func TestProductsOfSpecialValues(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, tt := range []struct{ x, y, product, mean float64 }{
		{0, inf, nan, nan},
		{inf, 2, inf, inf},
		{-1, inf, -inf, nan},
		{nan, 0, nan, nan},
		{3, 0, 0, nan},
		{3, -2, -6, 3},
		{math.MaxFloat64, 2, inf, math.MaxFloat64},
	} {
		var s exactsum.Squares
		var weights exactsum.Accumulator
		exactsum.NewAdder().Products64(&s, []float64{tt.x}, []float64{tt.y})
		weights.AddFloat64(tt.y)
		same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
		if got := s.SumOfProducts().Float64(); !same(got, tt.product) {
			t.Errorf("%g * %g: got %g, want %g", tt.x, tt.y, got, tt.product)
		}
		if got := s.Over(&weights).Float64(); !same(got, tt.mean) {
			t.Errorf("the mean of %g with weight %g: got %g, want %g", tt.x, tt.y, got, tt.mean)
		}
	}
}

func TestProductInt(t *testing.T) {
	rng := rand.New(rand.NewPCG(42, 0))
	var s exactsum.Squares
	want := new(big.Int)
	for i := range 5000 {
		x, y, negative := rng.Uint64()>>rng.IntN(64), rng.Uint64()>>rng.IntN(64), rng.IntN(2) == 0
		switch i % 100 {
		case 0:
			x, y = math.MaxUint64, math.MaxUint64
		case 1:
			x, y = 1<<32, 1<<32 // the lower half is 0
		case 2:
			x = 0
		}
		s.ProductInt(x, y, negative)
		p := new(big.Int).Mul(new(big.Int).SetUint64(x), new(big.Int).SetUint64(y))
		if negative {
			p.Neg(p)
		}
		if want.Add(want, p); i%50 == 0 && s.Int().Cmp(want) != 0 {
			t.Fatalf("after %d products: got %v, want %v", i+1, s.Int(), want)
		}
	}
}
