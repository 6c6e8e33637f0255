//go:build amd64 && !purego

package exactsum

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go -C asmgen run . -out ../kernels_amd64.s -stubs ../kernels_amd64_gen.go -pkg exactsum

var (
	hasAVX2   = cpu.X86.HasAVX2 && cpu.X86.HasFMA
	hasAVX512 = hasAVX2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ

	// laneBits is the binary logarithm of the additions per lane in a block: the assembly has at least 16 lanes.
	laneBits = pick(hasAVX2, 8, goLaneBits)
)

func pick(condition bool, yes, no int) int {
	if condition {
		return yes
	}
	return no
}

func fold2x64(x []float64, k int) (upper, lower int64, ok bool) {
	p, n, init1, init2 := unsafe.SliceData(x), len(x), levelInit(k), levelInit(levelScale(k, 1, laneBits))
	var moved, rest uint64
	switch {
	case hasAVX512:
		upper, lower, moved, rest = fold64AVX512(p, n, init1, init2)
	case hasAVX2:
		upper, lower, moved, rest = fold64AVX2(p, n, init1, init2)
	default:
		return goFold2(x, k)
	}
	return upper, lower, exact(moved, rest)
}

func fold2x32(x []float32, k int) (upper, lower int64, ok bool) {
	p, n, init1, init2 := unsafe.SliceData(x), len(x), levelInit(k), levelInit(levelScale(k, 1, laneBits))
	var moved, rest uint64
	switch {
	case hasAVX512:
		upper, lower, moved, rest = fold32AVX512(p, n, init1, init2)
	case hasAVX2:
		upper, lower, moved, rest = fold32AVX2(p, n, init1, init2)
	default:
		return goFold2(x, k)
	}
	return upper, lower, exact(moved, rest)
}

func fold1x64(x []float64, k int) (level int64, ok bool) {
	p, n, init := unsafe.SliceData(x), len(x), levelInit(k)
	var moved, rest uint64
	switch {
	case hasAVX512:
		level, moved, rest = single64AVX512(p, n, init)
	case hasAVX2:
		level, moved, rest = single64AVX2(p, n, init)
	default:
		return goFold1(x, k)
	}
	return level, exact(moved, rest)
}

func fold1x32(x []float32, k int) (level int64, ok bool) {
	p, n, init := unsafe.SliceData(x), len(x), levelInit(k)
	var moved, rest uint64
	switch {
	case hasAVX512:
		level, moved, rest = single32AVX512(p, n, init)
	case hasAVX2:
		level, moved, rest = single32AVX2(p, n, init)
	default:
		return goFold1(x, k)
	}
	return level, exact(moved, rest)
}

func extract(rest, x []float64, k int) (level int64, inRange, more bool) {
	if !hasAVX2 {
		return goExtract(rest, x, k)
	}
	level, moved, left := extractAVX2(unsafe.SliceData(rest), unsafe.SliceData(x), len(x), levelInit(k))
	return level, !leftBinade(moved), leftRemainder(left)
}

func sum16(x []uint16) (units int64, ok bool) {
	if !hasAVX2 {
		return goSum16(x)
	}
	return unitsOf(sum16AVX2(unsafe.SliceData(x), len(x)))
}

// unitsOf converts a sum of binary16 values to units of 2^-24. It returns false if the sum is not finite, because of an
// infinity or a NaN.
func unitsOf(sum float64) (units int64, ok bool) {
	return int64(sum * (1 << 24)), sum-sum == 0
}
