package exactsum

import (
	"math"
	"math/bits"
)

// Squares is an exact sum of squares, or of products, of floats or integers. Its zero value is the empty sum. As with an [Accumulator],
// equal multisets of inputs produce equal states.
//
// The square of a float64 has up to 106 bits, between 2^-2148 and 2^2048, more than an Accumulator holds. So very large
// and very small values are scaled by a power of two before they are squared, and have sums of their own.
type Squares struct {
	// mid has the squares of values whose square and its rounding error are float64, tiny and huge those of smaller and
	// larger ones, times 2^(2*scaleBits) and 2^(-2*scaleBits).
	mid, tiny, huge Accumulator
}

const (
	// The square of a value with an exponent of at least minSquare is a multiple of 2^(2*(minSquare-52)), which is at
	// least 2^-1074; one of at most maxSquare is below 2^1024.
	minSquare = -485
	maxSquare = 510
	scaleBits = 600
)

// Merge adds the sum b, which is unchanged.
func (s *Squares) Merge(b *Squares) {
	s.mid.Merge(&b.mid)
	s.tiny.Merge(&b.tiny)
	s.huge.Merge(&b.huge)
}

// IsFinite reports whether the sum is neither infinite nor NaN. It may still round to an infinity.
func (s *Squares) IsFinite() bool {
	return s.mid.IsFinite() && s.tiny.IsFinite() && s.huge.IsFinite()
}

// AppendBinary appends the canonical encoding: the encodings of the three sums, each after its length in two
// bytes. It takes at least 15 bytes. The error is always nil.
func (s *Squares) AppendBinary(dst []byte) ([]byte, error) {
	for _, a := range []*Accumulator{&s.mid, &s.tiny, &s.huge} {
		at := len(dst)
		dst, _ = a.AppendBinary(append(dst, 0, 0)) // never fails
		n := len(dst) - at - 2
		dst[at], dst[at+1] = byte(n), byte(n>>8)
	}
	return dst, nil
}

// UnmarshalPrefix replaces s with the sum that is encoded at the front of data, and returns the rest. It accepts only
// encodings of AppendBinary; otherwise it leaves s unchanged and returns an error that wraps [ErrEncoding].
func (s *Squares) UnmarshalPrefix(data []byte) (rest []byte, err error) {
	var d Squares
	for _, a := range []*Accumulator{&d.mid, &d.tiny, &d.huge} {
		if len(data) < 2 {
			return nil, ErrEncoding
		}
		n := int(data[0]) | int(data[1])<<8
		if data = data[2:]; n > len(data) {
			return nil, ErrEncoding
		}
		if err := a.UnmarshalBinary(data[:n]); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	*s = d
	return data, nil
}

// Squares64 adds the square of every element of x to s.
func (f *Adder) Squares64(s *Squares, x []float64) {
	if len(x) == 0 {
		return
	}
	s.mid.join(finite)
	for len(x) > 0 {
		block := nextBlock(&x, &f.tail64)
		if !foldSquares(&f.squareLevels, &s.mid, block, squares64, func(x []float64) []float64 { return x }) {
			f.squareBlock(s, block)
		}
	}
	f.squareLevels.drain(&s.mid)
}

// Squares32 is Squares64 for float32, whose squares are float64.
func (f *Adder) Squares32(s *Squares, x []float32) {
	if len(x) == 0 {
		return
	}
	s.mid.join(finite)
	for len(x) > 0 {
		block := nextBlock(&x, &f.tail32)
		if foldSquares(&f.squareLevels, &s.mid, block, squares32, f.widen32) {
			continue
		}
		products := f.squareScratch()[0][:len(block)]
		for i, v := range block {
			products[i] = float64(v) * float64(v)
		}
		f.Float64s(&s.mid, products)
	}
	f.squareLevels.drain(&s.mid)
}

// squareScratch returns memory for the squares of a block and their rounding errors.
func (f *Adder) squareScratch() *[2][blockLen]float64 {
	if f.squares == nil {
		f.squares = new([2][blockLen]float64)
	}
	return f.squares
}

// squareBlock adds the squares of a block: each as a rounded product and its error, which is exact (T. Dekker, 1971).
func (f *Adder) squareBlock(s *Squares, x []float64) {
	scratch := f.squareScratch()
	products, errs := scratch[0][:len(x)], scratch[1][:len(x)]
	const (
		low  = uint64(minSquare+1023) << mantissaBits
		span = uint64(maxSquare-minSquare+1) << mantissaBits
	)
	for i, v := range x {
		if math.Float64bits(v)&^(1<<63)-low >= span { // also 0, infinities and NaN
			v = f.squareFar(s, v)
		}
		p := v * v
		products[i] = p
		errs[i] = math.FMA(v, v, -p)
	}
	f.Float64s(&s.mid, products)
	f.Float64s(&s.mid, errs)
}

// squareFar adds the square of a value whose exponent is not between minSquare and maxSquare, and returns 0.
func (f *Adder) squareFar(s *Squares, v float64) float64 {
	abs := math.Abs(v)
	switch {
	case v == 0:
	case math.IsNaN(v) || math.IsInf(v, 0):
		s.mid.AddFloat64(abs)
	case abs < 1:
		addSquare(&s.tiny, math.Ldexp(v, scaleBits))
	default:
		addSquare(&s.huge, math.Ldexp(v, -scaleBits))
	}
	return 0
}

func addSquare(a *Accumulator, v float64) {
	p := v * v
	a.AddFloat64(p)
	a.AddFloat64(math.FMA(v, v, -p))
}

// SquareInt adds the square of an integer, v or, if unsigned, uint64(v).
func (s *Squares) SquareInt(v int64, unsigned bool) {
	u := uint64(v)
	if v < 0 && !unsigned {
		u = -u
	}
	s.addUint128(bits.Mul64(u, u))
}

func (s *Squares) addUint128(hi, lo uint64) {
	s.mid.join(finite)
	s.mid.addInt128(int64(hi>>1), hi<<63|lo>>1, point+1) // the sign bit must be 0
	s.mid.addInt128(0, lo&1, point)
}

// SquareInts adds the square of every element of x to s.
func SquareInts[T integer](s *Squares, x []T) {
	for len(x) > 0 {
		run := x[:min(len(x), squareRun)]
		x = x[len(run):]
		s.mid.join(finite)
		sums, n := squareInts(run)
		for i, v := range sums {
			s.mid.addInt128(0, v, point+squarePos[i])
		}
		squareEach(s, run[n:])
	}
}

// SquareBools adds the square of every element of x, 1 unless it is 0, to s.
func SquareBools(s *Squares, x []byte) {
	addInts(&s.mid, x, narrow(sumBool))
}

func squareEach[T integer](s *Squares, x []T) {
	var hi, lo uint64
	for i, v := range x {
		u := uint64(v)
		if v < 0 {
			u = -u
		}
		h, l := bits.Mul64(u, u)
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, carry = bits.Add64(hi, h, carry)
		if carry != 0 || i == len(x)-1 {
			s.addUint128(hi, lo)
			hi, lo = 0, 0
		}
		if carry != 0 { // 2^128
			s.mid.addInt128(1, 0, point+64)
		}
	}
}
