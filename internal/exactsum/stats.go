package exactsum

import (
	"math"
	"math/big"
)

// Statistic is an exact rational number or the square root of one, which is rounded once, when it is read.
type Statistic struct {
	// special is the value if it is infinite or NaN, or 0 otherwise.
	special  float64
	num, den *big.Int // times 2^exp
	exp      int
	root     bool
}

// Mean returns the sum divided by n, the number of values that were added; NaN if n is 0.
func (a *Accumulator) Mean(n int64) Statistic {
	switch {
	case n == 0:
		return Statistic{special: math.NaN()}
	case !a.IsFinite():
		return Statistic{special: a.Float64()}
	}
	return Statistic{num: a.big(), den: big.NewInt(n), exp: -point}
}

// Variance returns the variance of the n values of which sum and s are the sum and the sum of squares: the sum of the
// squared distances from their mean, divided by n-ddof. As in NumPy it is NaN if n is 0 or a value is infinite or NaN; a
// divisor below 0 counts as 0, so that the variance is infinite, or NaN if all values are equal.
func (s *Squares) Variance(sum *Accumulator, n, ddof int64) Statistic {
	if n == 0 || !sum.IsFinite() || !s.IsFinite() {
		return Statistic{special: math.NaN()}
	}
	// The sum of squared distances is (n*squares - sum^2) / n, exactly, so nothing cancels.
	squares, pos := s.big() // in units of 2^-pos
	square := sum.big()     // the square of the sum is in units of 2^(-2*point)
	square.Mul(square, square)
	squares.Mul(squares, big.NewInt(n))
	exp := -pos
	if up := 2*point - pos; up >= 0 {
		squares.Lsh(squares, uint(up))
		exp = -2 * point
	} else {
		square.Lsh(square, uint(-up))
	}
	distances := squares.Sub(squares, square)
	if n <= ddof {
		if distances.Sign() == 0 {
			return Statistic{special: math.NaN()}
		}
		return Statistic{special: math.Inf(1)}
	}
	den := big.NewInt(n)
	rest := new(big.Int).Sub(den, big.NewInt(ddof)) // beyond 64 bits for an extreme ddof
	return Statistic{num: distances, den: den.Mul(den, rest), exp: exp}
}

// Sum returns the sum of squares.
func (s *Squares) Sum() Statistic {
	if !s.IsFinite() {
		var a Accumulator
		a.Merge(&s.mid)
		return Statistic{special: a.Float64()}
	}
	v, pos := s.big()
	return Statistic{num: v, den: big.NewInt(1), exp: -pos}
}

// Sqrt returns the square root of a statistic that is not negative.
func (v Statistic) Sqrt() Statistic {
	v.root = true
	return v
}

// Float64 returns the value rounded once, to nearest, ties to even.
func (v Statistic) Float64() float64 {
	if v.num == nil {
		return v.special
	}
	f, _ := v.float().Float64()
	return f
}

// Float32 returns the value rounded once to float32.
func (v Statistic) Float32() float32 {
	if v.num == nil {
		return float32(v.special)
	}
	f, _ := v.float().Float32()
	return f
}

// Float16 returns the bits of the value rounded once to IEEE 754 binary16.
func (v Statistic) Float16() uint16 {
	var a Accumulator
	if v.num == nil {
		a.AddFloat64(v.special)
		return a.Float16()
	}
	f := v.float()
	if f.Sign() != 0 {
		// Round to the precision of a binary16 of that exponent: 11 bits, or fewer if it is subnormal.
		const precision, lowest = 11, -24
		switch bits := min(f.MantExp(nil)-lowest, precision); {
		case bits > 0:
			f.SetPrec(uint(bits))
		case bits == 0 && new(big.Float).Abs(f).Cmp(big.NewFloat(0x1p-25)) > 0: // above half of the smallest
			f.SetFloat64(math.Copysign(0x1p-24, float64(f.Sign())))
		default:
			f.SetInt64(0)
		}
	}
	rounded, _ := f.Float64()
	a.AddFloat64(rounded)
	return a.Float16()
}

// float returns a number that rounds to every float format like the exact value: more than twice the bits of a float64,
// and a last bit that shows whether there is more.
func (v Statistic) float() *big.Float {
	const enough = 128
	if v.num.Sign() == 0 {
		return new(big.Float)
	}
	q, rest := new(big.Int).Abs(v.num), new(big.Int)
	exp := v.exp
	if v.root && exp%2 != 0 {
		q.Lsh(q, 1)
		exp--
	}
	if up := enough - (q.BitLen() - v.den.BitLen()); up > 0 {
		up += up % 2
		q.Lsh(q, uint(up))
		exp -= up
	}
	q.QuoRem(q, v.den, rest)
	more := rest.Sign() != 0
	if v.root {
		square := new(big.Int).Set(q)
		q.Sqrt(q)
		more = more || rest.Mul(q, q).Cmp(square) != 0
		exp /= 2
	}
	q.Lsh(q, 1)
	if more {
		q.SetBit(q, 0, 1)
	}
	f := new(big.Float).SetInt(q)
	f.SetMantExp(f, exp-1)
	if v.num.Sign() < 0 {
		f.Neg(f)
	}
	return f
}
