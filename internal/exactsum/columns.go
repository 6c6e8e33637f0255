package exactsum

import "fmt"

const (
	// tileLen is how many columns are added side by side: their state fits the first-level cache.
	tileLen = 256
	// A block of a tile has up to 2^columnBits rows, so each column's levels take that many additions.
	columnBits = 10
	columnRows = 1 << columnBits
	// drainBlocks is how many blocks are collected before they go to the accumulators: fewer than would overflow.
	drainBlocks = 16
	drainRows   = drainBlocks * columnRows
)

// columnScratch holds the state of one tile. The index of every array is a column of the tile.
type columnScratch struct {
	// The two levels of each column: where a block starts and where it got to.
	init1, init2, s1, s2 [tileLen]float64
	// upper and lower are the level sums of earlier blocks, in units of the levels.
	upper, lower [tileLen]int64
	blocks       int

	// Sums of integers modulo 2^64 and, for 64-bit ones, of their upper halves.
	sum, high [tileLen]uint64

	// scales are the scales that fitted last, by column of the matrix.
	scales []int
	// gathered has room for one column of a block, whatever the type.
	gathered [columnRows]uint64
}

// tile is a part of a matrix in C order: x starts at its first element, its rows are stride elements apart.
type tile[T any] struct {
	x                   []T
	stride, width, rows int
}

// row returns row i.
func (t tile[T]) row(i int) []T { return t.x[i*t.stride:][:t.width] }

// cut removes up to n rows from the top of t and returns them.
func (t *tile[T]) cut(n int) tile[T] {
	head := *t
	head.rows = min(n, t.rows)
	t.rows -= head.rows
	t.x = t.x[min(head.rows*t.stride, len(t.x)):]
	return head
}

// eachTile cuts a matrix into tiles. Column v of a tile is column first + v%period of the matrix: the rows of a narrow
// matrix lie side by side in a tile.
func eachTile[T any](x []T, cols, rows int, do func(first, period int, t tile[T])) {
	if rows < 0 || cols == 0 && len(x) != 0 || cols != 0 && (len(x)/cols != rows || len(x)%cols != 0) {
		panic(fmt.Sprintf("exactsum: %d elements are not %d rows of %d columns", len(x), rows, cols))
	}
	if len(x) == 0 {
		return
	}
	// Sixteen rows of a tile repay the drain of its columns.
	if side := min(tileLen/cols, rows/16); side > 1 {
		if side >= 8 {
			side &^= 7
		}
		n := rows / side * side
		do(0, cols, tile[T]{x: x[:n*cols], stride: side * cols, width: side * cols, rows: n / side})
		x, rows = x[n*cols:], rows-n
		if rows == 0 {
			return
		}
	}
	for first := 0; first < cols; first += tileLen {
		width := min(cols-first, tileLen)
		do(first, width, tile[T]{x: x[first:], stride: cols, width: width, rows: rows})
	}
}

// columnScratchFor returns the scratch, with a scale for each of cols columns.
func (f *Folder) columnScratchFor(cols int) *columnScratch {
	if f.columns == nil {
		f.columns = new(columnScratch)
	}
	c := f.columns
	if len(c.scales) != cols {
		c.scales = make([]int, cols)
		for j := range c.scales {
			c.scales[j] = scaleFor(1023, columnBits)
		}
	}
	return c
}

// addGathered adds the columns of t one by one, each gathered into one slice.
func addGathered[T any](c *columnScratch, accs []Accumulator, t tile[T], add func(*Accumulator, []T)) {
	column := scratch[T](&c.gathered)[:t.rows]
	for v := range t.width {
		for i := range column {
			column[i] = t.x[i*t.stride+v]
		}
		add(&accs[v%len(accs)], column)
	}
}
