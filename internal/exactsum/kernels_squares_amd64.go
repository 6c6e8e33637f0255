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

func foldSquareColumns64(c *columnLevels, t tile[float64]) bool {
	p, stride, width, rest := cutColumns(t)
	c.begin(t.width)
	var moved, left uint64
	switch {
	case width == 0:
	case hasAVX512:
		moved, left = squareColumns64AVX512(p, stride, width, t.rows, &c.init[0][0], &c.s)
	default:
		moved, left = squareColumns64AVX2(p, stride, width, t.rows, &c.init[0][0], &c.s)
	}
	return exact(moved, left) && goFoldSquareColumns(c, rest, width)
}

func foldSquareColumns32(c *columnLevels, t tile[float32]) bool {
	p, stride, width, rest := cutColumns(t)
	c.begin(t.width)
	var moved, left uint64
	switch {
	case width == 0:
	case hasAVX512:
		moved, left = squareColumns32AVX512(p, stride, width, t.rows, &c.init[0][0], &c.s)
	default:
		moved, left = squareColumns32AVX2(p, stride, width, t.rows, &c.init[0][0], &c.s)
	}
	return exact(moved, left) && goFoldSquareColumns(c, rest, width)
}

// squareIntColumns adds the squares of a tile to halves, which are sums of halves of products at squarePos.
func squareIntColumns[T integer](halves *[len(squarePos)][tileLen]uint64, t tile[T]) {
	first, stride, width, rest := cutColumns(t)
	if width > 0 {
		switch p := any(first).(type) {
		case *int64:
			squareColumnsInt64AVX2(p, stride, width, t.rows, halves)
		case *int32:
			squareColumnsInt32AVX2(p, stride, width, t.rows, halves)
		case *int16:
			squareColumnsInt16AVX2(p, stride, width, t.rows, halves)
		case *int8:
			squareColumnsInt8AVX2(p, stride, width, t.rows, halves)
		case *uint64:
			squareColumnsUint64AVX2(p, stride, width, t.rows, halves)
		case *uint32:
			squareColumnsUint32AVX2(p, stride, width, t.rows, halves)
		case *uint16:
			squareColumnsUint16AVX2(p, stride, width, t.rows, halves)
		case *uint8:
			squareColumnsUint8AVX2(p, stride, width, t.rows, halves)
		default:
			rest, width = t, 0
		}
	}
	goSquareIntColumns(halves, rest, width)
}

// squareInts returns the sums of halves of products, at squarePos, for the first n elements of x.
func squareInts[T integer](x []T) (sums [6]uint64, n int) {
	first, n, _ := cut(x)
	if n == 0 {
		return sums, 0
	}
	switch p := any(first).(type) {
	case *int64:
		squaresInt64AVX2(p, n, &sums)
	case *int32:
		squaresInt32AVX2(p, n, &sums)
	case *int16:
		squaresInt16AVX2(p, n, &sums)
	case *int8:
		squaresInt8AVX2(p, n, &sums)
	case *uint64:
		squaresUint64AVX2(p, n, &sums)
	case *uint32:
		squaresUint32AVX2(p, n, &sums)
	case *uint16:
		squaresUint16AVX2(p, n, &sums)
	case *uint8:
		squaresUint8AVX2(p, n, &sums)
	default:
		return sums, 0
	}
	return sums, n
}

// squareInits returns the starts of the levels of which the first is at scale k.
func squareInits(k int) (init [squareLevels]float64) {
	for i := range init {
		init[i] = levelInit(levelScale(k, i, squareBits))
	}
	return init
}
