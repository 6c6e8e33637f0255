package chunked

import (
	"context"

	"gather/internal/exactsum"
)

// chunkwise cuts a sum over all axes: in runs of whole chunks, and large chunks in parts.
type chunkwise struct {
	*Plan
	spans []span
	// ordered is true when the chunks in their order are the array in memory order, so that a run of chunks is read as
	// one run of memory.
	ordered bool
	lastCut int // the last axis with more than one chunk; 0 if none has
}

// span is the work of one task: chunks whole chunks from chunk on; or, when chunks is 0, elements lo to hi of chunk.
type span struct {
	chunk, chunks int64
	lo, hi        int64 // of whole chunks in an ordered array, in memory; else 0 and the number of elements
}

// chunkWeight is the overhead of a chunk, in elements.
const chunkWeight = 1024

func newChunkwise(p *Plan, sizes sizes) *chunkwise {
	c := &chunkwise{Plan: p}
	c.ordered, c.lastCut = p.chunksOrdered()
	n := p.array.Elements()
	target := sizes.target(n + p.array.grid.chunks*chunkWeight)
	cur := newCursor(p.axes)
	cur.seek(0)
	var s span
	weight, at := int64(0), int64(0)
	flush := func(next int64) {
		if s.chunks > 0 {
			c.spans = append(c.spans, s)
		}
		s, weight = span{chunk: next}, 0
		if c.ordered {
			s.lo, s.hi = at, at
		}
	}
	for k := range p.array.grid.chunks {
		v := cur.volume()
		if v > max(target+target/2, sizes.whole) {
			flush(k)
			// Parts are whole blocks of the sum's kernels.
			size := ceilDiv(ceilDiv(v, ceilDiv(v, target)), 4096) * 4096
			for lo := int64(0); lo < v; lo += size {
				c.spans = append(c.spans, span{chunk: k, lo: lo, hi: min(lo+size, v)})
			}
			at += v
			flush(k + 1)
		} else {
			if s.chunks > 0 && weight+v+chunkWeight > target {
				flush(k)
			}
			s.chunks++
			s.hi += v
			at += v
			weight += v + chunkWeight
		}
		cur.next()
	}
	flush(0)
	return c
}

// chunksOrdered reports whether each axis before the last one that is cut is cut in single elements, and which that is.
func (p *Plan) chunksOrdered() (ordered bool, lastCut int) {
	lastCut = max(len(p.axes)-1, 0)
	for lastCut > 0 && p.axes[lastCut].n == 1 {
		lastCut--
	}
	for i := range lastCut {
		if p.axes[i].longest() > 1 {
			return false, lastCut
		}
	}
	return true, lastCut
}

func (c *chunkwise) tasks() int { return len(c.spans) }

func (c *chunkwise) elements(task int) int64 { return c.spans[task].hi - c.spans[task].lo }

func (c *chunkwise) items(task int) (first, n int64) {
	return c.spans[task].chunk, c.spans[task].chunks
}

func (c *chunkwise) run(ctx context.Context, w *Worker, task int, dst []byte) ([]byte, error) {
	s := c.spans[task]
	cur := newCursor(c.axes)
	cur.seek(s.chunk)
	w.total.Reset()
	var err error
	switch {
	case s.chunks == 0:
		dst = append(dst, partOfChunk)
		err = c.addPart(ctx, w, &w.total, &cur, s.lo, s.hi)
	case c.ordered:
		dst, err = c.runOrdered(ctx, w, s, &cur, append(dst, wholeChunks))
	default:
		dst, err = c.runChunks(ctx, w, s, &cur, append(dst, wholeChunks))
	}
	if err != nil {
		return dst, err
	}
	return w.total.AppendBinary(dst)
}

// runChunks sums whole chunks one by one, each gathered from its place, or by bands.
func (c *chunkwise) runChunks(ctx context.Context, w *Worker, s span, cur *cursor, dst []byte) ([]byte, error) {
	unchecked := int64(0)
	for left := s.chunks; left > 0; {
		if n := c.band(cur, left); n > 1 {
			var err error
			if dst, err = c.runBand(ctx, w, cur, n, dst); err != nil {
				return dst, err
			}
			left -= n
			continue
		}
		v := cur.volume()
		if unchecked += v + chunkWeight; unchecked > capacity(8) {
			if err := ctx.Err(); err != nil {
				return dst, err
			}
			unchecked = 0
		}
		w.acc.Reset()
		if err := c.addPart(ctx, w, &w.acc, cur, 0, v); err != nil {
			return dst, err
		}
		dst = c.closeChunk(w, dst)
		cur.next()
		left--
	}
	return dst, nil
}

