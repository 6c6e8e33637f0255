//go:build amd64 && !purego

package exactsum

import "unsafe"

// intGroup divides the lengths for the assembly; Go adds the rest.
const intGroup = 128

// cut splits x into the part for the assembly and the tail.
func cut[T any](x []T) (p *T, n int, tail []T) {
	if hasAVX2 {
		n = len(x) &^ (intGroup - 1)
	}
	return unsafe.SliceData(x), n, x[n:]
}

func sumInt64(x []int64) (sum uint64, high int64) {
	p, n, tail := cut(x)
	sum, high = goSumWide(tail)
	if n > 0 {
		s, h := sumInt64AVX2(p, n)
		sum, high = sum+s, high+int64(h)-int64(n)<<31
	}
	return sum, high
}

func sumUint64(x []uint64) (sum, high uint64) {
	p, n, tail := cut(x)
	sum, high = goSumWide(tail)
	if n > 0 {
		s, h := sumUint64AVX2(p, n)
		sum, high = sum+s, high+h
	}
	return sum, high
}

func sumInt32(x []int32) int64   { return sumNarrow(x, 0, sumInt32AVX2) }
func sumUint32(x []uint32) int64 { return sumNarrow(x, 0, sumUint32AVX2) }
func sumInt16(x []int16) int64   { return sumNarrow(x, 0, sumInt16AVX2) }
func sumUint16(x []uint16) int64 { return sumNarrow(x, 1<<15, sumUint16AVX2) }
func sumInt8(x []int8) int64     { return sumNarrow(x, -1<<7, sumInt8AVX2) }
func sumUint8(x []uint8) int64   { return sumNarrow(x, 0, sumUint8AVX2) }

func sumBool(x []byte) int64 {
	p, n, tail := cut(x)
	if n == 0 {
		return goSumBool(tail)
	}
	return goSumBool(tail) + int64(n) - sumBoolAVX2(p, n)/255
}

// sumNarrow adds x with a kernel whose result is too small by bias for each element.
func sumNarrow[T integer](x []T, bias int64, kernel func(x *T, n int) int64) int64 {
	p, n, tail := cut(x)
	if n == 0 {
		return goSumNarrow(tail)
	}
	return goSumNarrow(tail) + kernel(p, n) + bias*int64(n)
}

func swap64(x []uint64) {
	p, n, tail := cut(x)
	if n > 0 {
		swap64AVX2(p, n)
	}
	goSwap64(tail)
}

func swap32(x []uint32) {
	p, n, tail := cut(x)
	if n > 0 {
		swap32AVX2(p, n)
	}
	goSwap32(tail)
}

func swap16(x []uint16) {
	p, n, tail := cut(x)
	if n > 0 {
		swap16AVX2(p, n)
	}
	goSwap16(tail)
}
