package concat

import (
	"context"
	"errors"
	"slices"

	"gather/internal/blocks"
	"gather/internal/npy"
)

const (
	// MaxRange is the maximum number of bytes that are read together.
	MaxRange = 8 << 20
	// localTile and MaxRange bound a tile of local and of remote files, in bytes.
	localTile = 1 << 20
	// maxRun is the maximum number of elements of a tile that have one place along the axes before or after the axis of the
	// concatenation: the number of outputs of a sum over some axes, which needs the tile several times if they are too many.
	maxRun = 48 << 10
	// gapBytes is the distance up to which rows are read together with what is between them.
	gapBytes = 64 << 10
	// cacheBytes bounds the tiles of a Cache.
	cacheBytes = 128 << 20
)

// Cache has tiles of any arrays.
type Cache struct{ blocks *blocks.Cache[tileKey] }

type tileKey struct {
	tiles *Tiles
	i     int64
}

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{blocks.New[tileKey](cacheBytes, MaxRange)} }

// Tiles reads the array in boxes of one shape. Those at the end of an axis may extend beyond the array.
type Tiles struct {
	a     *Array
	cache *Cache
	shape []int64 // in memory order
	grid  []int64 // numbers of tiles along the axes, in memory order
	// A tile has width places along the axis of the concatenation, and depth elements along the axes after it.
	width, depth int64
	limits       limits
}

// limits are the sizes of tiles and reads.
type limits struct {
	tile int64 // bytes of a tile
	run  int64 // see maxRun
	gap  int64 // see gapBytes
	read int64 // bytes read together
}

// Tiles returns the array in tiles. They are larger if reads have the latency of a store.
func (a *Array) Tiles(remote bool, cache *Cache) *Tiles {
	l := limits{tile: localTile, run: maxRun, gap: gapBytes, read: MaxRange}
	if remote {
		l.tile = MaxRange
	}
	return a.tiles(l, cache)
}

func (a *Array) tiles(l limits, cache *Cache) *Tiles {
	t := &Tiles{a: a, cache: cache, shape: make([]int64, len(a.dims)), limits: l}
	longest := int64(1)
	for i := range a.parts {
		longest = max(longest, a.starts[i+1]-a.starts[i])
	}
	for i := range t.shape {
		t.shape[i] = 1
	}
	// take makes a tile as long as there is room along an axis, and returns the remaining room, 0 if it is not the whole.
	take := func(i int, n, room int64) int64 {
		n = max(n, 1)
		t.shape[i] = min(n, max(room, 1))
		if t.shape[i] < n {
			return 0
		}
		return room / n
	}
	room := l.run
	for i := len(a.dims) - 1; i > a.axis; i-- {
		room = take(i, a.dims[i], room)
	}
	take(a.axis, longest, room)
	t.width, t.depth = t.shape[a.axis], product(t.shape[a.axis+1:])
	if room = 0; t.depth == a.inner {
		room = min(l.tile/int64(a.Header.Type.Size)/(t.width*t.depth), l.run/t.depth)
	}
	for i := a.axis - 1; i >= 0; i-- {
		room = take(i, a.dims[i], room)
	}
	for i, n := range a.dims {
		t.grid = append(t.grid, (n+t.shape[i]-1)/t.shape[i])
	}
	return t
}

// Shape returns the shape of a tile in the order of the axes.
func (t *Tiles) Shape() []int64 {
	shape := slices.Clone(t.shape)
	if t.a.Header.Fortran {
		slices.Reverse(shape)
	}
	return shape
}

// box is the part of a tile that lies in the array: by its rows, places along the axis and elements after it.
type box struct{ row, rows, place, places, at, n int64 }

