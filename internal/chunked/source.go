package chunked

import (
	"context"
	"unsafe"
)

// Source has the elements of an array, numbered in memory order: C order, unless the array is Fortran-ordered.
//
// A Source is immutable and safe for concurrent use. Element i depends only on i: filling it as part of any range, on
// any machine, produces the same bits.
type Source interface {
	// DType returns the type of the elements.
	DType() DType
	// Constant reports whether all elements are equal, so that scratch can be filled once and reused.
	Constant() bool
	// Fill writes elements lo, lo+1, ... to dst until it is full, in the machine's byte order. The length of dst is a
	// multiple of the element size, its address is aligned to the element, and the range lies within the array.
	//
	// Generated sources do not fail. A stored one returns the reader's error, or an error about truncated data; ctx is
	// for readers that can be interrupted.
	Fill(ctx context.Context, dst []byte, lo int64) error
}

// view returns memory as a slice of T. It must be aligned for T, like the scratch from alignedBytes.
func view[T any](mem []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/int(unsafe.Sizeof(zero)))
}

// alignedBytes returns memory for elements of any type.
func alignedBytes(n int64) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))[:n]
}

// put writes the low bytes of an encoded element as element i of mem.
func put(mem []byte, size, i int, bits uint64) {
	switch size {
	case 1:
		mem[i] = byte(bits)
	case 2:
		view[uint16](mem)[i] = uint16(bits)
	case 4:
		view[uint32](mem)[i] = uint32(bits)
	default:
		view[uint64](mem)[i] = bits
	}
}

// constant is the source for ones, zeros and full.
type constant struct {
	dtype DType
	bits  uint64
}

func (c constant) DType() DType   { return c.dtype }
func (c constant) Constant() bool { return true }

func (c constant) Fill(_ context.Context, dst []byte, _ int64) error {
	switch c.dtype.Size() {
	case 1:
		fill(dst, byte(c.bits))
	case 2:
		fill(view[uint16](dst), uint16(c.bits))
	case 4:
		fill(view[uint32](dst), uint32(c.bits))
	default:
		fill(view[uint64](dst), c.bits)
	}
	return nil
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// inline is the source for values in the description.
type inline struct {
	dtype DType
	data  []byte
}

func (v inline) DType() DType   { return v.dtype }
func (v inline) Constant() bool { return false }

func (v inline) Fill(_ context.Context, dst []byte, lo int64) error {
	copy(dst, v.data[lo*int64(v.dtype.Size()):])
	return nil
}
