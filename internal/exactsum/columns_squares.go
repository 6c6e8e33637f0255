package exactsum

import "math"

const (
	// squareColumnBits is the binary logarithm of the additions to a lower level of a column of squares in a block: two
	// for each row.
	squareColumnBits = columnBits + 1
	// The limits of the first scale; see minSquareScale.
	minSquareColumnScale = 2*minSquare + 2*(52-squareColumnBits) + mantissaBits
	maxSquareColumnScale = maxSquareScale
	// squareIntRows is the number of rows of squares of integers whose sums, of halves of at most 32 bits, fit.
	squareIntRows = 1 << 19
)

// squareColumns is the scratch for columns of squares.
type squareColumns struct {
	levels columnLevels
	// halves are sums of halves of products, at squarePos.
	halves [len(squarePos)][tileLen]uint64
}

func (f *Adder) squareScratchOfColumns() *squareColumns {
	if f.squareColumns == nil {
		f.squareColumns = &squareColumns{levels: columnLevels{depth: squareLevels, bits: squareColumnBits}}
	}
	return f.squareColumns
}

// SquareColumns64 adds the squares of column j of x, which has cols columns, to sum(j). x is as for ColumnsFloat64.
func (f *Adder) SquareColumns64(cols int, sum func(j int) *Squares, x []float64, rows, stride int) {
	addSquareColumns(f, cols, sum, x, rows, stride, exponent64, foldSquareColumns64, f.Squares64)
}

// SquareColumns32 is SquareColumns64 for float32.
func (f *Adder) SquareColumns32(cols int, sum func(j int) *Squares, x []float32, rows, stride int) {
	addSquareColumns(f, cols, sum, x, rows, stride, exponent32, foldSquareColumns32, f.Squares32)
}

func addSquareColumns[T any](
	f *Adder, cols int, sum func(j int) *Squares, x []T, rows, stride int, exponent func(T) int,
	fold func(*columnLevels, tile[T]) bool, add func(*Squares, []T),
) {
	c := &f.squareScratchOfColumns().levels
	scales := c.scalesFor(cols)
	eachTile(x, cols, rows, stride, func(first, period int, t tile[T]) {
		for j := range period {
			sum(first + j).mid.join(finite)
		}
		addColumns(c, scales[first:first+period], t, floatColumns[T]{
			exponent: exponent,
			scale: func(exp int) (k int, ok bool) {
				k = 2*(exp-1023) + 2 + squareColumnBits
				return k, k >= minSquareColumnScale && k <= maxSquareColumnScale
			},
			fold: fold,
			gathered: func(t tile[T]) {
				addGathered(f.columnScratch(), t, func(v int, column []T) { add(sum(first+v%period), column) })
			},
			sum: func(j int) *Accumulator { return &sum(first + j).mid },
		})
	})
}

// SquareColumns adds the squares of column j of x, which has cols columns, to sum(j). x is as for ColumnsFloat64.
func SquareColumns[T integer](f *Adder, cols int, sum func(j int) *Squares, x []T, rows, stride int) {
	halves := &f.squareScratchOfColumns().halves
	eachTile(x, cols, rows, stride, func(first, period int, t tile[T]) {
		for j := range period {
			sum(first + j).mid.join(finite)
		}
		for t.rows > 0 {
			clear(halves[:])
			squareIntColumns(halves, t.cut(squareIntRows))
			for i := range halves {
				for v, s := range halves[i][:t.width] {
					if s != 0 {
						sum(first+v%period).mid.addInt128(0, s, point+squarePos[i])
					}
				}
			}
		}
	})
}

// The pure-Go kernels: row by row, as in columns_go.go.

// goFoldSquareColumns folds squares as the assembly: the product into the first three levels and its error, one level
// lower, into the others. For float32 the error is 0.
func goFoldSquareColumns[T float64 | float32](c *columnLevels, t tile[T], first int) bool {
	init, s := c.init[0][first:][:t.width], &c.s
	var moved, rest uint64
	next := func(s *float64, r float64) float64 {
		t := *s + r
		r -= t - *s
		*s = t
		return r
	}
	for i := range t.rows {
		for v, x := range t.row(i) {
			x := float64(x)
			product := float64(x * x)
			err := math.FMA(x, x, -product)
			if product == 0 { // it may have underflowed
				rest |= math.Float64bits(x)
			}
			product = next(&s[0][first+v], product)
			moved |= math.Float64bits(s[0][first+v]) ^ math.Float64bits(init[v])
			product = next(&s[1][first+v], product)
			err = next(&s[1][first+v], err)
			rest |= math.Float64bits(next(&s[2][first+v], product))
			err = next(&s[2][first+v], err)
			rest |= math.Float64bits(next(&s[3][first+v], err))
		}
	}
	return exact(moved, rest)
}

func goSquareIntColumns[T integer](halves *[len(squarePos)][tileLen]uint64, t tile[T], first int) {
	for i := range t.rows {
		for v, x := range t.row(i) {
			u := uint64(x)
			if x < 0 {
				u = -u
			}
			v += first
			lo, hi := u&math.MaxUint32, u>>32
			for k, p := range [...]uint64{lo * lo, lo * hi, hi * hi} {
				halves[2*k][v] += p & math.MaxUint32
				halves[2*k+1][v] += p >> 32
			}
		}
	}
}
