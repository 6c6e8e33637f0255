package exactsum

import "math"

// columnLevels holds the levels of the columns of a tile. All arrays are indexed by level and by column of the tile.
type columnLevels struct {
	depth int // the number of levels in use
	bits  int // the binary logarithm of the additions to a lower level in a block
	// init and s are the start and the current value of the levels.
	init, s [maxLevels][tileLen]float64
	// sums are the sums of earlier blocks, in units of the levels.
	sums   [maxLevels][tileLen]int64
	blocks int
	// scales are the last suitable scales of the first level, by column of the matrix; initial is the first one.
	scales  []int
	initial int
}

// scalesFor returns the scales of cols columns.
func (c *columnLevels) scalesFor(cols int) []int {
	if len(c.scales) != cols {
		c.scales = make([]int, cols)
		for j := range c.scales {
			c.scales[j] = c.initial
		}
	}
	return c.scales
}

// floatColumns has the operations of addColumns for a type.
type floatColumns[T any] struct {
	// exponent returns the biased exponent of the value as float64.
	exponent func(T) int
	// scale returns the scale of the first level for values with biased exponents up to exp; false if there is none.
	scale func(exp int) (k int, ok bool)
	// fold folds a block from init into s and reports whether the result is exact.
	fold func(c *columnLevels, t tile[T]) bool
	// gathered adds a block column by column.
	gathered func(t tile[T])
	// sum returns the accumulator of a column, counted from the first of the tile.
	sum func(j int) *Accumulator
}

// addColumns adds a tile, of which the first period columns have these scales: with fold while its result is exact,
// otherwise column by column.
func addColumns[T any](c *columnLevels, scales []int, t tile[T], k floatColumns[T]) {
	c.start(scales, t.width)
	// Columns that do not fit the levels usually stay so: after each failure skip twice as many blocks.
	skip, penalty := 0, 1
	for t.rows > 0 {
		block := t.cut(columnRows)
		switch {
		case skip > 0:
			skip--
			k.gathered(block)
		case k.fold(c, block):
			c.collect(scales, block.width, k.sum)
			penalty = 1
		default:
			c.drain(scales, block.width, k.sum)
			fits := rescale(scales, block, k)
			c.start(scales, block.width)
			if fits && k.fold(c, block) {
				c.collect(scales, block.width, k.sum)
				continue
			}
			k.gathered(block)
			skip = penalty
			penalty *= 2
		}
	}
	c.drain(scales, t.width, k.sum)
}

// start sets the levels of each column to its scale.
func (c *columnLevels) start(scales []int, width int) {
	for i := range c.depth {
		init := &c.init[i]
		for j, k := range scales {
			init[j] = levelInit(levelScale(k, i, c.bits))
		}
		for first := len(scales); first < width; first += len(scales) {
			copy(init[first:width], init[:len(scales)])
		}
	}
}

// begin resets the levels for a block.
func (c *columnLevels) begin(width int) {
	for i := range c.depth {
		copy(c.s[i][:width], c.init[i][:])
	}
}

// rescale sets the scale of each column for its largest value, and reports whether every column has one. Columns of
// zeros, or with special values, keep their scale.
func rescale[T any](scales []int, t tile[T], k floatColumns[T]) (fits bool) {
	largest := make([]int, len(scales))
	for i := range t.rows {
		for v, x := range t.row(i) {
			j := v % len(scales)
			largest[j] = max(largest[j], k.exponent(x))
		}
	}
	fits = true
	for j, exp := range largest {
		if exp == 0 || exp == exponentMask {
			continue
		}
		if scale, ok := k.scale(exp); ok {
			scales[j] = scale
		} else {
			fits = false
		}
	}
	return fits
}

// collect adds the levels of a block to the sums. A level moves by less than 2^52 units per block, so drainBlocks of
// them fit.
func (c *columnLevels) collect(scales []int, width int, sum func(j int) *Accumulator) {
	for i := range c.depth {
		sums, s, init := c.sums[i][:width], c.s[i][:width], c.init[i][:width]
		for v := range sums {
			sums[v] += int64(math.Float64bits(s[v]) - math.Float64bits(init[v]))
		}
	}
	if c.blocks++; c.blocks == drainBlocks {
		c.drain(scales, width, sum)
	}
}

// drain moves the sums into the accumulators.
func (c *columnLevels) drain(scales []int, width int, sum func(j int) *Accumulator) {
	if c.blocks == 0 {
		return
	}
	for j := range scales {
		a := sum(j)
		for i := range c.depth {
			var s int128
			for v := j; v < width; v += len(scales) {
				s.add(c.sums[i][v])
				c.sums[i][v] = 0
			}
			a.addInt128(s.hi, s.lo, unitPos(levelScale(scales[j], i, c.bits)))
		}
	}
	c.blocks = 0
}
