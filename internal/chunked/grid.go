package chunked

import "slices"

// axis is one axis of a grid: size elements in n chunks, at least one, of which the last may be shorter.
type axis struct {
	size, n int64
	chunk   int64   // the length of all chunks except the last, if starts is nil
	starts  []int64 // n+1 bounds of chunks with different lengths
}

// regular returns an axis with chunks of length chunk, at least 1.
func regular(size, chunk int64) axis {
	chunk = min(chunk, max(size, 1))
	return axis{size: size, n: max(ceilDiv(size, chunk), 1), chunk: chunk}
}

// irregular returns an axis with chunks of the given lengths, at least one; the caller has checked their sum.
func irregular(lengths []int64) axis {
	n := len(lengths)
	a := axis{n: int64(n), chunk: max(lengths[0], 1), starts: make([]int64, n+1)}
	same := true
	for i, l := range lengths {
		a.size += l
		a.starts[i+1] = a.size
		same = same && (l == lengths[0] || i == n-1 && l > 0 && l < lengths[0])
	}
	if same && (lengths[0] > 0 || n == 1) {
		a.starts = nil
	}
	return a
}

func (a *axis) start(i int64) int64 {
	if a.starts != nil {
		return a.starts[i]
	}
	return min(i*a.chunk, a.size)
}

// longest returns the length of the longest chunk.
func (a *axis) longest() int64 {
	if a.starts == nil {
		return min(a.chunk, a.size)
	}
	var l int64
	for i := range a.n {
		l = max(l, a.starts[i+1]-a.starts[i])
	}
	return l
}

// Grid is the chunking of an array: a sequence of lengths along each axis, and a chunk for each combination. Chunks are
// numbered in C order of their position in the grid.
type Grid struct {
	axes   []axis
	chunks int64
}

// Chunks returns the number of chunks.
func (g *Grid) Chunks() int64 { return g.chunks }

// NumBlocks returns the number of chunks along each axis, like dask.array.Array.numblocks.
func (g *Grid) NumBlocks() []int64 {
	n := make([]int64, len(g.axes))
	for i := range g.axes {
		n[i] = g.axes[i].n
	}
	return n
}

// Lengths returns the length of each chunk along axis i: one element of dask.array.Array.chunks.
func (g *Grid) Lengths(i int) []int64 {
	a := &g.axes[i]
	l := make([]int64, a.n)
	for j := range l {
		l[j] = a.start(int64(j)+1) - a.start(int64(j))
	}
	return l
}

// Chunk returns the offset and the length of chunk k along each axis.
func (g *Grid) Chunk(k int64) (offset, extent []int64) {
	c := newCursor(g.axes)
	c.seek(k)
	for i := range g.axes {
		offset, extent = append(offset, c.lo[i]), append(extent, c.ext[i])
	}
	return offset, extent
}

// cursor iterates over the chunks of a grid in order, with the box of the current one.
type cursor struct {
	axes         []axis
	idx, lo, ext [MaxDims]int64
}

func newCursor(axes []axis) cursor { return cursor{axes: axes} }

func (c *cursor) seek(k int64) {
	for i := range slices.Backward(c.axes) {
		c.set(i, k%c.axes[i].n)
		k /= c.axes[i].n
	}
}

func (c *cursor) set(i int, at int64) {
	a := &c.axes[i]
	c.idx[i] = at
	c.lo[i] = a.start(at)
	c.ext[i] = a.start(at+1) - c.lo[i]
}

// next moves to the next chunk, from the last one to the first.
func (c *cursor) next() {
	for i := range slices.Backward(c.axes) {
		if at := c.idx[i] + 1; at < c.axes[i].n {
			c.set(i, at)
			return
		}
		c.set(i, 0)
	}
}

// volume returns the number of elements of the chunk. It cannot overflow, because it is at most the array's.
func (c *cursor) volume() int64 {
	v := int64(1)
	for i := range c.axes {
		v *= c.ext[i]
	}
	return v
}