// runOrdered sums whole chunks that follow each other in memory: it reads as much as the scratch holds and cuts that.
func (c *chunkwise) runOrdered(ctx context.Context, w *Worker, s span, cur *cursor, dst []byte) ([]byte, error) {
	src := c.array.source
	t := src.DType()
	size := capacity(t.Size())
	lo, hi := s.lo, s.lo // the part of the array in the scratch
	at := s.lo
	for range s.chunks {
		w.acc.Reset()
		for end := at + cur.volume(); at < end; {
			if at == hi {
				if err := ctx.Err(); err != nil {
					return dst, err
				}
				lo, hi = at, min(at+size, s.hi)
				if err := w.fill(ctx, src, 0, lo, hi-lo); err != nil {
					return dst, err
				}
			}
			n := min(end, hi) - at
			w.add(&w.acc, t, at-lo, n)
			at += n
		}
		dst = c.closeChunk(w, dst)
		cur.next()
	}
	return dst, nil
}

// closeChunk appends the value of a chunk and adds its exact sum, not the value, to the task's.
func (c *chunkwise) closeChunk(w *Worker, dst []byte) []byte {
	w.total.Merge(&w.acc)
	return appendNumber(dst, numberOf(&w.acc, c.red.dtype))
}

// addPart adds elements lo to hi, in C order of the chunk that cur is at, to a. The trailing axes that the chunk covers
// whole make its runs of memory long; short runs are gathered in the scratch, so that the kernel sees long ones always.
func (c *chunkwise) addPart(ctx context.Context, w *Worker, a *exactsum.Accumulator, cur *cursor, lo, hi int64) error {
	if lo == hi { // an empty chunk, along whatever axis
		return nil
	}
	src := c.array.source
	t := src.DType()
	size := capacity(t.Size())
	if src.Constant() {
		if err := w.fill(ctx, src, 0, 0, size); err != nil {
			return err
		}
		size = constantBytes / int64(t.Size())
		for ; lo < hi; lo += size {
			w.add(a, t, 0, min(size, hi-lo))
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	run := newRuns(cur, c.dims, c.strides, lo)
	filled := int64(0)
	for lo < hi {
		off, n := run.take(min(hi-lo, size-filled))
		if err := w.fill(ctx, src, filled, off, n); err != nil {
			return err
		}
		filled += n
		lo += n
		if filled < size && lo < hi {
			continue
		}
		w.add(a, t, 0, filled)
		filled = 0
		if lo < hi {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs walks over a box of an array in C order, by runs of elements that are contiguous in memory.
type runs struct {
	cur      *cursor
	strides  []int64
	outer    int   // axes before this one are walked, those from it on are one run
	length   int64 // of a run
	off      int64 // where the present run begins
	within   int64 // how much of it was taken
	position [MaxDims]int64
}

// newRuns starts at element at of the box, which has elements.
func newRuns(cur *cursor, dims Shape, strides []int64, at int64) runs {
	r := runs{cur: cur, strides: strides, outer: len(dims) - 1, length: 1}
	for i := range dims {
		r.off += cur.lo[i] * strides[i]
	}
	for r.outer > 0 && cur.ext[r.outer] == dims[r.outer] {
		r.outer--
	}
	if r.outer = max(r.outer, 0); len(dims) > 0 {
		r.length = cur.ext[r.outer] * strides[r.outer]
	}
	r.within = at % r.length
	at /= r.length
	for i := r.outer - 1; i >= 0; i-- {
		r.position[i] = at % cur.ext[i]
		at /= cur.ext[i]
		r.off += r.position[i] * strides[i]
	}
	return r
}

// take returns the next at most n elements: where they begin, and how many they are.
func (r *runs) take(n int64) (off, taken int64) {
	if r.within == r.length {
		r.within = 0
		for i := r.outer - 1; i >= 0; i-- {
			r.off += r.strides[i]
			if r.position[i]++; r.position[i] < r.cur.ext[i] {
				break
			}
			r.off -= r.position[i] * r.strides[i]
			r.position[i] = 0
		}
	}
	n = min(n, r.length-r.within)
	off = r.off + r.within
	r.within += n
	return off, n
}
