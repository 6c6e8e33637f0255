package npy

import "math"

// Float16bits rounds x to the nearest binary16, ties to even, and returns its bits. A NaN stays a (quiet) NaN.
func Float16bits(x float64) uint16 {
	b := math.Float64bits(x)
	sign := uint16(b >> 48 & 0x8000)
	exp := int(b>>52&0x7ff) - 1023
	mant := b & (1<<52 - 1)
	switch {
	case exp == 1024 && mant != 0:
		return sign | 0x7e00
	case exp > 15:
		return sign | 0x7c00
	case exp < -25:
		return sign
	}
	drop := 42 // bits of the significand that do not fit binary16
	h := uint64(0)
	if exp < -14 { // subnormal: the leading one is explicit and moves right
		drop += -14 - exp
		mant |= 1 << 52
	} else {
		h = uint64(exp+15) << 10
	}
	h += mant >> drop
	rest, half := mant&(1<<drop-1), uint64(1)<<(drop-1)
	if rest > half || rest == half && h&1 == 1 {
		h++ // a carry into the exponent is correct, up to infinity
	}
	return sign | uint16(h)
}

// Float16frombits returns the exact value of a binary16.
func Float16frombits(h uint16) float64 {
	mant, exp := float64(h&0x3ff), int(h>>10&0x1f)
	var v float64
	switch exp {
	case 0x1f:
		v = math.Inf(1)
		if mant != 0 {
			v = math.NaN()
		}
	case 0:
		v = math.Ldexp(mant, -24)
	default:
		v = math.Ldexp(mant+1024, exp-25)
	}
	if h&0x8000 != 0 {
		v = -v
	}
	return v
}
