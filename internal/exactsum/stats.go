package exactsum

import (
	"math"
	"math/bits"
)

// Statistic is an exact rational number or the square root of one, of which the first 128 bits are kept, and whether there
// are more. It is rounded once, when it is read.
type Statistic struct {
	special float64 // the value if it is infinite or NaN
	neg     bool
	// The magnitude is hi:lo * 2^exp and, if more is true, less than a unit more. Unless it is 0, the top bit of hi is set.
	hi, lo uint64
	exp    int
	more   bool
}

// Mean returns the sum divided by n, the number of values that were added; NaN if n is 0.
func (a *Accumulator) Mean(n int64) Statistic {
	switch {
	case n == 0:
		return Statistic{special: math.NaN()}
	case !a.IsFinite():
		return Statistic{special: a.Float64()}
	}
	var w fixed
	neg, m := a.magnitude()
	x, first := trim(&m)
	w.addProduct(x, first, -point, 1)
	v := w.quotient(uint64(n), 1)
	v.neg = neg && v.hi != 0
	return v
}

// Variance returns the variance of the n values of which sum and s are the sum and the sum of squares: the sum of the
// squared distances from their mean, divided by n-ddof. As in NumPy it is NaN if n is 0 or a value is infinite or NaN; a
// divisor below 0 counts as 0, so that the variance is infinite, or NaN if all values are equal.
func (s *Squares) Variance(sum *Accumulator, n, ddof int64) Statistic {
	if n == 0 || !sum.IsFinite() || !s.IsFinite() {
		return Statistic{special: math.NaN()}
	}
	// The sum of squared distances is (n*squares - sum^2) / n, exactly, so nothing cancels.
	var distances, square fixed
	s.addTo(&distances, uint64(n))
	_, m := sum.magnitude()
	x, first := trim(&m)
	for i, word := range x {
		square.addProduct(x, first, -2*point+64*(first+i), word)
	}
	distances.subtract(&square)
	if n <= ddof {
		if distances.isZero() {
			return Statistic{special: math.NaN()}
		}
		return Statistic{special: math.Inf(1)}
	}
	return distances.quotient(uint64(n), uint64(n)-uint64(ddof))
}

// Sum returns the sum of squares.
func (s *Squares) Sum() Statistic {
	if !s.IsFinite() {
		var a Accumulator
		a.Merge(&s.mid)
		return Statistic{special: a.Float64()}
	}
	var w fixed
	s.addTo(&w, 1)
	return w.quotient(1, 1)
}

// addTo adds a finite sum times n to w.
func (s *Squares) addTo(w *fixed, n uint64) {
	for _, part := range []struct {
		sum *Accumulator
		exp int
	}{{&s.mid, -point}, {&s.tiny, -point - 2*scaleBits}, {&s.huge, -point + 2*scaleBits}} {
		if part.sum.class == finite {
			x, first := trim(&part.sum.sum)
			w.addProduct(x, first, part.exp, n)
		}
	}
}

// Sqrt returns the square root of a statistic that is not negative.
func (v Statistic) Sqrt() Statistic {
	if v.hi == 0 {
		v.special = math.Sqrt(v.special)
		return v
	}
	if v.exp%2 != 0 {
		v.more = v.more || v.lo&1 != 0
		v.hi, v.lo = v.hi>>1, v.hi<<63|v.lo>>1
		v.exp++
	}
	root := sqrt128(v.hi, v.lo)
	hi, lo := bits.Mul64(root, root)
	return Statistic{hi: root, exp: v.exp/2 - 64, more: v.more || hi != v.hi || lo != v.lo}
}

// sqrt128 returns the root of hi:lo, at least 2^126, rounded down.
func sqrt128(hi, lo uint64) uint64 {
	// One step of Newton's method from an estimate with 52 bits leaves an error below 2.
	r := uint64(math.MaxUint64)
	if f := math.Sqrt(float64(hi)) * (1 << 32); f < 1<<64 {
		r = uint64(f)
	}
	if hi < r {
		q, _ := bits.Div64(hi, lo, r)
		sum, carry := bits.Add64(r, q, 0)
		r = carry<<63 | sum>>1
	}
	exceeds := func(r uint64) bool {
		h, l := bits.Mul64(r, r)
		return h > hi || h == hi && l > lo
	}
	for exceeds(r) {
		r--
	}
	for r < math.MaxUint64 && !exceeds(r+1) {
		r++
	}
	return r
}

// Float64 returns the value rounded once, to nearest, ties to even.
func (v Statistic) Float64() float64 {
	if v.special != 0 {
		return v.special
	}
	return math.Float64frombits(v.round(binary64) | v.sign()<<63)
}

// Float32 returns the value rounded once to float32.
func (v Statistic) Float32() float32 {
	if v.special != 0 {
		return float32(v.special)
	}
	return math.Float32frombits(uint32(v.round(binary32) | v.sign()<<31))
}

// Float16 returns the bits of the value rounded once to IEEE 754 binary16.
func (v Statistic) Float16() uint16 {
	if v.special != 0 {
		var a Accumulator
		a.AddFloat64(v.special)
		return a.Float16()
	}
	return uint16(v.round(binary16) | v.sign()<<15)
}

func (v Statistic) sign() uint64 {
	if v.neg {
		return 1
	}
	return 0
}

// round returns the bits of the magnitude in format f; see Accumulator.round.
func (v Statistic) round(f format) uint64 {
	last := v.exp + 127 // the exponent of the top bit
	if v.hi == 0 || last >= 1024 {
		return min(v.hi, f.infinity)
	}
	lowest := f.lowest - point
	unit := max(last-f.precision+1, lowest)
	// The unit is the bit above those dropped: at least one of hi, because no format has more than 53 bits.
	drop := unit - v.exp - 64
	if drop > 64 {
		return 0
	}
	mant := v.hi >> drop
	half := uint64(1) << (drop - 1)
	if v.hi&half != 0 && (mant&1 != 0 || v.hi&(half-1) != 0 || v.lo != 0 || v.more) {
		mant++
	}
	return min(uint64(unit-lowest)<<(f.precision-1)+mant, f.infinity)
}
