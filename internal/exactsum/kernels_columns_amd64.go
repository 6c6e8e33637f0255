//go:build amd64 && !purego

package exactsum

import "unsafe"

// cutColumns splits off the columns for the assembly, a multiple of 8, and returns its arguments: the first element,
// the bytes from row to row, and the number of columns.
func cutColumns[T any](t tile[T]) (p *T, stride, width int, rest tile[T]) {
	if hasAVX2 {
		width = t.width &^ 7
	}
	rest = t
	if rest.x, rest.width = t.x[width:], t.width-width; rest.width == 0 {
		rest.rows = 0
	}
	var element T
	return unsafe.SliceData(t.x), t.stride * int(unsafe.Sizeof(element)), width, rest
}

func foldColumns64(c *columnLevels, t tile[float64]) bool {
	p, stride, width, rest := cutColumns(t)
	c.begin(t.width)
	var moved, left uint64
	switch {
	case width == 0:
	case hasAVX512:
		moved, left = foldColumns64AVX512(p, stride, width, t.rows, &c.init[0][0], &c.s[0][0], &c.s[1][0])
	default:
		moved, left = foldColumns64AVX2(p, stride, width, t.rows, &c.init[0][0], &c.s[0][0], &c.s[1][0])
	}
	return exact(moved, left) && goFoldColumns(c, rest, width)
}

func foldColumns32(c *columnLevels, t tile[float32]) bool {
	p, stride, width, rest := cutColumns(t)
	c.begin(t.width)
	var moved, left uint64
	switch {
	case width == 0:
	case hasAVX512:
		moved, left = foldColumns32AVX512(p, stride, width, t.rows, &c.init[0][0], &c.s[0][0], &c.s[1][0])
	default:
		moved, left = foldColumns32AVX2(p, stride, width, t.rows, &c.init[0][0], &c.s[0][0], &c.s[1][0])
	}
	return exact(moved, left) && goFoldColumns(c, rest, width)
}

// columnsFloat16 adds in float64, where a block of binary16 values never needs rounding.
func columnsFloat16(c *columnScratch, t tile[uint16]) bool {
	p, stride, width, rest := cutColumns(t)
	if width > 0 {
		sums := &c.levels.s[0]
		clear(sums[:width])
		columns16AVX2(p, stride, width, t.rows, &sums[0])
		for v, s := range sums[:width] {
			n, ok := unitsOf(s)
			if !ok {
				return false
			}
			c.sum[v] += uint64(n)
		}
	}
	return goColumnsFloat16(c, rest, width)
}

func columnsInt64(c *columnScratch, t tile[int64]) {
	p, stride, width, rest := cutColumns(t)
	if width > 0 {
		columnsInt64AVX2(p, stride, width, t.rows, &c.sum[0], &c.high[0])
		for v := range width {
			c.high[v] -= uint64(t.rows) << 31
		}
	}
	goColumnsWide(c, rest, width)
}

func columnsUint64(c *columnScratch, t tile[uint64]) {
	p, stride, width, rest := cutColumns(t)
	if width > 0 {
		columnsUint64AVX2(p, stride, width, t.rows, &c.sum[0], &c.high[0])
	}
	goColumnsWide(c, rest, width)
}

func columnsInt32(c *columnScratch, t tile[int32])   { columnsWord(c, t, columnsInt32AVX2) }
func columnsUint32(c *columnScratch, t tile[uint32]) { columnsWord(c, t, columnsUint32AVX2) }
func columnsInt16(c *columnScratch, t tile[int16]) {
	columnsNarrow(c, t, columnsInt16AVX2, goColumnsNarrow)
}

func columnsInt8(c *columnScratch, t tile[int8]) {
	columnsNarrow(c, t, columnsInt8AVX2, goColumnsNarrow)
}

func columnsUint16(c *columnScratch, t tile[uint16]) {
	columnsNarrow(c, t, columnsUint16AVX2, goColumnsNarrow)
}

func columnsUint8(c *columnScratch, t tile[uint8]) {
	columnsNarrow(c, t, columnsUint8AVX2, goColumnsNarrow)
}

func columnsBool(c *columnScratch, t tile[byte]) { columnsNarrow(c, t, columnsBoolAVX2, goColumnsBool) }

func columnsWord[T integer](c *columnScratch, t tile[T], kernel func(x *T, stride, width, rows int, sum *uint64)) {
	p, stride, width, rest := cutColumns(t)
	if width > 0 {
		kernel(p, stride, width, t.rows, &c.sum[0])
	}
	goColumnsNarrow(c, rest, width)
}

// columnsNarrow adds at most drainRows rows, with a kernel whose sums of 32 bits those of 16 do not overflow.
func columnsNarrow[T integer](
	c *columnScratch, t tile[T], kernel func(x *T, stride, width, rows int, sum *uint32),
	rest func(c *columnScratch, t tile[T], first int),
) {
	p, stride, width, right := cutColumns(t)
	if width > 0 {
		sums := c.narrow[:width]
		clear(sums)
		kernel(p, stride, width, t.rows, &sums[0])
		for v, s := range sums {
			c.sum[v] += uint64(int32(s))
		}
	}
	rest(c, right, width)
}
