// Package npy reads and writes the headers of NumPy's .npy files, strictly and as a stream.
//
// A returned header describes data that can exist: the type is on the allow-list (b1, i1-i8, u1-u8, f2, f4, f8), every
// size product was computed with an overflow check, and the header itself is at most [MaxHeader] bytes. The package
// never reads the data, never buffers past the header and never panics on any input.
//
// It reads versions 1.0, 2.0 and 3.0 as specified in NEP 1 (numpy.lib.format), both byte orders, C and Fortran order;
// it writes version 1.0, little endian, C order. Object, complex, string, date and structured types are rejected by
// name.
//
// The package starts no goroutine and keeps no state. Errors are [ErrFormat] (wrapped) for a header that it does not
// accept, or the reader's own error.
package npy

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

const (
	// MaxHeader is the maximum length of a header, in bytes, without magic and length field.
	MaxHeader = 64 << 10
	// MaxDims is the maximum number of dimensions; NumPy 2 has the same limit.
	MaxDims = 64

	magic = "\x93NUMPY"
)

// ErrFormat is wrapped by errors about the bytes of a header or the size of a file.
var ErrFormat = errors.New("npy: not an acceptable .npy file")

// Type is an element type: NumPy's letter for its kind, and its size in bytes.
type Type struct {
	Kind byte // 'b' bool, 'i' signed, 'u' unsigned, 'f' float
	Size int  // 1, 2, 4 or 8
}

// valid reports whether t is on the allow-list.
func (t Type) valid() bool {
	switch t.Kind {
	case 'b':
		return t.Size == 1
	case 'i', 'u':
		return t.Size == 1 || t.Size == 2 || t.Size == 4 || t.Size == 8
	case 'f':
		return t.Size == 2 || t.Size == 4 || t.Size == 8
	}
	return false
}

// String returns NumPy's name without a byte order, such as "f8" for float64.
func (t Type) String() string { return string(rune(t.Kind)) + strconv.Itoa(t.Size) }

// Header describes the data in an .npy file.
type Header struct {
	Type      Type
	BigEndian bool    // false for one-byte types
	Fortran   bool    // the first axis varies fastest in memory
	Shape     []int64 // in elements; empty for a 0-d array
	Offset    int64   // start of the data, in bytes from the start of the file
}

// Elements returns the product of the shape. It cannot overflow for a header from [ParseHeader].
func (h Header) Elements() int64 {
	n := int64(1)
	for _, d := range h.Shape {
		n *= d
	}
	return n
}

// FileSize returns the exact size in bytes of a file with this header.
func (h Header) FileSize() int64 { return h.Offset + h.Elements()*int64(h.Type.Size) }

// CheckSize returns an error that wraps [ErrFormat] unless a file of size bytes has exactly the header and its data.
func (h Header) CheckSize(size int64) error {
	want := h.FileSize()
	switch {
	case size < want:
		return fmt.Errorf("%w: truncated: %d bytes, but its header declares %d (shape %s of %s)",
			ErrFormat, size, want, shapeLiteral(h.Shape), h.Type)
	case size > want:
		return fmt.Errorf("%w: %d bytes follow the data: %d bytes, but its header declares %d (shape %s of %s)",
			ErrFormat, size-want, size, want, shapeLiteral(h.Shape), h.Type)
	}
	return nil
}

// check returns an error unless every size derived from h fits in an int64.
func (h Header) check() error {
	if len(h.Shape) > MaxDims {
		return fmt.Errorf("%w: %d dimensions; at most %d are accepted", ErrFormat, len(h.Shape), MaxDims)
	}
	// Skip zero-length axes, so that (0, huge, huge) is checked by its other axes: products in another order must not
	// overflow either.
	n := uint64(h.Type.Size)
	for _, d := range h.Shape {
		if d < 0 {
			return fmt.Errorf("%w: shape %s has a negative length", ErrFormat, shapeLiteral(h.Shape))
		}
		if d == 0 {
			continue
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return fmt.Errorf("%w: shape %s of %s has more bytes than a file can hold",
				ErrFormat, shapeLiteral(h.Shape), h.Type)
		}
		n = lo
	}
	return nil
}

// shapeLiteral returns shape in Python's notation: (), (3,), (3, 4).
func shapeLiteral(shape []int64) string {
	b := []byte{'('}
	for i, d := range shape {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, d, 10)
	}
	if len(shape) == 1 {
		b = append(b, ',')
	}
	return string(append(b, ')'))
}
