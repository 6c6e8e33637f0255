package exactsum

import (
	"math"
	"math/big"
	"math/bits"
)

// Products64 adds the product of each pair of elements of x and y, which have the same length, to s. As in arithmetic of
// floats, 0 times an infinity is NaN.
func (f *Adder) Products64(s *Squares, x, y []float64) {
	if len(x) > 0 {
		s.mid.join(finite)
	}
	for len(x) > 0 {
		n := min(len(x), blockLen)
		f.productBlock(s, x[:n], y[:n])
		x, y = x[n:], y[n:]
	}
}

// productBlock adds each product as a rounded product and its error, which is exact (T. Dekker, 1971).
func (f *Adder) productBlock(s *Squares, x, y []float64) {
	scratch := f.squareScratch()
	products, errs := scratch[0][:len(x)], scratch[1][:len(x)]
	// The error of a product of this size is a float64: a multiple of at least 2^-1074.
	const least, most = 0x1p-968, 0x1p1020
	for i, v := range x {
		p := v * y[i]
		if abs := math.Abs(p); abs >= least && abs <= most {
			products[i], errs[i] = p, math.FMA(v, y[i], -p)
			continue
		}
		products[i], errs[i] = 0, 0
		s.addFar(v, y[i])
	}
	f.Float64s(&s.mid, products)
	f.Float64s(&s.mid, errs)
}

// addFar adds the product of two values, of any size.
func (s *Squares) addFar(x, y float64) {
	p := x * y
	switch {
	case math.IsNaN(p) || math.IsInf(x, 0) || math.IsInf(y, 0):
		s.mid.AddFloat64(p)
		return
	case x == 0 || y == 0:
		return
	}
	fx, ex := math.Frexp(x)
	fy, ey := math.Frexp(y)
	to, exp := &s.tiny, ex+ey+2*scaleBits
	if ex+ey > 0 {
		to, exp = &s.huge, ex+ey-2*scaleBits
	}
	p = fx * fy
	to.AddFloat64(math.Ldexp(p, exp))
	to.AddFloat64(math.Ldexp(math.FMA(fx, fy, -p), exp))
}

// ProductInt adds the product of two integers, of which x and y are the absolute values.
func (s *Squares) ProductInt(x, y uint64, negative bool) {
	hi, lo := bits.Mul64(x, y)
	if !negative {
		s.addUint128(hi, lo)
		return
	}
	s.mid.join(finite)
	if lo != 0 {
		s.mid.addInt128(-1, -lo, point)
	}
	if hi != 0 {
		s.mid.addInt128(-1, -hi, point+64)
	}
}

// Add adds an exact sum to s.
func (s *Squares) Add(a *Accumulator) { s.mid.Merge(a) }

// Int returns the sum of products of integers.
func (s *Squares) Int() *big.Int {
	v := s.mid.big()
	return v.Rsh(v, point)
}

// Over returns the sum of products divided by b, the sum of one of their factors. It is NaN if either is infinite or
// NaN, or if b is 0.
func (s *Squares) Over(b *Accumulator) Statistic {
	if !s.IsFinite() || !b.IsFinite() {
		return Statistic{special: s.Sum().Float64() / b.Float64()}
	}
	num, pos := s.big()
	den := b.big()
	switch den.Sign() {
	case 0:
		return Statistic{special: math.NaN()}
	case -1:
		num.Neg(num)
		den.Neg(den)
	}
	return Statistic{num: num, den: den, exp: point - pos}
}
