package exactsum

import (
	"math"
	"math/bits"
)

const (
	// words is the width of the fixed-point sum in 64-bit words: 2098 bits for the float64 range, a sign, and spare
	// bits for carries.
	words = 34
	// point is the position of the binary point: bit 0 is 2^-1074, the smallest positive float64.
	point = 1074

	mantissaBits = 52
	mantissaMask = 1<<mantissaBits - 1
	exponentMask = 0x7ff
)

// class is the type of a sum. Joining two classes takes the larger, except that opposite infinities make NaN.
type class uint8

const (
	empty   class = iota // nothing was added
	negZero              // only -0 was added
	finite               // the words hold the sum
	posInf
	negInf
	nan
)

// Accumulator is an exact sum. Its zero value is the empty sum.
//
// Equal multisets of inputs produce equal states, so accumulators can be compared with ==. An infinity or a NaN absorbs
// all finite values added before or after it.
type Accumulator struct {
	// sum is a two's-complement integer in units of 2^-1074, least significant word first; zero unless class is finite.
	sum   [words]uint64
	class class
}

// Reset sets a to the empty sum.
func (a *Accumulator) Reset() { *a = Accumulator{} }

// IsEmpty reports whether nothing was added.
func (a *Accumulator) IsEmpty() bool { return a.class == empty }

// IsFinite reports whether the sum is neither infinite nor NaN. It may still round to an infinity.
func (a *Accumulator) IsFinite() bool { return a.class <= finite }

// Merge adds the sum b. b is unchanged; it may be a itself, which doubles the sum.
func (a *Accumulator) Merge(b *Accumulator) {
	c := b.class
	a.join(c)
	if a.class != finite || c != finite {
		return
	}
	var carry uint64
	for i, w := range &b.sum {
		a.sum[i], carry = bits.Add64(a.sum[i], w, carry)
	}
}

// AddFloat64 adds one value. For slices an [Adder] is many times faster.
func (a *Accumulator) AddFloat64(x float64) {
	b := math.Float64bits(x)
	exp := int(b >> mantissaBits & exponentMask)
	mant := b & mantissaMask
	switch {
	case exp == exponentMask:
		a.join(specialClass(b))
		return
	case b == 1<<63:
		a.join(negZero)
		return
	case exp != 0:
		mant |= 1 << mantissaBits
	default:
		exp = 1
	}
	a.join(finite)
	sign := int64(b) >> 63
	a.addInt128(sign, (mant^uint64(sign))-uint64(sign), exp-1)
}

// AddInt64 adds one integer.
func (a *Accumulator) AddInt64(x int64) {
	a.join(finite)
	a.addInt128(x>>63, uint64(x), point)
}

// AddUint64 adds one integer.
func (a *Accumulator) AddUint64(x uint64) {
	a.join(finite)
	a.addInt128(0, x, point)
}

// specialClass returns the class of the bits of a non-finite float64.
func specialClass(b uint64) class {
	switch {
	case b&mantissaMask != 0:
		return nan
	case b>>63 != 0:
		return negInf
	default:
		return posInf
	}
}

// join raises the class of a to c and clears the words of special sums, so that equal sums have equal states.
func (a *Accumulator) join(c class) {
	switch {
	case c <= a.class:
		if c != posInf || a.class != negInf {
			return
		}
		c = nan
	case a.class == posInf:
		c = nan // c is negInf or nan
	}
	a.class = c
	if c > finite {
		a.sum = [words]uint64{}
	}
}

// addInt128 adds the signed value hi:lo times 2^(pos-1074), unless the sum is special. The caller has joined class
// finite; pos is at most 2046, so that three words always fit.
func (a *Accumulator) addInt128(hi int64, lo uint64, pos int) {
	if a.class != finite || hi == 0 && lo == 0 {
		return
	}
	at, shift := uint(pos)/64, uint(pos)%64
	sign := uint64(hi >> 63)
	w0 := lo << shift
	w1 := uint64(hi)<<shift | lo>>(64-shift)
	w2 := sign<<shift | uint64(hi)>>(64-shift)

	var carry uint64
	s := a.sum[at : at+3 : words]
	s[0], carry = bits.Add64(s[0], w0, 0)
	s[1], carry = bits.Add64(s[1], w1, carry)
	s[2], carry = bits.Add64(s[2], w2, carry)
	// Beyond the value is its sign extension: adding 0 without carry, or -1 with a carry, changes nothing.
	for i := at + 3; i < words && sign+carry != 0; i++ {
		a.sum[i], carry = bits.Add64(a.sum[i], sign, carry)
	}
}
