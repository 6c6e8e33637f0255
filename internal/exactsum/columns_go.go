package exactsum

import "math"

// The pure-Go kernels for columns: row by row, with the state of every column in scratch memory.

func goFoldColumns[T float64 | float32](c *columnScratch, t tile[T]) bool {
	init := c.init1[:t.width]
	s1, s2 := c.s1[:t.width], c.s2[:t.width]
	copy(s1, init)
	copy(s2, c.init2[:])
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
	return !leftBinade(moved) && !leftRemainder(rest)
}

func goColumnsNarrow[T integer](c *columnScratch, t tile[T]) {
	sum := c.sum[:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(int64(x))
		}
	}
}

func goColumnsWide[T int64 | uint64](c *columnScratch, t tile[T]) {
	sum, high := c.sum[:t.width], c.high[:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(x)
			high[v] += uint64(x >> 32)
		}
	}
}

func goColumnsBool(c *columnScratch, t tile[byte]) {
	sum := c.sum[:t.width]
	for i := range t.rows {
		for v, x := range t.row(i) {
			sum[v] += uint64(truth(x))
		}
	}
}

// goColumnsFloat16 adds in units of 2^-24 and reports whether all values were finite.
func goColumnsFloat16(c *columnScratch, t tile[uint16]) bool {
	sum := c.sum[:t.width]
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
