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
	m := a.digits()
	last := 64*m.top + bits.Len64(m.word(m.top)) - 1
	unit := max(last-f.precision+1, f.lowest)

	mant := m.from(unit) & (1<<f.precision - 1)
	if unit > 0 && m.from(unit-1)&1 != 0 && (mant&1 != 0 || m.anyBelow(unit-1)) {
		mant++
	}
	// The hidden bit of a normal number adds the 1 that its exponent lacks, and so does a carry out of the mantissa.
	b = uint64(unit-f.lowest)<<(f.precision-1) + mant
	return m.sign != 0, min(b, f.infinity)
}

// digits are the words of the absolute value of a finite sum, of which rounding needs few.
type digits struct {
	sum  *[words]uint64
	sign uint64 // all bits of a negative sum
	// low and top are the words with the lowest and the highest bit; both are 0 if the sum is.
	low, top int
}

func (a *Accumulator) digits() digits {
	m := digits{sum: &a.sum, sign: signOf(a.sum[words-1]), top: words - 1}
	for m.low < words-1 && a.sum[m.low] == 0 {
		m.low++
	}
	if a.sum[m.low] == 0 {
		m.low = 0
	}
	for m.top > m.low && a.sum[m.top] == m.sign {
		m.top--
	}
	return m
}

// word returns word i of the absolute value. Negation keeps the zeros below the lowest bit, and flips the words above.
func (m *digits) word(i int) uint64 {
	switch {
	case i < m.low || i > m.top:
		return 0
	case i == m.low:
		return (m.sum[i] ^ m.sign) - m.sign
	}
	return m.sum[i] ^ m.sign
}

// from returns the 64 bits from position pos up.
func (m *digits) from(pos int) uint64 {
	at, shift := pos/64, uint(pos)%64
	return m.word(at)>>shift | m.word(at+1)<<(64-shift)
}

// anyBelow reports whether there is a bit below position pos.
func (m *digits) anyBelow(pos int) bool {
	at, shift := pos/64, uint(pos)%64
	rest := m.word(at) & (1<<shift - 1)
	if m.low < at {
		rest |= m.word(m.low)
	}
	return rest != 0
}
