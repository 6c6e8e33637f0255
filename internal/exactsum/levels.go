package exactsum

import (
	"math"
	"math/bits"
)

// A level at scale k is a float64 that starts at 1.5*2^k and to which values are added while it stays in the binade
// [2^k, 2^(k+1)). There it is an integer count of units of 2^(k-52), and an addition loses a remainder of at most half
// a unit, which is exactly representable and goes to the next level. After 2^h additions the remainders add up to at
// most 2^(k-53+h), so the next level stays in its binade too if its scale is k-52+h: only the first level's range and
// the last level's remainder need a check at run time.

const (
	// minScale is the lowest scale: its unit is the smallest subnormal, so nothing can be lost there.
	minScale = -1022
	maxScale = 1023
)

// spacing returns the distance between the scales of two levels with 2^h additions each.
func spacing(h int) int { return 52 - h }

// levelScale returns the scale of level i below a first level at scale k.
func levelScale(k, i, h int) int { return max(k-i*spacing(h), minScale) }

// levelInit returns the start of a level at scale k: the middle of its binade.
func levelInit(k int) float64 {
	return math.Float64frombits(uint64(k+1023)<<mantissaBits | 1<<(mantissaBits-1))
}

// unitPos returns the position, in an accumulator, of the unit of a level at scale k.
func unitPos(k int) int { return k - mantissaBits + point }

// scaleFor returns the scale at which 2^h values with biased exponents up to exp cannot leave the binade, or the
// largest scale.
func scaleFor(exp, h int) int {
	return min(max(exp-1023+2+h, minScale), maxScale)
}

// maxLevels is the number of levels tried before buckets.
const maxLevels = 4

// reach returns the range of exponents that n levels certainly hold. The largest exponent is 2+h below the first scale,
// the lowest unit is n-1 spacings and 52 below it, and a value's last bit is 52 below its exponent.
func reach(n, h int) int { return (n-1)*spacing(h) - 2 - h }

// exponentSpan returns the smallest and largest biased exponents of the non-zero elements of x; 0, 0 if there are none.
func exponentSpan(x []float64) (lo, hi int) {
	// Exponents are above the mantissa, so magnitudes have the order of their bits; a zero becomes the largest value in
	// the search for the smallest.
	small, large := uint64(math.MaxUint64), uint64(0)
	for _, v := range x {
		b := math.Float64bits(v) << 1
		small = min(small, b-1)
		large = max(large, b)
	}
	return int((small + 1) >> (mantissaBits + 1)), int(large >> (mantissaBits + 1))
}

// int128 is a signed sum of int64 values.
type int128 struct {
	hi int64
	lo uint64
}

func (s *int128) add(v int64) {
	lo, carry := bits.Add64(s.lo, uint64(v), 0)
	s.lo = lo
	s.hi += v>>63 + int64(carry)
}
