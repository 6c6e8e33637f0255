package chunked

import (
	"fmt"
	"io"
	"math/big"

	"gather/internal/npy"
)

// Result is the result of a sum: an array in C order, 0-d for a sum over all axes. It is immutable.
type Result struct {
	shape   Shape
	numbers numbers
}

// Shape returns the shape of the result: () or, with keepdims, (1, 1, ...) for a sum over all axes.
func (r *Result) Shape() Shape { return r.shape }

// DType returns the type of the elements.
func (r *Result) DType() DType { return r.numbers.dtype }

// Len returns the number of elements.
func (r *Result) Len() int64 { return int64(len(r.numbers.bits)) }

// At returns element i in C order.
func (r *Result) At(i int64) Number { return r.numbers.at(i) }

// Overflow describes the elements of an integer result that its dtype cannot hold. They are still exact.
type Overflow struct {
	// Count is the number of these elements, First the index of the first in C order.
	Count, First int64
	// DType is the narrowest integer type that holds every element, with the same signedness if possible; Float64 if
	// there is none.
	DType DType
}

// Overflow returns the elements that the dtype cannot hold; false if it holds all.
func (r *Result) Overflow() (o Overflow, ok bool) {
	var v, lo, hi big.Int
	for i := range r.Len() {
		if r.At(i).fits() {
			continue
		}
		if o.Count++; o.Count == 1 {
			o.First = i
		}
	}
	if o.Count == 0 {
		return o, false
	}
	for i := range r.Len() {
		r.At(i).setInt(&v)
		if i == 0 || v.Cmp(&lo) < 0 {
			lo.Set(&v)
		}
		if i == 0 || v.Cmp(&hi) > 0 {
			hi.Set(&v)
		}
	}
	for _, unsigned := range []bool{r.DType().isUnsigned(), !r.DType().isUnsigned()} {
		for t := Int8; t <= Uint64; t++ {
			if t.isUnsigned() == unsigned && numberOfInt(&lo, t).fits() && numberOfInt(&hi, t).fits() {
				o.DType = t
				return o, true
			}
		}
	}
	o.DType = Float64
	return o, true
}

// AppendJSON appends the elements as JSON, nested like numpy.ndarray.tolist; see Number.AppendJSON for the elements. A
// 0-d result is a single number.
func (r *Result) AppendJSON(dst []byte) []byte {
	dst, _ = r.appendJSON(dst, r.shape, 0)
	return dst
}

func (r *Result) appendJSON(dst []byte, shape Shape, at int64) ([]byte, int64) {
	if len(shape) == 0 {
		return r.At(at).AppendJSON(dst), at + 1
	}
	dst = append(dst, '[')
	for i := range shape[0] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, at = r.appendJSON(dst, shape[1:], at)
	}
	return append(dst, ']'), at
}

// WriteNPY writes the result as an .npy file for numpy.load. If an integer does not fit the dtype it writes nothing,
// and the error wraps ErrRange; other errors are from w.
func (r *Result) WriteNPY(w io.Writer) error {
	raw := make([]byte, 0, r.Len()*int64(r.DType().Size()))
	for i := range r.Len() {
		var err error
		if raw, err = r.At(i).AppendRaw(raw); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	if _, err := npy.WriteHeader(w, dtypes[r.DType()].typ, r.shape); err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return fmt.Errorf("write .npy data: %w", err)
	}
	return nil
}
