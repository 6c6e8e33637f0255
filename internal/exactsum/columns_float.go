package exactsum

import "math"

// ColumnsFloat64 adds column j of x to accs[j]. x is a matrix with rows of len(accs) columns, which begin stride
// elements apart; it panics if len(x) differs.
func (f *Adder) ColumnsFloat64(accs []Accumulator, x []float64, rows, stride int) {
	addFloatColumns(f, accs, x, rows, stride, isNegZero64, exponent64, foldColumns64, f.Float64s)
}

// ColumnsFloat32 is ColumnsFloat64 for float32.
func (f *Adder) ColumnsFloat32(accs []Accumulator, x []float32, rows, stride int) {
	addFloatColumns(f, accs, x, rows, stride, isNegZero32, exponent32, foldColumns32, f.Float32s)
}

func exponent64(v float64) int { return int(math.Float64bits(v) >> mantissaBits & exponentMask) }
func exponent32(v float32) int { return exponent64(float64(v)) }

func addFloatColumns[T any](
	f *Adder, accs []Accumulator, x []T, rows, stride int, isNegZero func(T) bool, exponent func(T) int,
	fold func(*columnLevels, tile[T]) bool, add func(*Accumulator, []T),
) {
	c := f.columnScratch()
	scales := c.levels.scalesFor(len(accs))
	eachTile(x, len(accs), rows, stride, func(first, period int, t tile[T]) {
		accs := accs[first : first+period]
		openColumns(accs, t, isNegZero)
		addColumns(&c.levels, scales[first:first+period], t, floatColumns[T]{
			exponent: exponent,
			scale:    func(exp int) (k int, ok bool) { return scaleFor(exp, columnBits), true },
			fold:     fold,
			gathered: func(t tile[T]) {
				addGathered(c, t, func(v int, column []T) { add(&accs[v%period], column) })
			},
			sum: func(j int) *Accumulator { return &accs[j] },
		})
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
