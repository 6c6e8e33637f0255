package exactsum

import "fmt"

const (
	// tileLen is the number of columns added together: their state fits the caches, and long rows are read faster.
	tileLen = 1024
	// A block of a tile has up to 2^columnBits rows, the maximum number of additions to a level.
	columnBits = 10
	columnRows = 1 << columnBits
	// drainBlocks is the number of blocks collected before they are added to the accumulators: too few to overflow.
	drainBlocks = 16
	drainRows   = drainBlocks * columnRows
)

// columnScratch holds the state of one tile. All arrays are indexed by column of the tile.
type columnScratch struct {
	levels columnLevels

	// Sums of integers modulo 2^64 and, for 64-bit integers, of their upper halves.
	sum, high [tileLen]uint64
	narrow    [tileLen]uint32 // those of kernels whose sums are of 32 bits

	// gathered holds one column of a block of any type.
	gathered [columnRows]uint64
}

// tile is a part of a matrix in C order: x starts at its first element, its rows are stride elements apart.
type tile[T any] struct {
	x                   []T
	stride, width, rows int
}

// row returns row i.
func (t tile[T]) row(i int) []T { return t.x[i*t.stride:][:t.width] }

// cut removes and returns up to n rows from the top of t.
func (t *tile[T]) cut(n int) tile[T] {
	head := *t
	head.rows = min(n, t.rows)
	t.rows -= head.rows
	t.x = t.x[min(head.rows*t.stride, len(t.x)):]
	return head
}

// eachTile splits a matrix into tiles. Column v of a tile is column first + v%period of the matrix: several rows of a
// narrow matrix without gaps are side by side in a tile.
func eachTile[T any](x []T, cols, rows, stride int, do func(first, period int, t tile[T])) {
	if !isMatrix(len(x), cols, rows, stride) {
		panic(fmt.Sprintf("exactsum: %d elements are not %d rows of %d columns, %d apart", len(x), rows, cols, stride))
	}
	if len(x) == 0 {
		return
	}
	// A tile needs sixteen rows to amortize the drain of its columns.
	if side := min(tileLen/cols, rows/16); side > 1 && stride == cols {
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
		do(first, width, tile[T]{x: x[first:], stride: stride, width: width, rows: rows})
	}
}

// isMatrix reports whether n elements are rows of cols elements, stride apart.
func isMatrix(n, cols, rows, stride int) bool {
	if cols == 0 || rows == 0 {
		return n == 0 && rows >= 0 && stride >= cols
	}
	return rows > 0 && stride >= cols && n >= cols && (n-cols)%stride == 0 && (n-cols)/stride == rows-1
}

func (f *Adder) columnScratch() *columnScratch {
	if f.columns == nil {
		f.columns = &columnScratch{levels: columnLevels{depth: 2, bits: columnBits, initial: maxScale}}
	}
	return f.columns
}

// addGathered calls add for the columns of t one by one, each gathered into a slice.
func addGathered[T any](c *columnScratch, t tile[T], add func(v int, column []T)) {
	column := scratch[T](&c.gathered)[:t.rows]
	for v := range t.width {
		for i := range column {
			column[i] = t.x[i*t.stride+v]
		}
		add(v, column)
	}
}
