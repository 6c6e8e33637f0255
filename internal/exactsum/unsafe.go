package exactsum

import "unsafe"

// reinterpret returns x as elements of another type of the same size and alignment. A float whose bytes are in the
// wrong order must never be loaded as a float, because that could quiet a signalling NaN and change its bits.
func reinterpret[To, From any](x []From) []To {
	return unsafe.Slice((*To)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// scratch returns memory as elements of a type of at most 64 bits.
func scratch[T any](x *[columnRows]uint64) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(x)), len(x))
}
