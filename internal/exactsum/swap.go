package exactsum

import "math/bits"

// Swap64 reverses the bytes of every element in place, for data in the other byte order.
func Swap64[T int64 | uint64 | float64](x []T) { swap64(reinterpret[uint64](x)) }

// Swap32 reverses the bytes of every element, in place.
func Swap32[T int32 | uint32 | float32](x []T) { swap32(reinterpret[uint32](x)) }

// Swap16 reverses the bytes of every element, in place.
func Swap16[T int16 | uint16](x []T) { swap16(reinterpret[uint16](x)) }

func goSwap64(x []uint64) {
	for i, v := range x {
		x[i] = bits.ReverseBytes64(v)
	}
}

func goSwap32(x []uint32) {
	for i, v := range x {
		x[i] = bits.ReverseBytes32(v)
	}
}

func goSwap16(x []uint16) {
	for i, v := range x {
		x[i] = bits.ReverseBytes16(v)
	}
}
