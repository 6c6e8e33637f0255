package chunked

import (
	"context"

	"gather/internal/exactsum"
)

// fullReduction partitions a sum over all axes into sequences of whole chunks, and large chunks into parts.
type fullReduction struct {
	*Plan
	ranges []taskRange
	// ordered is true if the order of the chunks is the memory order of the array, so that a sequence of chunks is one
	// run of memory.
	ordered bool
	lastCut int // last axis with several chunks, or 0
}

// taskRange is the work of one task: chunks whole chunks from chunk on or, if chunks is 0, elements lo to hi of chunk.
type taskRange struct {
	chunk, chunks int64
	lo, hi        int64 // of whole chunks in an ordered array, in memory; else 0 and the number of elements
}

// chunkWeight is the overhead of a chunk, in elements.
const chunkWeight = 1024

func newFullReduction(p *Plan, sizes sizes) *fullReduction {
	c := &fullReduction{Plan: p}
	c.ordered, c.lastCut = p.chunksOrdered()
	n := p.array.Elements()
	target := sizes.target(n + p.array.grid.chunks*chunkWeight)
	cur := newCursor(p.axes)
	cur.seek(0)
	var s taskRange
	weight, at := int64(0), int64(0)
	flush := func(next int64) {
		if s.chunks > 0 {
			c.ranges = append(c.ranges, s)
		}
		s, weight = taskRange{chunk: next}, 0
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
				c.ranges = append(c.ranges, taskRange{chunk: k, lo: lo, hi: min(lo+size, v)})
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

// chunksOrdered reports whether each axis before the last one with several chunks has chunks of single elements, and
// returns that last axis.
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

func (c *fullReduction) tasks() int { return len(c.ranges) }

func (c *fullReduction) elements(task int) int64 { return c.ranges[task].hi - c.ranges[task].lo }

func (c *fullReduction) items(task int) (first, n int64) {
	return c.ranges[task].chunk, c.ranges[task].chunks
}

func (c *fullReduction) run(ctx context.Context, w *Worker, task int, dst []byte) ([]byte, error) {
	s := c.ranges[task]
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

// runChunks sums whole chunks one by one, or by chunk rows, gathering their elements.
func (c *fullReduction) runChunks(ctx context.Context, w *Worker, s taskRange, cur *cursor, dst []byte) ([]byte, error) {
	unchecked := int64(0)
	for left := s.chunks; left > 0; {
		n, err := c.chunkRow(ctx, cur, left)
		if err != nil {
			return dst, err
		}
		if n > 1 {
			if dst, err = c.runChunkRow(ctx, w, cur, n, dst); err != nil {
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

// runOrdered sums whole chunks that are contiguous in memory.
func (c *fullReduction) runOrdered(ctx context.Context, w *Worker, s taskRange, cur *cursor, dst []byte) ([]byte, error) {
	src := c.array.source
	t := src.DType()
	size := int64(t.Size())
	left, rest := s.chunks, cur.volume() // chunks, and elements of the current one
	w.acc.Reset()
	closeChunks := func() {
		for left > 0 && rest == 0 {
			dst = c.closeChunk(w, dst)
			w.acc.Reset()
			cur.next()
			rest = cur.volume()
			left--
		}
	}
	closeChunks()
	err := w.eachRun(ctx, src, s.lo, s.hi-s.lo, func(mem []byte) error {
		for len(mem) > 0 {
			n := min(rest, int64(len(mem))/size)
			w.add(&w.acc, t, mem[:n*size])
			mem = mem[n*size:]
			rest -= n
			closeChunks()
		}
		return nil
	})
	return dst, err
}

// closeChunk appends the value of a chunk, and adds its exact sum, not the rounded value, to the task's sum.
func (c *fullReduction) closeChunk(w *Worker, dst []byte) []byte {
	w.total.Merge(&w.acc)
	return appendNumber(dst, numberOf(&w.acc, c.red.dtype))
}

// shortRun is the length up to which runs of memory, in elements, are gathered before they are added.
const shortRun = 512

// addPart adds elements lo to hi, in C order of the current chunk, to a. Trailing axes that the chunk covers completely
// make its memory runs long; short runs, and those that are copied anyway, are gathered, so that the kernel gets long
// ones.
func (c *fullReduction) addPart(ctx context.Context, w *Worker, a *exactsum.Accumulator, cur *cursor, lo, hi int64) error {
	if lo == hi { // the chunk has no elements
		return nil
	}
	src := c.array.source
	t := src.DType()
	if src.Constant() {
		return w.eachRun(ctx, src, 0, hi-lo, func(mem []byte) error {
			w.add(a, t, mem)
			return nil
		})
	}
	f, err := w.viewer(ctx, src)
	if err != nil {
		return err
	}
	run := newRuns(cur, c.dims, c.strides, lo)
	if f != nil && (run.length > shortRun || run.length-run.within >= hi-lo) {
		return w.addRuns(ctx, src, a, &run, hi-lo)
	}
	size := capacity(t.Size())
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
		w.add(a, t, w.buf[:filled*int64(t.Size())])
		filled = 0
		if lo < hi {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// addRuns adds the next n elements of run to a, in place.
func (w *Worker) addRuns(ctx context.Context, src Source, a *exactsum.Accumulator, run *runs, n int64) error {
	t := src.DType()
	size := int64(t.Size())
	for n > 0 {
		off, length, stride, count := run.takeRows(n, viewBytes/size)
		n -= length * count
		var err error
		if count == 1 {
			err = w.eachRun(ctx, src, off, length, func(mem []byte) error {
				w.add(a, t, mem)
				return nil
			})
		} else {
			err = w.eachRows(ctx, src, off, length, stride, count, func(m matrix) error {
				for i := range m.n {
					w.add(a, t, m.mem[i*m.stride*size:][:m.width*size])
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// runs iterates over a box of an array in C order, by runs of contiguous elements.
type runs struct {
	cur      *cursor
	strides  []int64
	outer    int   // axes before this one are iterated, the others are one run
	length   int64 // length of a run
	off      int64 // start of the current run
	within   int64 // elements already taken from it
	position [MaxDims]int64
}

// newRuns starts at an element of the box, which must not be empty.
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

// advance moves to the next run if the current one is used up.
func (r *runs) advance() {
	if r.within < r.length {
		return
	}
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

// takeRows returns the next at most n elements as count rows of length elements: the rest of a run, or several runs of
// at most width elements, which are stride elements apart.
func (r *runs) takeRows(n, width int64) (off, length, stride, count int64) {
	r.advance()
	if r.within > 0 || n < r.length || r.outer == 0 || r.length > width {
		off, length = r.take(n)
		return off, length, length, 1
	}
	inner := r.outer - 1
	off, stride = r.off, r.strides[inner]
	count = min(n/r.length, r.cur.ext[inner]-r.position[inner])
	r.within = r.length
	r.off += (count - 1) * stride
	r.position[inner] += count - 1
	return off, r.length, stride, count
}

// take returns the offset and the number of the next at most n elements.
func (r *runs) take(n int64) (off, taken int64) {
	r.advance()
	n = min(n, r.length-r.within)
	off = r.off + r.within
	r.within += n
	return off, n
}
