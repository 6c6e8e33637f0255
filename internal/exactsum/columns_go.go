package exactsum

import "math"

// The pure-Go kernels for columns: row by row, with the state of every column in scratch memory. The first column of t
// is column first of the scratch.

func goFoldColumns[T float64 | float32](c *columnLevels, t tile[T], first int) bool {
	init, s1, s2 := c.init[0][first:][:t.width], c.s[0][first:][:t.width], c.s[1][first:][:t.width]
	var moved, rest uint64
	for i := range t.rows {
		for v, x := range t.row(i) {
			r := float64(x)
			t := s1[v] + r
			r -= t - s1[v]
			s1[v] = t
			moved |= math.Float64bits(t) ^ math.Float64bits(init[v])
			t = s2[v] + r
			r -= t - s2[v]
			s2[v] = t
			rest |= math.Float64bits(r)
		}
	}
	return exact(moved, rest)
}

func goColumnsNarrow[T integer](c *columnScratch, t tile[T], first int) {
	sum := c.sum[first:][:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(int64(x))
		}
	}
}

func goColumnsWide[T int64 | uint64](c *columnScratch, t tile[T], first int) {
	sum, high := c.sum[first:][:t.width], c.high[first:][:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(x)
			high[v] += uint64(x >> 32)
		}
	}
}

func goColumnsBool(c *columnScratch, t tile[byte], first int) {
	sum := c.sum[first:][:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(truth(x))
		}
	}
}

// goColumnsFloat16 adds in units of 2^-24 and reports whether all values were finite.
func goColumnsFloat16(c *columnScratch, t tile[uint16], first int) bool {
	sum := c.sum[first:][:t.width]
	special := false
	for i := range t.rows {
		for v, h := range t.row(i) {
			n, isSpecial := units16(h)
			sum[v] += uint64(n)
			special = special || isSpecial
		}
	}
	return !special
}
