package exactsum

import (
	"math"
	"math/big"
	"math/bits"
)

// format describes an IEEE 754 binary format: its precision in bits, the position of its smallest subnormal in the
// fixed-point sum, and the bits of its infinity.
type format struct {
	precision int
	lowest    int
	infinity  uint64
}

var (
	binary64 = format{precision: 53, lowest: 0, infinity: 0x7ff << 52}
	binary32 = format{precision: 24, lowest: point - 149, infinity: 0xff << 23}
	binary16 = format{precision: 11, lowest: point - 24, infinity: 0x1f << 10}
)

// Float64 returns the sum rounded once, to nearest, ties to even.
func (a *Accumulator) Float64() float64 {
	neg, b := a.round(binary64)
	if neg {
		b |= 1 << 63
	}
	return math.Float64frombits(b)
}

// Float32 returns the sum rounded once to float32, unlike a rounding of Float64.
func (a *Accumulator) Float32() float32 {
	neg, b := a.round(binary32)
	if neg {
		b |= 1 << 31
	}
	return math.Float32frombits(uint32(b))
}

// Float16 returns the bits of the sum rounded once to IEEE 754 binary16.
func (a *Accumulator) Float16() uint16 {
	neg, b := a.round(binary16)
	if neg {
		b |= 1 << 15
	}
	return uint16(b)
}

// Int returns the sum as an integer; false if the sum has a fraction, is infinite or NaN.
func (a *Accumulator) Int() (*big.Int, bool) {
	if a.class > finite {
		return nil, false
	}
	neg, m := a.magnitude()
	for _, w := range m[:point/64] {
		if w != 0 {
			return nil, false
		}
	}
	if m[point/64]&(1<<(point%64)-1) != 0 {
		return nil, false
	}
	z := a.big()
	z.Abs(z).Rsh(z, point)
	if neg {
		z.Neg(z)
	}
	return z, true
}

// big returns a finite sum in units of 2^-point.
func (a *Accumulator) big() *big.Int {
	neg, m := a.magnitude()
	var buf [8 * words]byte
	for i, w := range m {
		for j := range 8 {
			buf[len(buf)-1-8*i-j] = byte(w >> (8 * j))
		}
	}
	z := new(big.Int).SetBytes(buf[:])
	if neg {
		z.Neg(z)
	}
	return z
}

// magnitude returns the sign and the absolute value of the words.
func (a *Accumulator) magnitude() (neg bool, m [words]uint64) {
	m = a.sum
	if int64(m[words-1]) >= 0 {
		return false, m
	}
	var borrow uint64
	for i, w := range m {
		m[i], borrow = bits.Sub64(0, w, borrow)
	}
	return true, m
}

// round returns the sign of the sum and the bits of its magnitude in format f.
func (a *Accumulator) round(f format) (neg bool, b uint64) {
	switch a.class {
	case empty:
		return false, 0
	case negZero:
		return true, 0
	case posInf, negInf:
		return a.class == negInf, f.infinity
	case nan:
		return false, f.infinity | 1<<(f.precision-2)
	case finite:
	}
	neg, m := a.magnitude()
	top := words - 1
	for top > 0 && m[top] == 0 {
		top--
	}
	last := 64*top + bits.Len64(m[top]) - 1
	unit := max(last-f.precision+1, f.lowest)

	mant := bitsFrom(&m, unit) & (1<<f.precision - 1)
	if unit > 0 && bit(&m, unit-1) && (mant&1 != 0 || anyBelow(&m, unit-1)) {
		mant++
	}
	// The hidden bit of a normal number adds the 1 that its exponent lacks, and so does a carry out of the mantissa.
	b = uint64(unit-f.lowest)<<(f.precision-1) + mant
	return neg, min(b, f.infinity)
}

// bitsFrom returns the 64 bits of m from position pos up.
func bitsFrom(m *[words]uint64, pos int) uint64 {
	at, shift := uint(pos)/64, uint(pos)%64
	v := m[at] >> shift
	if at+1 < words {
		v |= m[at+1] << (64 - shift)
	}
	return v
}

func bit(m *[words]uint64, pos int) bool { return m[uint(pos)/64]>>(uint(pos)%64)&1 != 0 }

// anyBelow reports whether m has a bit set below position pos.
func anyBelow(m *[words]uint64, pos int) bool {
	at, shift := uint(pos)/64, uint(pos)%64
	rest := m[at] & (1<<shift - 1)
	for _, w := range m[:at] {
		rest |= w
	}
	return rest != 0
}
