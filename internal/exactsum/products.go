package exactsum

import (
	"encoding/binary"
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

// SumOfProducts returns the sum, which may be negative.
func (s *Squares) SumOfProducts() Statistic {
	var one Accumulator
	one.AddInt64(1)
	return s.Over(&one)
}

// Over returns the sum of products divided by b, the sum of one of their factors. It is NaN if either is infinite or
// NaN, or if b is 0.
func (s *Squares) Over(b *Accumulator) Statistic {
	if !s.IsFinite() || !b.IsFinite() {
		var a Accumulator
		a.Merge(&s.mid) // the others are finite
		return Statistic{special: a.Float64() / b.Float64()}
	}
	den := b.big()
	if den.Sign() == 0 {
		return Statistic{special: math.NaN()}
	}
	// In units of 2^(-point-2*scaleBits): the tiny ones as they are.
	num, huge := s.mid.big(), s.huge.big()
	num.Lsh(num, 2*scaleBits)
	num.Add(num, s.tiny.big())
	num.Add(num, huge.Lsh(huge, 4*scaleBits))
	v := quotient(num, den, -2*scaleBits)
	v.neg = v.hi != 0 && num.Sign() != den.Sign()
	return v
}

// quotient returns the absolute value of num/den * 2^exp.
func quotient(num, den *big.Int, exp int) Statistic {
	if num.Sign() == 0 {
		return Statistic{}
	}
	q, rest := new(big.Int).Abs(num), new(big.Int)
	if up := 130 - (q.BitLen() - den.BitLen()); up > 0 {
		q.Lsh(q, uint(up))
		exp -= up
	}
	q.QuoRem(q, new(big.Int).Abs(den), rest)
	more := rest.Sign() != 0
	if down := q.BitLen() - 128; down > 0 {
		more = more || q.TrailingZeroBits() < uint(down)
		q.Rsh(q, uint(down))
		exp += down
	}
	var b [16]byte
	q.FillBytes(b[:])
	return Statistic{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), exp: exp, more: more}
}
