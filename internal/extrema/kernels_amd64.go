//go:build amd64 && !purego

package extrema

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go -C ../exactsum/asmgen run . -out ../../extrema/kernels_amd64.s -stubs ../../extrema/kernels_amd64_gen.go -pkg extrema

// hasAVX2 includes the conversion of binary16, which every CPU with AVX2 has.
var hasAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// vectorLen returns the length of the part of n elements that the kernels read.
func vectorLen(n, perIteration int) int {
	if !hasAVX2 {
		return 0
	}
	return n / perIteration * perIteration
}

func scan[T Number](x *T, n int, v *vectorResult) {
	out := (*[16]uint64)(v)
	switch x := any(x).(type) {
	case *float64:
		scanFloat64AVX2(x, n, out)
	case *float32:
		scanFloat32AVX2(x, n, out)
	case *int64:
		scanInt64AVX2(x, n, out)
	case *int32:
		scanInt32AVX2(x, n, out)
	case *int16:
		scanInt16AVX2(x, n, out)
	case *int8:
		scanInt8AVX2(x, n, out)
	case *uint64:
		scanUint64AVX2(x, n, out)
	case *uint32:
		scanUint32AVX2(x, n, out)
	case *uint16:
		scanUint16AVX2(x, n, out)
	case *uint8:
		scanUint8AVX2(x, n, out)
	}
}

func scanFloat16(x *uint16, n int, v *vectorResult) { scanFloat16AVX2(x, n, (*[16]uint64)(v)) }

// index returns the index of the first elements of a vector one of which equals v, or n.
func index[T Number](x *T, n int, v T) int {
	p, value := unsafe.Pointer(x), unsafe.Pointer(&v)
	switch any(x).(type) {
	case *float64:
		return indexFloat64AVX2((*float64)(p), n, *(*float64)(value))
	case *float32:
		return indexFloat32AVX2((*float32)(p), n, *(*float32)(value))
	}
	switch unsafe.Sizeof(v) {
	case 8:
		return index64AVX2((*uint64)(p), n, *(*uint64)(value))
	case 4:
		return index32AVX2((*uint32)(p), n, *(*uint32)(value))
	case 2:
		return index16AVX2((*uint16)(p), n, *(*uint16)(value))
	default:
		return index8AVX2((*uint8)(p), n, *(*uint8)(value))
	}
}

func indexFloat16(x *uint16, n int, v float32) int { return indexFloat16AVX2(x, n, v) }

// vectorColumns returns the number of columns that the kernels read.
func vectorColumns(n, lanes int) int {
	if !hasAVX2 {
		return 0
	}
	return n / lanes * lanes
}

func limits[T Number](x *T, n int, v *rangeResult) {
	out := (*[8]uint64)(v)
	switch x := any(x).(type) {
	case *float64:
		rangeFloat64AVX2(x, n, out)
	case *float32:
		rangeFloat32AVX2(x, n, out)
	case *int64:
		rangeInt64AVX2(x, n, out)
	case *int32:
		rangeInt32AVX2(x, n, out)
	case *int16:
		rangeInt16AVX2(x, n, out)
	case *int8:
		rangeInt8AVX2(x, n, out)
	case *uint64:
		rangeUint64AVX2(x, n, out)
	case *uint32:
		rangeUint32AVX2(x, n, out)
	case *uint16:
		rangeUint16AVX2(x, n, out)
	case *uint8:
		rangeUint8AVX2(x, n, out)
	}
}

func limitsFloat16(x *uint16, n int, v *rangeResult) { rangeFloat16AVX2(x, n, (*[8]uint64)(v)) }

// columnLimits extends the ranges of width columns by all rows. Rows are stride elements apart.
func columnLimits[T Number](x *T, stride, width, rows int, lo, hi *T) {
	stride *= int(unsafe.Sizeof(*x))
	l, h := any(lo), any(hi)
	switch x := any(x).(type) {
	case *float64:
		columnsFloat64AVX2(x, stride, width, rows, l.(*float64), h.(*float64))
	case *float32:
		columnsFloat32AVX2(x, stride, width, rows, l.(*float32), h.(*float32))
	case *int64:
		columnsInt64AVX2(x, stride, width, rows, l.(*int64), h.(*int64))
	case *int32:
		columnsInt32AVX2(x, stride, width, rows, l.(*int32), h.(*int32))
	case *int16:
		columnsInt16AVX2(x, stride, width, rows, l.(*int16), h.(*int16))
	case *int8:
		columnsInt8AVX2(x, stride, width, rows, l.(*int8), h.(*int8))
	case *uint64:
		columnsUint64AVX2(x, stride, width, rows, l.(*uint64), h.(*uint64))
	case *uint32:
		columnsUint32AVX2(x, stride, width, rows, l.(*uint32), h.(*uint32))
	case *uint16:
		columnsUint16AVX2(x, stride, width, rows, l.(*uint16), h.(*uint16))
	case *uint8:
		columnsUint8AVX2(x, stride, width, rows, l.(*uint8), h.(*uint8))
	}
}

func columnLimitsFloat16(x *uint16, stride, width, rows int, lo, hi *float32) {
	columnsFloat16AVX2(x, 2*stride, width, rows, lo, hi)
}
