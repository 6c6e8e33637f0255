package chunked

import (
	"context"
	"fmt"
	"math"
)

// Tiles reads a stored array in tiles: boxes of one shape, of which the last along an axis may extend beyond the array.
// Tiles are numbered in C order of their grid. It is safe for concurrent use.
type Tiles interface {
	// ReadTile fills dst with the elements of tile i in memory order, in the machine's byte order. It may overwrite dst up to
	// its capacity.
	ReadTile(ctx context.Context, i int64, dst []byte) error
	// CachedTile is ReadTile for a reader that needs parts of a tile several times. The bytes must not be modified.
	CachedTile(ctx context.Context, i int64) ([]byte, error)
	// ReadAhead may start to read tile i, which will be needed soon.
	ReadAhead(i int64)
}

const (
	// aheadBytes is about how much is read ahead of a task, in bytes of decoded tiles.
	aheadBytes = 16 << 20
	// minAhead and maxAhead bound the number of tiles that are read ahead of a task. Many small ones hide the latency of a store
	// as few large ones do.
	minAhead, maxAhead = 8, 64
)

// tiled is the source of an array in tiles. Reductions that follow the tiles read each tile once, see tilePlan; Fill is
// for all others.
type tiled struct {
	Tiles
	dtype   DType
	dims    Shape // in memory order, like the others
	tile    Shape
	grid    Shape
	fortran bool
	remote  bool
}

func newTiled(s Stored, t DType, shape Shape, fortran bool) *tiled {
	d := &tiled{Tiles: s.Tiles, dtype: t, dims: shape, tile: append(Shape{}, s.Tile...), fortran: fortran, remote: s.Remote}
	if fortran {
		d.dims, d.tile = d.dims.reversed(), d.tile.reversed()
	}
	for i, n := range d.dims {
		d.grid = append(d.grid, ceilDiv(n, d.tile[i]))
	}
	return d
}

// bytes returns the size of a tile.
func (d *tiled) bytes() int64 {
	n, _ := d.tile.Elements()
	return n * int64(d.dtype.Size())
}

// ahead returns the number of tiles that are read ahead of a task.
func (d *tiled) ahead() int64 { return min(max(aheadBytes/max(d.bytes(), 1), minAhead), maxAhead) }

// number returns the number of the tile at a position of the grid.
func (d *tiled) number(at []int64) int64 {
	i := int64(0)
	for k := range at {
		if d.fortran {
			k = len(at) - 1 - k
		}
		i = i*d.grid[k] + at[k]
	}
	return i
}

func (d *tiled) DType() DType   { return d.dtype }
func (d *tiled) Constant() bool { return false }

// Fill copies runs of elements from cached tiles.
func (d *tiled) Fill(ctx context.Context, dst []byte, lo int64) error {
	if len(dst) == 0 {
		return nil
	}
	var at, pos [MaxDims]int64 // of the next element, and of its tile
	n := len(d.dims)
	for i := n - 1; i >= 0; i-- {
		at[i] = lo % d.dims[i]
		lo /= d.dims[i]
	}
	size := int64(d.dtype.Size())
	var mem []byte
	current := int64(-1)
	for len(dst) > 0 {
		off, run := int64(0), int64(1)
		for i := range n {
			pos[i] = at[i] / d.tile[i]
			off = off*d.tile[i] + at[i]%d.tile[i]
		}
		if n > 0 {
			run = min(d.tile[n-1]-at[n-1]%d.tile[n-1], d.dims[n-1]-at[n-1])
		}
		if i := d.number(pos[:n]); i != current {
			var err error
			if mem, err = d.CachedTile(ctx, i); err != nil {
				return tileError(err)
			}
			current = i
		}
		dst = dst[copy(dst, mem[off*size:(off+run)*size]):]
		if n == 0 {
			break
		}
		at[n-1] += run
		for i := n - 1; i > 0 && at[i] == d.dims[i]; i-- {
			at[i] = 0
			at[i-1]++
		}
	}
	return nil
}

func tileError(err error) error { return fmt.Errorf("read a chunk of the array: %w", err) }

// tileMemory is the source of a box of elements in memory.
type tileMemory struct {
	dtype DType
	mem   []byte
}

func (m *tileMemory) DType() DType   { return m.dtype }
func (m *tileMemory) Constant() bool { return false }

func (m *tileMemory) Fill(_ context.Context, dst []byte, lo int64) error {
	copy(dst, m.mem[lo*int64(m.dtype.Size()):])
	return nil
}

func (m *tileMemory) together(int64) int64 { return math.MaxInt64 }

func (m *tileMemory) view(_ context.Context, lo, n int64, use func(mem []byte) error) error {
	size := int64(m.dtype.Size())
	return use(m.mem[lo*size : (lo+n)*size])
}

// boxes cuts a box of dims elements into smaller boxes: pieces of blocks, of which the last of a block, and the last
// block along an axis, may be shorter. Both the boxes and their elements have an order: box after box in C order, and
// within each its elements in C order.
type boxes struct {
	dims, block, piece Shape
}

// count returns the number of pieces along axis k.
func (b *boxes) count(k int) int64 {
	per := ceilDiv(b.block[k], b.piece[k])
	return b.dims[k]/b.block[k]*per + ceilDiv(b.dims[k]%b.block[k], b.piece[k])
}

// len returns the number of boxes.
func (b *boxes) len() int64 {
	n := int64(1)
	for k := range b.dims {
		n *= b.count(k)
	}
	return n
}

// span returns the start and the length of piece i along axis k.
func (b *boxes) span(k int, i int64) (lo, n int64) {
	per := ceilDiv(b.block[k], b.piece[k])
	start := i / per * b.block[k]
	lo = start + i%per*b.piece[k]
	return lo, min(b.piece[k], start+b.block[k]-lo, b.dims[k]-lo)
}

// pieceOf returns the piece along axis k that has an element.
func (b *boxes) pieceOf(k int, at int64) int64 {
	return at/b.block[k]*ceilDiv(b.block[k], b.piece[k]) + at%b.block[k]/b.piece[k]
}

// box returns where box i begins and its lengths, in lo and ext, and the number of elements before it.
func (b *boxes) box(i int64, lo, ext []int64) (first int64) {
	for k := len(b.dims) - 1; k >= 0; k-- {
		n := b.count(k)
		lo[k], ext[k] = b.span(k, i%n)
		i /= n
	}
	rest := int64(1)
	for _, n := range b.dims {
		rest *= n
	}
	before := int64(1) // lengths of the axes before k
	for k, n := range b.dims {
		rest /= max(n, 1)
		first += lo[k] * before * rest
		before *= ext[k]
	}
	return first
}

// first returns the number of elements before box i, or of all for the number of boxes.
func (b *boxes) first(i int64) int64 {
	if i == b.len() {
		n, _ := b.dims.Elements()
		return n
	}
	var lo, ext [MaxDims]int64
	return b.box(i, lo[:], ext[:])
}

// coordinates sets at to the position of element i.
func (b *boxes) coordinates(i int64, at []int64) {
	var lo, ext [MaxDims]int64
	rest := int64(1)
	for _, n := range b.dims {
		rest *= n
	}
	before := int64(1)
	for k, n := range b.dims {
		rest /= n
		lo[k], ext[k] = b.span(k, b.pieceOf(k, i/(before*rest)))
		i -= lo[k] * before * rest
		before *= ext[k]
	}
	for k := len(b.dims) - 1; k >= 0; k-- {
		at[k] = lo[k] + i%ext[k]
		i /= ext[k]
	}
}
