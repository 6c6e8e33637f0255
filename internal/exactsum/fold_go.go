package exactsum

import "math"

// The pure-Go kernels. They need 64-bit floating point without excess precision or fused operations, which Go
// guarantees for additions, and len(x) a multiple of group.

// goLaneBits is the binary logarithm of the additions per lane of these kernels in a block.
const goLaneBits = 10

// leftBinade reports whether a level left its binade. x is the or of the levels' values, each xor-ed with the start of
// its level.
func leftBinade(x uint64) bool { return x>>mantissaBits != 0 }

// leftRemainder reports whether an or of remainders has a non-zero one.
func leftRemainder(x uint64) bool { return x<<1 != 0 }

// exact reports whether a fold was exact, from its moved levels and lost remainders.
func exact(moved, rest uint64) bool { return !leftBinade(moved) && !leftRemainder(rest) }

// goFold1 folds x into one level at scale k and returns it in its units. It returns false if the result may be inexact:
// k does not suit the values, or they need more levels.
func goFold1[T float64 | float32](x []T, k int) (level int64, ok bool) {
	init := levelInit(k)
	from := math.Float64bits(init)
	a0, a1, a2, a3 := init, init, init, init
	var moved, rest uint64
	for ; len(x) >= 4; x = x[4:] {
		x0, x1, x2, x3 := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		t0, t1, t2, t3 := a0+x0, a1+x1, a2+x2, a3+x3
		x0, x1, x2, x3 = x0-(t0-a0), x1-(t1-a1), x2-(t2-a2), x3-(t3-a3)
		a0, a1, a2, a3 = t0, t1, t2, t3
		moved |= (math.Float64bits(t0) ^ from) | (math.Float64bits(t1) ^ from)
		moved |= (math.Float64bits(t2) ^ from) | (math.Float64bits(t3) ^ from)
		rest |= math.Float64bits(x0) | math.Float64bits(x1) | math.Float64bits(x2) | math.Float64bits(x3)
	}
	return units(init, a0, a1, a2, a3), exact(moved, rest)
}

// goFold2 folds x into two levels, the first at scale k, and returns both in their units. It returns false if the
// result may be inexact: k does not suit the values, or they need more levels.
func goFold2[T float64 | float32](x []T, k int) (upper, lower int64, ok bool) {
	init1, init2 := levelInit(k), levelInit(levelScale(k, 1, goLaneBits))
	from := math.Float64bits(init1)
	a0, a1, a2, a3 := init1, init1, init1, init1
	b0, b1, b2, b3 := init2, init2, init2, init2
	var moved, rest uint64
	for ; len(x) >= 4; x = x[4:] {
		x0, x1, x2, x3 := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		t0, t1, t2, t3 := a0+x0, a1+x1, a2+x2, a3+x3
		x0, x1, x2, x3 = x0-(t0-a0), x1-(t1-a1), x2-(t2-a2), x3-(t3-a3)
		a0, a1, a2, a3 = t0, t1, t2, t3
		moved |= (math.Float64bits(t0) ^ from) | (math.Float64bits(t1) ^ from)
		moved |= (math.Float64bits(t2) ^ from) | (math.Float64bits(t3) ^ from)
		t0, t1, t2, t3 = b0+x0, b1+x1, b2+x2, b3+x3
		x0, x1, x2, x3 = x0-(t0-b0), x1-(t1-b1), x2-(t2-b2), x3-(t3-b3)
		b0, b1, b2, b3 = t0, t1, t2, t3
		rest |= math.Float64bits(x0) | math.Float64bits(x1) | math.Float64bits(x2) | math.Float64bits(x3)
	}
	return units(init1, a0, a1, a2, a3), units(init2, b0, b1, b2, b3), exact(moved, rest)
}

// goExtract folds x into one level at scale k, writes the remainders to rest, which may be x, and returns the level in
// its units. It reports whether every value stayed in range and whether there is a remainder.
func goExtract(rest, x []float64, k int) (level int64, inRange, more bool) {
	init := levelInit(k)
	from := math.Float64bits(init)
	a0, a1, a2, a3 := init, init, init, init
	var moved, left uint64
	for rest = rest[:len(x)]; len(x) >= 4 && len(rest) >= 4; x, rest = x[4:], rest[4:] {
		x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
		t0, t1, t2, t3 := a0+x0, a1+x1, a2+x2, a3+x3
		x0, x1, x2, x3 = x0-(t0-a0), x1-(t1-a1), x2-(t2-a2), x3-(t3-a3)
		a0, a1, a2, a3 = t0, t1, t2, t3
		moved |= (math.Float64bits(t0) ^ from) | (math.Float64bits(t1) ^ from)
		moved |= (math.Float64bits(t2) ^ from) | (math.Float64bits(t3) ^ from)
		left |= math.Float64bits(x0) | math.Float64bits(x1) | math.Float64bits(x2) | math.Float64bits(x3)
		rest[0], rest[1], rest[2], rest[3] = x0, x1, x2, x3
	}
	return units(init, a0, a1, a2, a3), !leftBinade(moved), leftRemainder(left)
}

// units returns the total distance of lanes from their start, in units of their level: within one binade that is the
// difference of their bits.
func units(init float64, lanes ...float64) (n int64) {
	for _, v := range lanes {
		n += int64(math.Float64bits(v) - math.Float64bits(init))
	}
	return n
}

// goSum16 adds binary16 values in units of 2^-24. It returns false for an infinity or a NaN.
func goSum16(x []uint16) (sum int64, ok bool) {
	special := false
	for _, h := range x {
		n, isSpecial := units16(h)
		sum += n
		special = special || isSpecial
	}
	return sum, !special
}

// units16 returns a binary16 value in units of 2^-24, the smallest subnormal, or special.
func units16(h uint16) (n int64, special bool) {
	exp := uint32(h) >> 10 & 0x1f
	normal := (exp + 31) >> 5
	mag := int64((uint32(h)&0x3ff | normal<<10)) << (exp - normal)
	sign := -int64(h >> 15)
	return (mag ^ sign) - sign, exp == 0x1f
}

// widen16 converts binary16 bits to float64.
func widen16(h uint16) float64 {
	exp, frac := h>>10&0x1f, h&0x3ff
	var v float64
	switch {
	case exp == 0x1f && frac != 0:
		return math.NaN()
	case exp == 0x1f:
		v = math.Inf(1)
	case exp == 0:
		v = math.Ldexp(float64(frac), -24)
	default:
		v = math.Ldexp(float64(frac|1<<10), int(exp)-25)
	}
	if h>>15 != 0 {
		v = -v
	}
	return v
}
