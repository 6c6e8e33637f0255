package exactsum

import "math/bits"

// intRun bounds the number of integers added before their sum is moved to the accumulator. The 16-bit kernels have the
// tightest bound; sums of 64-bit halves would allow nearly 2^32.
const intRun = 1 << 20

// Int64s adds every element of x to a.
func (f *Adder) Int64s(a *Accumulator, x []int64) {
	addInts(a, x, func(x []int64) int128 {
		sum, high := sumInt64(x)
		return joinHalves(sum, int128{hi: high >> 63, lo: uint64(high)})
	})
}

// Uint64s adds every element of x to a.
func (f *Adder) Uint64s(a *Accumulator, x []uint64) {
	addInts(a, x, func(x []uint64) int128 {
		sum, high := sumUint64(x)
		return joinHalves(sum, int128{lo: high})
	})
}

// Int32s adds every element of x to a.
func (f *Adder) Int32s(a *Accumulator, x []int32) { addInts(a, x, narrow(sumInt32)) }

// Int16s adds every element of x to a.
func (f *Adder) Int16s(a *Accumulator, x []int16) { addInts(a, x, narrow(sumInt16)) }

// Int8s adds every element of x to a.
func (f *Adder) Int8s(a *Accumulator, x []int8) { addInts(a, x, narrow(sumInt8)) }

// Uint32s adds every element of x to a.
func (f *Adder) Uint32s(a *Accumulator, x []uint32) { addInts(a, x, narrow(sumUint32)) }

// Uint16s adds every element of x to a.
func (f *Adder) Uint16s(a *Accumulator, x []uint16) { addInts(a, x, narrow(sumUint16)) }

// Uint8s adds every element of x to a.
func (f *Adder) Uint8s(a *Accumulator, x []uint8) { addInts(a, x, narrow(sumUint8)) }

// Bools adds the number of non-zero bytes of x to a.
func (f *Adder) Bools(a *Accumulator, x []byte) { addInts(a, x, narrow(sumBool)) }

// addInts adds x to a in runs within the limit of sum.
func addInts[T any](a *Accumulator, x []T, sum func([]T) int128) {
	if len(x) == 0 {
		return
	}
	a.join(finite)
	for len(x) > 0 {
		n := min(len(x), intRun)
		s := sum(x[:n])
		a.addInt128(s.hi, s.lo, point)
		x = x[n:]
	}
}

// narrow adapts a kernel whose sum fits 64 bits.
func narrow[T any](sum func([]T) int64) func([]T) int128 {
	return func(x []T) int128 {
		s := sum(x)
		return int128{hi: s >> 63, lo: uint64(s)}
	}
}

// joinHalves returns the exact sum of 64-bit integers from their sum modulo 2^64 and the sum of their upper halves. The
// sum of fewer than 2^32 lower halves is below 2^64, so it is the difference modulo 2^64.
func joinHalves(sum uint64, high int128) int128 {
	shifted := int128{hi: high.hi<<32 | int64(high.lo>>32), lo: high.lo << 32}
	lo, carry := bits.Add64(shifted.lo, sum-shifted.lo, 0)
	return int128{hi: shifted.hi + int64(carry), lo: lo}
}
