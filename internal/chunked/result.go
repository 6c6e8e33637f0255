package chunked

import (
	"fmt"
	"io"

	"gather/internal/npy"
)

// Result is the result of one statistic: an array in C order, 0-d for a reduction over all axes. It is immutable. The elements of a
// result above Limits.Merged are only in the items; such a result has its Shape, DType, Len and Overflow.
type Result struct {
	shape   Shape
	numbers numbers
	all     *numberRange // of a result without elements
}

// Shape returns the shape of the result: () or, with keepdims, (1, 1, ...) for a sum over all axes.
func (r *Result) Shape() Shape { return r.shape }

// DType returns the type of the elements.
func (r *Result) DType() DType { return r.numbers.dtype }

// Len returns the number of elements.
func (r *Result) Len() int64 {
	if r.all != nil {
		n, _ := r.shape.Elements() // within Limits.Outputs
		return n
	}
	return int64(len(r.numbers.bits))
}

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
	all := r.all
	if all == nil {
		all = new(numberRange)
		for i := range r.Len() {
			all.add(i, r.At(i))
		}
	}
	if all.beyond == 0 {
		return o, false
	}
	return Overflow{Count: all.beyond, First: all.first, DType: all.narrowest()}, true
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
