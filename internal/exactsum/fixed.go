package exactsum

import "math/bits"

const (
	// fixedPoint is the position of the binary point: the squares of the smallest values, scaled, are above bit 0.
	fixedPoint = 36 * 64
	// fixedWords leaves room for the largest sum of squares, scaled, times 2^64.
	fixedWords = 76
)

// fixed is a number of units of 2^-fixedPoint that holds every sum of squares, least significant word first. Its zero
// value is 0.
type fixed struct {
	w [fixedWords]uint64
	// lo and hi are the range of words that may differ from 0.
	lo, hi int
}

// trim returns the words of m without zeros at either end, and the index of the first.
func trim(m *[words]uint64) (x []uint64, first int) {
	last := words
	for last > 0 && m[last-1] == 0 {
		last--
	}
	for first < last && m[first] == 0 {
		first++
	}
	return m[first:last], first
}

// addProduct adds x * f * 2^(64*first+exp).
func (n *fixed) addProduct(x []uint64, first, exp int, f uint64) {
	if len(x) == 0 || f == 0 {
		return
	}
	pos := fixedPoint + 64*first + exp
	at, shift := pos/64, uint(pos%64)
	n.extend(at, at+len(x)+2)
	var high, below, carry uint64 // of the product, the word before the current one, and the carry of the sum
	add := func(word uint64) {
		n.w[at], carry = bits.Add64(n.w[at], word<<shift|below>>(64-shift), carry)
		below = word
		at++
	}
	for _, v := range x {
		hi, lo := bits.Mul64(v, f)
		lo, c := bits.Add64(lo, high, 0)
		high = hi + c
		add(lo)
	}
	add(high)
	add(0)
	for ; carry != 0 && at < fixedWords; at++ {
		n.w[at], carry = bits.Add64(n.w[at], 0, carry)
		n.hi = max(n.hi, at+1)
	}
}

// extend extends the range of words that may differ from 0.
func (n *fixed) extend(lo, hi int) {
	if n.hi == 0 {
		n.lo = lo
	}
	n.lo, n.hi = min(n.lo, lo), max(n.hi, hi)
}

// subtract subtracts o, which is at most n.
func (n *fixed) subtract(o *fixed) {
	if o.hi == 0 {
		return
	}
	n.extend(o.lo, o.hi)
	var borrow uint64
	for i := o.lo; i < o.hi || borrow != 0 && i < fixedWords; i++ {
		n.w[i], borrow = bits.Sub64(n.w[i], o.w[i], borrow)
	}
}

func (n *fixed) isZero() bool {
	for _, w := range n.w[n.lo:n.hi] {
		if w != 0 {
			return false
		}
	}
	return true
}

// quotient returns n / (a*b), where neither is 0.
func (n *fixed) quotient(a, b uint64) (v Statistic) {
	top := n.hi - 1
	for top >= n.lo && n.w[top] == 0 {
		top--
	}
	if top < n.lo {
		return v
	}
	// The first words suffice for 128 bits of the quotient. What is below, and the remainders, only count as more.
	const kept = 5
	var q [kept]uint64
	for i := range q {
		if top-i >= 0 {
			q[i] = n.w[top-i]
		}
	}
	for i := top - kept; i >= n.lo; i-- {
		v.more = v.more || n.w[i] != 0
	}
	for _, d := range []uint64{a, b} {
		if d == 1 {
			continue
		}
		var rest uint64
		for i, w := range q {
			q[i], rest = bits.Div64(rest, w, d)
		}
		v.more = v.more || rest != 0
	}
	k := 0
	for q[k] == 0 {
		k++
	}
	// At most two words of the quotient are 0.
	lz := uint(bits.LeadingZeros64(q[k]))
	v.hi = q[k]<<lz | q[k+1]>>(64-lz)
	v.lo = q[k+1]<<lz | q[k+2]>>(64-lz)
	v.more = v.more || q[k+2]<<lz != 0
	for _, w := range q[k+3:] {
		v.more = v.more || w != 0
	}
	v.exp = 64*(top-k-1) - int(lz) - fixedPoint
	return v
}
