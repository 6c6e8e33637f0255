// Package npy reads and writes the header of NumPy's .npy files, strictly and as a stream.
//
// It guarantees that a returned header describes data that can exist: the type is one of the allow-list (b1, i1-i8,
// u1-u8, f2, f4, f8), every size product was computed with an overflow check, and the header itself is at most
// [MaxHeader] bytes. It never reads the data, never buffers past the header and never panics, whatever the input.
//
// It reads versions 1.0, 2.0 and 3.0 as specified in NEP 1 (numpy.lib.format), both byte orders, C and Fortran order; it
// writes version 1.0, little endian, C order. Object, complex, string, date and structured types are rejected by name.
//
// The package starts no goroutine and keeps no state. It fails only through its returned errors: [ErrFormat] (wrapped)
// when the bytes are no header that it accepts, the reader's own error when that failed.
package npy

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

const (
	// MaxHeader is the longest header accepted, in bytes, magic and length field not counted.
	MaxHeader = 64 << 10
	// MaxDims is the largest number of dimensions accepted; NumPy 2 has the same limit.
	MaxDims = 64

	magic = "\x93NUMPY"
)

// ErrFormat is wrapped by every error about the bytes of a header or the size of a file.
var ErrFormat = errors.New("npy: not an acceptable .npy file")

// Type is an element type: its kind as NumPy letters it and its size in bytes.
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

// String is the type as NumPy writes it without a byte order, "f8" for float64.
func (t Type) String() string { return string(rune(t.Kind)) + strconv.Itoa(t.Size) }

// Header is the description of the data in a .npy file.
type Header struct {
	Type      Type
	BigEndian bool    // false for one-byte types
	Fortran   bool    // the first axis varies fastest in memory
	Shape     []int64 // in elements; empty for a 0-d array
	Offset    int64   // where the data starts, in bytes from the start of the file
}

// Elements is the product of the shape. It cannot overflow in a header that [ParseHeader] returned.
func (h Header) Elements() int64 {
	n := int64(1)
	for _, d := range h.Shape {
		n *= d
	}
	return n
}

// FileSize is the exact size in bytes of a file with this header.
func (h Header) FileSize() int64 { return h.Offset + h.Elements()*int64(h.Type.Size) }

// CheckSize checks that a file of size bytes has exactly the data of the header. The error wraps [ErrFormat].
func (h Header) CheckSize(size int64) error {
	want := h.FileSize()
	switch {
	case size < want:
		return fmt.Errorf("%w: truncated: %d bytes, but its header promises %d (shape %s of %s)",
			ErrFormat, size, want, shapeLiteral(h.Shape), h.Type)
	case size > want:
		return fmt.Errorf("%w: %d bytes follow the data: %d bytes, but its header promises %d (shape %s of %s)",
			ErrFormat, size-want, size, want, shapeLiteral(h.Shape), h.Type)
	}
	return nil
}

// check verifies that every size derived from h fits in an int64.
func (h Header) check() error {
	if len(h.Shape) > MaxDims {
		return fmt.Errorf("%w: %d dimensions; at most %d are accepted", ErrFormat, len(h.Shape), MaxDims)
	}
	// Zero-length axes are skipped, so that (0, huge, huge) is judged by its other axes: a product taken in another
	// order later must not overflow either.
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
			return fmt.Errorf("%w: shape %s of %s is more bytes than a file can hold",
				ErrFormat, shapeLiteral(h.Shape), h.Type)
		}
		n = lo
	}
	return nil
}

// shapeLiteral writes shape as Python does: (), (3,), (3, 4).
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
