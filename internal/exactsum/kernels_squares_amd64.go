//go:build amd64 && !purego

package exactsum

import "unsafe"

// squareKernels is true if squares64 and squares32 may be called.
var squareKernels = hasAVX2

func squares64(x []float64, k int) (levels [squareLevels]int64, ok bool) {
	p, n, init := unsafe.SliceData(x), len(x), squareInits(k)
	var moved, rest uint64
	if hasAVX512 {
		moved, rest = squares64AVX512(p, n, &init, &levels)
	} else {
		moved, rest = squares64AVX2(p, n, &init, &levels)
	}
	return levels, exact(moved, rest)
}

func squares32(x []float32, k int) (levels [squareLevels]int64, ok bool) {
	p, n, init := unsafe.SliceData(x), len(x), squareInits(k)
	var moved, rest uint64
	if hasAVX512 {
		moved, rest = squares32AVX512(p, n, &init, &levels)
	} else {
		moved, rest = squares32AVX2(p, n, &init, &levels)
	}
	return levels, exact(moved, rest)
}