// box returns the box of tile i, numbered in C order of the grid.
func (t *Tiles) box(i int64) box {
	lo, ext := make([]int64, len(t.shape)), make([]int64, len(t.shape))
	for n := range t.shape {
		k := len(t.shape) - 1 - n // the axis in memory order of the last axis but n
		if t.a.Header.Fortran {
			k = n
		}
		lo[k] = i % t.grid[k] * t.shape[k]
		ext[k] = min(t.shape[k], t.a.dims[k]-lo[k])
		i /= t.grid[k]
	}
	// In each group the faster axes of a tile are whole, so that its elements follow each other.
	linear := func(from, to int) (at, n int64) {
		for k := from; k < to; k++ {
			at = at*t.a.dims[k] + lo[k]
		}
		return at, product(ext[from:to])
	}
	b := box{place: lo[t.a.axis], places: ext[t.a.axis]}
	b.row, b.rows = linear(0, t.a.axis)
	b.at, b.n = linear(t.a.axis+1, len(t.shape))
	return b
}

// piece is what a part has of a tile: rows of n bytes, which are stride bytes apart in the file from off on, and step bytes
// in the tile from to on.
type piece struct {
	*Part
	off, n, stride, rows, to, step int64
}

// pieces returns what each part has of a tile, each at most MaxRange bytes in the file.
func (t *Tiles) pieces(i int64) (list []piece) {
	a, b := t.a, t.box(i)
	size := int64(a.Header.Type.Size)
	first, _ := slices.BinarySearch(a.starts[1:], b.place+1)
	for k := first; k < len(a.parts) && a.starts[k] < b.place+b.places; k++ {
		lo, hi := max(b.place, a.starts[k]), min(b.place+b.places, a.starts[k+1])
		if lo >= hi {
			continue
		}
		length := a.starts[k+1] - a.starts[k]
		p := piece{Part: &a.parts[k], stride: length * a.inner * size, step: t.width * t.depth * size}
		p.n = ((hi-lo-1)*a.inner + b.n) * size
		most := int64(1) // rows read together
		if p.stride-p.n <= t.limits.gap {
			most = max((t.limits.read-p.n)/p.stride+1, 1)
		}
		for done := int64(0); done < b.rows; done += p.rows {
			p.rows = min(most, b.rows-done)
			p.off = a.parts[k].Header.Offset + (((b.row+done)*length+lo-a.starts[k])*a.inner+b.at)*size
			p.to = done*p.step + (lo-b.place)*t.depth*size
			list = append(list, p)
		}
	}
	return list
}

// bytes returns how many bytes of the file a piece spans.
func (p *piece) bytes() int64 { return (p.rows-1)*p.stride + p.n }

// read copies a piece to a tile.
func (p *piece) read(ctx context.Context, dst []byte) error {
	scatter := func(mem []byte) error {
		for r := range p.rows {
			copy(dst[p.to+r*p.step:][:p.n], mem[r*p.stride:])
		}
		return nil
	}
	err := p.Reader.View(ctx, p.off, p.off+p.bytes(), scatter)
	if errors.Is(err, errors.ErrUnsupported) {
		var mem []byte
		if mem, err = p.Reader.Range(ctx, p.off, p.bytes()); err == nil {
			err = scatter(mem)
		}
	}
	return partError(p.Part, err)
}

// aheadPieces is the number of pieces of a tile that are read at the same time.
const aheadPieces = 4

// ReadTile fills dst with tile i in memory order, in the machine's byte order.
func (t *Tiles) ReadTile(ctx context.Context, i int64, dst []byte) error {
	list := t.pieces(i)
	for k := range list {
		for _, p := range list[k+1 : min(k+1+aheadPieces, len(list))] {
			p.Reader.ReadAheadRange(p.off, p.bytes())
		}
		if err := list[k].read(ctx, dst); err != nil {
			return err
		}
	}
	if t.a.Header.BigEndian != npy.BigMachine {
		npy.Swap(dst, t.a.Header.Type.Size)
	}
	return nil
}

// CachedTile returns tile i, which the cache may keep.
func (t *Tiles) CachedTile(ctx context.Context, i int64) ([]byte, error) {
	size := product(t.shape) * int64(t.a.Header.Type.Size)
	return t.cache.blocks.Get(ctx, tileKey{t, i}, size, func(p []byte) error { return t.ReadTile(ctx, i, p) })
}

// ReadAhead starts to read tile i, if its files can.
func (t *Tiles) ReadAhead(i int64) {
	for _, p := range t.pieces(i) {
		p.Reader.ReadAheadRange(p.off, p.bytes())
	}
}
