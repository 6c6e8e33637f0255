package exactsum

import "math"

// ColumnsFloat64 adds column j of x to accs[j]. x is a matrix with rows of len(accs) columns, which begin stride
// elements apart; it panics if len(x) differs.
func (f *Adder) ColumnsFloat64(accs []Accumulator, x []float64, rows, stride int) {
	addColumns(f, accs, x, rows, stride, floatColumns[float64]{isNegZero64, exponent64, foldColumns64, f.Float64s})
}

// ColumnsFloat32 is ColumnsFloat64 for float32.
func (f *Adder) ColumnsFloat32(accs []Accumulator, x []float32, rows, stride int) {
	addColumns(f, accs, x, rows, stride, floatColumns[float32]{isNegZero32, exponent32, foldColumns32, f.Float32s})
}

func exponent64(v float64) int { return int(math.Float64bits(v) >> mantissaBits & exponentMask) }
func exponent32(v float32) int { return exponent64(float64(v)) }

// floatColumns has the operations of addColumns for a type.
type floatColumns[T any] struct {
	isNegZero func(T) bool
	// exponent returns the biased exponent of the value as float64.
	exponent func(T) int
	// fold folds a block from init into s and reports whether the result is exact.
	fold func(c *columnScratch, t tile[T]) bool
	// add adds a slice to one accumulator.
	add func(a *Accumulator, x []T)
}

// addColumns adds a matrix: with fold while its result is exact, otherwise column by column.
func addColumns[T any](f *Adder, accs []Accumulator, x []T, rows, stride int, k floatColumns[T]) {
	c := f.columnScratchFor(len(accs))
	eachTile(x, len(accs), rows, stride, func(first, period int, t tile[T]) {
		accs, scales := accs[first:first+period], c.scales[first:first+period]
		openColumns(accs, t, k.isNegZero)
		c.start(scales, t.width)
		// Columns that do not fit the levels usually stay so: after each failure skip twice as many blocks.
		skip, penalty := 0, 1
		for t.rows > 0 {
			block := t.cut(columnRows)
			switch {
			case skip > 0:
				skip--
				addGathered(c, accs, block, k.add)
			case k.fold(c, block):
				c.collect(accs, scales, block.width)
				penalty = 1
			default:
				c.drain(accs, scales, block.width)
				rescale(scales, block, k.exponent)
				c.start(scales, block.width)
				if k.fold(c, block) {
					c.collect(accs, scales, block.width)
					continue
				}
				addGathered(c, accs, block, k.add)
				skip = penalty
				penalty *= 2
			}
		}
		c.drain(accs, scales, t.width)
	})
}

// openColumns sets the class of each column, because the sum may still be only -0.
func openColumns[T any](accs []Accumulator, t tile[T], isNegZero func(T) bool) {
	for j := range accs {
		if accs[j].class < finite {
			accs[j].join(openColumn(j, len(accs), t, isNegZero))
		}
	}
}

func openColumn[T any](j, period int, t tile[T], isNegZero func(T) bool) class {
	for i := range t.rows {
		row := t.row(i)
		for v := j; v < len(row); v += period {
			if !isNegZero(row[v]) {
				return finite
			}
		}
	}
	return negZero
}

// start sets the levels of each column to its scale.
func (c *columnScratch) start(scales []int, width int) {
	for first := 0; first < width; first += len(scales) {
		for j, k := range scales {
			c.init1[first+j] = levelInit(k)
			c.init2[first+j] = levelInit(levelScale(k, 1, columnBits))
		}
	}
}

// rescale sets the scale of each column for its largest value. Columns of zeros, or with special values, keep their
// scale.
func rescale[T any](scales []int, t tile[T], exponent func(T) int) {
	largest := make([]int, len(scales))
	for i := range t.rows {
		for v, x := range t.row(i) {
			j := v % len(scales)
			largest[j] = max(largest[j], exponent(x))
		}
	}
	for j, exp := range largest {
		if exp != 0 && exp != exponentMask {
			scales[j] = scaleFor(exp, columnBits)
		}
	}
}

// collect adds the levels of a block to upper and lower. A level moves by less than 2^52 units per block, so
// drainBlocks of them fit.
func (c *columnScratch) collect(accs []Accumulator, scales []int, width int) {
	for v := range width {
		c.upper[v] += int64(math.Float64bits(c.s1[v]) - math.Float64bits(c.init1[v]))
		c.lower[v] += int64(math.Float64bits(c.s2[v]) - math.Float64bits(c.init2[v]))
	}
	if c.blocks++; c.blocks == drainBlocks {
		c.drain(accs, scales, width)
	}
}

// drain moves the collected sums into the accumulators.
func (c *columnScratch) drain(accs []Accumulator, scales []int, width int) {
	for j := range accs {
		var upper, lower int128
		for v := j; v < width; v += len(accs) {
			upper.add(c.upper[v])
			lower.add(c.lower[v])
			c.upper[v], c.lower[v] = 0, 0
		}
		accs[j].addInt128(upper.hi, upper.lo, unitPos(scales[j]))
		accs[j].addInt128(lower.hi, lower.lo, unitPos(levelScale(scales[j], 1, columnBits)))
	}
	c.blocks = 0
}
