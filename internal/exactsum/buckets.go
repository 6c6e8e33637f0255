package exactsum

import (
	"math"
	"math/bits"
)

// bucketTable adds mantissas by sign and exponent, so it is exact for any finite values: Neal's large superaccumulator.
// Each bucket keeps the low 32 and the high 21 bits in separate sums and therefore holds 2^32 values without overflow.
type bucketTable struct {
	sum    [1 << 12][2]uint64
	lo, hi int // the exponents in use unless count is zero
	count  int
}

// bucketCapacity is well below a bucket's limit, and large enough to amortize the drains.
const bucketCapacity = 1 << 20

func (t *bucketTable) full() bool { return t.count > bucketCapacity }

// add adds x, whose non-zero elements are finite with biased exponents from lo to hi.
func (t *bucketTable) add(x []float64, lo, hi int) {
	if t.count == 0 {
		t.lo, t.hi = lo, hi
	}
	t.lo, t.hi = min(t.lo, lo), max(t.hi, hi)
	t.count += len(x)
	for _, v := range x {
		b := math.Float64bits(v)
		mant := b & mantissaMask
		// The hidden bit: 1 unless the exponent is 0.
		mant |= (b>>mantissaBits&exponentMask + exponentMask) >> 11 << mantissaBits
		s := &t.sum[b>>mantissaBits]
		s[0] += mant & math.MaxUint32
		s[1] += mant >> 32
	}
}

// drain moves the table's content into a.
func (t *bucketTable) drain(a *Accumulator) {
	if t.count == 0 {
		return
	}
	for exp := t.lo; exp <= t.hi; exp++ {
		t.drainBucket(a, exp, false)
		t.drainBucket(a, exp|1<<11, true)
	}
	// Zeros are outside of lo to hi and add nothing.
	t.count = 0
}

func (t *bucketTable) drainBucket(a *Accumulator, i int, negative bool) {
	s := &t.sum[i]
	lo, carry := bits.Add64(s[0], s[1]<<32, 0)
	hi := s[1]>>32 + carry
	*s = [2]uint64{}
	if negative {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	a.addInt128(int64(hi), lo, max(i&exponentMask, 1)-1)
}
