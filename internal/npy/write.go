package npy

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The offset of the data is a multiple of align, so that a mapped file can be used in place (numpy.lib.format).
const align = 64

// WriteHeader writes a version 1.0 header for little-endian, C-ordered data of type t and shape, and returns the number
// of bytes written. The data must follow it: the product of shape times t.Size bytes.
//
// Before writing it returns an error that wraps [ErrFormat] if no file can hold such data or t is not on the
// allow-list; other errors are from w.
func WriteHeader(w io.Writer, t Type, shape []int64) (int, error) {
	if !t.valid() {
		return 0, fmt.Errorf("%w: dtype %q cannot be written", ErrFormat, t)
	}
	if err := (Header{Type: t, Shape: shape}).check(); err != nil {
		return 0, err
	}
	order := byte('<')
	if t.Size == 1 {
		order = '|'
	}
	text := fmt.Sprintf("{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }", order, t, shapeLiteral(shape))
	// At most 64 dimensions of 19 digits: the length always fits the two bytes of version 1.0.
	size := len(magic) + 4 + len(text) + 1
	pad := (align - size%align) % align
	b := make([]byte, 0, size+pad)
	b = append(b, magic...)
	b = append(b, 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)+pad+1))
	b = append(b, text...)
	for range pad {
		b = append(b, ' ')
	}
	n, err := w.Write(append(b, '\n'))
	if err != nil {
		return n, fmt.Errorf("npy: write header: %w", err)
	}
	return n, nil
}
