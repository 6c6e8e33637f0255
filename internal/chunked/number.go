package chunked

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"

	"gather/internal/exactsum"
	"gather/internal/number"
)

// ErrRange is wrapped when an exact integer does not fit the 64 bits or less that a dtype has.
var ErrRange = errors.New("chunked: integer beyond its dtype")

// Number is one result: a float rounded to its dtype, or an integer, which is exact whatever its size. The dtype of an
// integer is the one NumPy would use and says how raw output stores it; it never makes a value wrap.
type Number struct {
	dtype DType
	bits  uint64   // a float's bits; an integer in two's complement, of 64 bits with the dtype's sign
	wide  *big.Int // an integer that does not fit bits
}

// numberOf rounds a sum to dtype.
func numberOf(a *exactsum.Accumulator, dtype DType) Number {
	switch dtype {
	case Float16:
		return Number{dtype: dtype, bits: uint64(a.Float16())}
	case Float32:
		return Number{dtype: dtype, bits: uint64(math.Float32bits(a.Float32()))}
	case Float64:
		return Number{dtype: dtype, bits: math.Float64bits(a.Float64())}
	}
	// A sum that rounds to less than 2^53 is what it rounds to, and is had without a big.Int.
	if f := a.Float64(); math.Abs(f) < 1<<53 && (f >= 0 || !dtype.isUnsigned()) {
		return Number{dtype: dtype, bits: uint64(int64(f))}
	}
	v, _ := a.Int() // integers were added, so the sum is one
	return numberOfInt(v, dtype)
}

func numberOfInt(v *big.Int, dtype DType) Number {
	switch {
	case !dtype.isUnsigned() && v.IsInt64():
		return Number{dtype: dtype, bits: uint64(v.Int64())}
	case dtype.isUnsigned() && v.IsUint64():
		return Number{dtype: dtype, bits: v.Uint64()}
	}
	return Number{dtype: dtype, wide: v}
}

// DType is the type of the result that the number is an element of.
func (n Number) DType() DType { return n.dtype }

// Int is the exact value of an integer; nil for a float.
func (n Number) Int() *big.Int {
	if n.dtype.IsFloat() {
		return nil
	}
	return n.setInt(new(big.Int))
}

// setInt sets v to the value of an integer, and returns it.
func (n Number) setInt(v *big.Int) *big.Int {
	switch {
	case n.wide != nil:
		return v.Set(n.wide)
	case n.dtype.isUnsigned():
		return v.SetUint64(n.bits)
	}
	return v.SetInt64(int64(n.bits))
}

// fits reports whether the dtype can hold the value.
func (n Number) fits() bool {
	switch unused := 64 - 8*n.dtype.Size(); {
	case n.wide != nil:
		return false
	case n.dtype.IsFloat():
		return true
	case n.dtype.isUnsigned():
		return n.bits<<unused>>unused == n.bits
	default:
		return int64(n.bits)<<unused>>unused == int64(n.bits)
	}
}

// Float64 is the value of a float, exactly, or of an integer, rounded to nearest.
func (n Number) Float64() float64 {
	switch {
	case n.dtype.IsFloat():
		return floatOf(n.dtype, n.bits)
	case n.wide != nil:
		f, _ := new(big.Float).SetInt(n.wide).Float64()
		return f
	case n.dtype.isUnsigned():
		return float64(n.bits)
	}
	return float64(int64(n.bits))
}

// AppendJSON appends the number as a JSON value. An integer is a literal of all its digits. A float, also a narrow one, is
// the shortest literal that reads back as the same float64, as numpy.generic.item prints; see number.AppendFloat.
func (n Number) AppendJSON(dst []byte) []byte {
	switch {
	case n.wide != nil:
		return n.wide.Append(dst, 10)
	case n.dtype.IsFloat():
		return number.AppendFloat(dst, n.Float64())
	case n.dtype.isUnsigned():
		return strconv.AppendUint(dst, n.bits, 10)
	}
	return strconv.AppendInt(dst, int64(n.bits), 10)
}

// AppendRaw appends the number as an element of its dtype, little endian. The error wraps ErrRange when an exact integer
// does not fit.
func (n Number) AppendRaw(dst []byte) ([]byte, error) {
	if !n.fits() {
		return dst, fmt.Errorf("%w: %s does not fit %s; ask for JSON, or for another dtype", ErrRange, n.AppendJSON(nil), n.dtype)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n.bits)
	return append(dst, b[:n.dtype.Size()]...), nil
}
