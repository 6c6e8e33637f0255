package chunked

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"

	"gather/internal/exactsum"
	"gather/internal/number"
)

// ErrRange is wrapped by errors for an exact integer that does not fit the at most 64 bits of a dtype.
var ErrRange = errors.New("chunked: integer beyond its dtype")

// Number is one result: a float rounded to its dtype, or an exact integer of any size. The dtype of an integer is
// NumPy's and determines the raw encoding; values never wrap.
type Number struct {
	dtype DType
	bits  uint64   // a float's bits, or an integer in two's complement of 64 bits with the dtype's sign
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
	// A sum that rounds to less than 2^53 equals its rounded value, and needs no big.Int.
	if f := a.Float64(); math.Abs(f) < 1<<53 && (f >= 0 || !dtype.isUnsigned()) {
		return Number{dtype: dtype, bits: uint64(int64(f))}
	}
	v, _ := a.Int() // a sum of integers
	return numberOfInt(v, dtype)
}

// productOf rounds a sum of products to dtype.
func productOf(s *exactsum.Squares, dtype DType) Number {
	if dtype.IsFloat() {
		return statisticOf(s.SumOfProducts(), dtype)
	}
	return numberOfInt(s.Int(), dtype)
}

// accumulator returns an exact sum of n, which is at most 64 bits.
func (n Number) accumulator() *exactsum.Accumulator {
	a := new(exactsum.Accumulator)
	switch {
	case n.dtype.IsFloat():
		a.AddFloat64(floatOf(n.dtype, n.bits))
	case n.dtype.isUnsigned():
		a.AddUint64(n.bits)
	default:
		a.AddInt64(int64(n.bits))
	}
	return a
}

func (n Number) isNaN() bool { return n.dtype.IsFloat() && isNaN(floatOf(n.dtype, n.bits)) }

func numberOfInt(v *big.Int, dtype DType) Number {
	switch {
	case !dtype.isUnsigned() && v.IsInt64():
		return Number{dtype: dtype, bits: uint64(v.Int64())}
	case dtype.isUnsigned() && v.IsUint64():
		return Number{dtype: dtype, bits: v.Uint64()}
	}
	return Number{dtype: dtype, wide: v}
}

// DType returns the type of the result.
func (n Number) DType() DType { return n.dtype }

// Int returns the exact value of an integer; nil for a float.
func (n Number) Int() *big.Int {
	if n.dtype.IsFloat() {
		return nil
	}
	return n.setInt(new(big.Int))
}

// Int64 returns the value of an integer; false for a float, and for an integer that int64 cannot hold.
func (n Number) Int64() (v int64, ok bool) {
	return int64(n.bits), n.wide == nil && !n.dtype.IsFloat() && (!n.dtype.isUnsigned() || n.bits>>63 == 0)
}

// cmp compares two integers of the same dtype.
func (n Number) cmp(o Number) int {
	switch {
	case n.wide != nil || o.wide != nil:
		var v, w big.Int
		return n.setInt(&v).Cmp(o.setInt(&w))
	case n.dtype.isUnsigned():
		return cmp.Compare(n.bits, o.bits)
	}
	return cmp.Compare(int64(n.bits), int64(o.bits))
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

// Float64 returns the exact value of a float, or an integer rounded to nearest.
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

// AppendJSON appends the number as JSON: an integer with all its digits, a float of any width as the shortest literal
// that parses to the same float64, like numpy.generic.item; see number.AppendFloat. A bool is true or
// false, and a number that does not exist, the extreme of nothing, is null.
func (n Number) AppendJSON(dst []byte) []byte {
	switch {
	case n.dtype == 0:
		return append(dst, "null"...)
	case n.dtype == Bool:
		return strconv.AppendBool(dst, n.bits != 0)
	case n.wide != nil:
		return n.wide.Append(dst, 10)
	case n.dtype.IsFloat():
		return number.AppendFloat(dst, n.Float64())
	case n.dtype.isUnsigned():
		return strconv.AppendUint(dst, n.bits, 10)
	}
	return strconv.AppendInt(dst, int64(n.bits), 10)
}

// AppendRaw appends the number as an element of its dtype, little endian. The error wraps ErrRange if an integer does
// not fit.
func (n Number) AppendRaw(dst []byte) ([]byte, error) {
	if !n.fits() {
		return dst, fmt.Errorf("%w: %s does not fit %s; use JSON or another dtype", ErrRange, n.AppendJSON(nil), n.dtype)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n.bits)
	return append(dst, b[:n.dtype.Size()]...), nil
}
