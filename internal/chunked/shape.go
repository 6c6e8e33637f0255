package chunked

import (
	"math"
	"math/bits"
	"strconv"

	"gather/internal/npy"
)

// MaxDims is the maximum number of dimensions of an array from any source.
const MaxDims = npy.MaxDims

// Limits bounds a description. All limits are checked, with overflow checks, before anything is allocated.
type Limits struct {
	Elements int64 // elements of an array
	Chunks   int64 // chunks of an array
	Outputs  int64 // elements of the result of a sum over some axes
	// Merged is the number of elements of such a result that a Reducer merges; those of a larger one are only in the
	// items. 0 is no limit.
	Merged int64
}

// DefaultLimits allows a sum that runs for days, and results that fit in memory many times.
func DefaultLimits() Limits { return Limits{Elements: 1 << 50, Chunks: 1e6, Outputs: 1e6} }

// Shape is the length of an array along each axis, in elements, like NumPy's: empty for a 0-d array.
type Shape []int64

// Elements returns the product of the lengths; false if it, or the product of the non-zero lengths, overflows an int64.
func (s Shape) Elements() (int64, bool) {
	n, zero := int64(1), false
	for _, d := range s {
		if d == 0 {
			zero = true // keep multiplying, because strides are products of the others
			continue
		}
		var ok bool
		if n, ok = mul(n, d); !ok {
			return 0, false
		}
	}
	if zero {
		n = 0
	}
	return n, true
}

// strides returns the distance in elements between neighbours along each axis, in C order.
func (s Shape) strides() []int64 {
	strides := make([]int64, len(s))
	n := int64(1)
	for i := len(s) - 1; i >= 0; i-- {
		strides[i] = n
		n *= max(s[i], 1)
	}
	return strides
}

// reversed returns s with reversed axes: the C-ordered view of Fortran-ordered memory.
func (s Shape) reversed() Shape {
	r := make(Shape, len(s))
	for i, d := range s {
		r[len(s)-1-i] = d
	}
	return r
}

// String returns the shape in Python's notation: (), (3,), (3, 4).
func (s Shape) String() string {
	b := []byte{'('}
	for i, d := range s {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, d, 10)
	}
	if len(s) == 1 {
		b = append(b, ',')
	}
	return string(append(b, ')'))
}

// mul multiplies two non-negative numbers; false on overflow.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo <= math.MaxInt64
}

func ceilDiv(a, b int64) int64 { return a/b + min(a%b, 1) }
