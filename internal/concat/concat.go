// Package concat joins arrays in files along an axis, as numpy.concatenate does, and reads them where they are.
//
// If the parts follow each other in the memory order of the joined array, which is so along the first axis in C order, the
// array is a [File] that has one part after the other. Otherwise it is in [Tiles], each of which has whole rows of parts.
// Only what a reader needs is read, and each byte once. Sizes and types are checked before.
//
// The package starts no goroutine. Everything is safe for concurrent use.
package concat

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"gather/internal/npy"
)

// ErrParts is wrapped by errors about parts that do not fit together.
var ErrParts = errors.New("the files cannot be concatenated")

// Reader reads the file of a part.
type Reader interface {
	// ReadAtContext is io.ReaderAt's ReadAt, interrupted when ctx is done. After an error p may still be written.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// View calls use with bytes lo to hi in place, or returns errors.ErrUnsupported.
	View(ctx context.Context, lo, hi int64, use func(p []byte) error) error
	// Range returns n bytes, at most MaxRange, that must not be modified.
	Range(ctx context.Context, off, n int64) ([]byte, error)
	// ReadAheadRange may start to read what Range will return.
	ReadAheadRange(off, n int64)
}

// Part is one file.
type Part struct {
	Name   string // in errors
	Header npy.Header
	Reader Reader
}

// Array is an array that several files have together.
type Array struct {
	Header npy.Header // its Offset is 0

	parts  []Part
	starts []int64 // of the parts along the axis, and the length of the axis
	axis   int     // in memory order
	dims   []int64 // in memory order
	// The array has outer times inner elements for each place along the axis: outer by the axes before it in memory order,
	// inner by those after it.
	outer, inner int64
}

// New joins parts along an axis, which may count from the end. Errors: ErrParts.
func New(parts []Part, axis int64) (*Array, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrParts)
	}
	h := parts[0].Header
	n := int64(len(h.Shape))
	switch {
	case n == 0:
		return nil, fmt.Errorf("%w: %s has no axes", ErrParts, parts[0].Name)
	case axis < -n || axis >= n:
		return nil, fmt.Errorf("%w: there is no axis %d in %d dimensions", ErrParts, axis, n)
	case axis < 0:
		axis += n
	}
	a := &Array{Header: h, parts: parts, starts: []int64{0}}
	h = npy.Header{Type: h.Type, BigEndian: h.BigEndian, Shape: slices.Clone(h.Shape)}
	h.Shape[axis] = 0
	order := -1 // the first part whose order matters
	for i := range parts {
		if err := check(&parts[i], &parts[0], int(axis)); err != nil {
			return nil, err
		}
		p := &parts[i].Header
		if isOrdered(p) {
			if order < 0 {
				order, h.Fortran = i, p.Fortran
			}
			if p.Fortran != h.Fortran {
				return nil, fmt.Errorf("%w: %s and %s differ in the order of memory, C and Fortran", ErrParts, parts[order].Name, parts[i].Name)
			}
		}
		if h.Shape[axis] += p.Shape[axis]; h.Shape[axis] < 0 {
			return nil, fmt.Errorf("%w: together they are longer than 2^63", ErrParts)
		}
		a.starts = append(a.starts, h.Shape[axis])
	}
	if !fits(h) {
		return nil, fmt.Errorf("%w: together they have more than 2^62 bytes", ErrParts)
	}
	a.Header = h
	a.dims, a.axis = slices.Clone(h.Shape), int(axis)
	if h.Fortran {
		slices.Reverse(a.dims)
		a.axis = len(a.dims) - 1 - a.axis
	}
	a.outer, a.inner = product(a.dims[:a.axis]), product(a.dims[a.axis+1:])
	return a, nil
}

// check returns an error unless a part fits to the first.
func check(p, first *Part, axis int) error {
	h, f := &p.Header, &first.Header
	differ := func(what string, a, b any) error {
		return fmt.Errorf("%w: %s has %s %v, but %s has %v", ErrParts, p.Name, what, a, first.Name, b)
	}
	order := map[bool]string{true: "big", false: "little"}
	switch {
	case h.Type != f.Type:
		return differ("elements of type", h.Type, f.Type)
	case h.BigEndian != f.BigEndian:
		return differ("byte order", order[h.BigEndian], order[f.BigEndian])
	case len(h.Shape) != len(f.Shape):
		return differ("dimensions:", len(h.Shape), len(f.Shape))
	}
	for i := range h.Shape {
		if i != axis && h.Shape[i] != f.Shape[i] {
			return fmt.Errorf("%w: %s has length %d along axis %d, but %s has %d", ErrParts, p.Name, h.Shape[i], i, first.Name, f.Shape[i])
		}
	}
	return nil
}

// isOrdered reports whether C and Fortran order of an array differ.
func isOrdered(h *npy.Header) bool {
	long := 0
	for _, n := range h.Shape {
		if n == 0 {
			return false
		}
		if n > 1 {
			long++
		}
	}
	return long > 1
}

// fits reports whether the sizes of an array can be computed.
func fits(h npy.Header) bool {
	n := uint64(h.Type.Size)
	for _, d := range h.Shape {
		hi, lo := bits.Mul64(n, uint64(max(d, 1)))
		if n = lo; hi != 0 || lo > 1<<62 {
			return false
		}
	}
	return true
}

func product(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

// Memory returns about how much memory the array takes, in bytes.
func (a *Array) Memory() int64 {
	n := int64(0)
	for i := range a.parts {
		n += 400 + int64(3*len(a.parts[i].Name)+8*len(a.parts[i].Header.Shape))
	}
	return n
}

// partError adds the name of the part to an error.
func partError(p *Part, err error) error {
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}
