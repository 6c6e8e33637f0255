package chunked

import "context"

// fullReduction partitions a sum over all axes into sequences of whole chunks, and large ones into parts.
type fullReduction struct {
	*Plan
	ranges []taskRange
	// ordered is true if the order of the chunks is the memory order of the array, so that a sequence of chunks is one
	// run of memory.
	ordered bool
	lastCut int // last axis with several chunks, or 0
	// stripMost is the maximum number of chunks in a strip.
	stripMost int64
	tiles     *tiled // nil unless the tasks follow tiles
}

// taskRange is the work of one task: chunks whole chunks from chunk on or, if chunks is 0, elements lo to hi of the strip
// of width chunks that begins with chunk.
type taskRange struct {
	chunk, chunks int64
	width         int64
	lo, hi        int64 // of whole chunks in an ordered array, in memory; else 0 and the number of elements
}

// chunkWeight is the overhead of a chunk, in elements.
const chunkWeight = 1024

func newFullReduction(p *Plan, sizes sizes) *fullReduction {
	c := &fullReduction{Plan: p, tiles: p.followsTiles(true)}
	c.ordered, c.lastCut = p.chunksOrdered()
	c.ordered = c.ordered && c.tiles == nil
	elements, chunks := p.array.Elements(), p.array.grid.chunks
	target := sizes.target(elements + chunks*chunkWeight)
	// Strips are read faster as a whole, unless that leaves too few tasks.
	strip := max(target, min(sizes.longest, elements/sizes.few))
	c.stripMost = c.stripLimit(strip)
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
	for k := int64(0); k < chunks; {
		n := c.strip(&cur, chunks-k)
		box := c.box(&cur, n)
		v := box.volume()
		size, whole := target, max(target+target/2, sizes.whole)
		if n > 1 {
			size, whole = strip, max(whole, 2*strip)
		}
		if v > whole && !c.isTile(&cur) {
			flush(k)
			// Parts are whole rows of a strip, or whole blocks of the sum's kernels.
			unit := int64(4096)
			if n > 1 {
				unit = c.rowLength(&box)
			}
			if c.tiles != nil {
				c.partsOfTiles(k, c.tilesOf(&cur), v, size)
			} else {
				size = ceilDiv(ceilDiv(v, ceilDiv(v, size)), unit) * unit
				for lo := int64(0); lo < v; lo += size {
					c.ranges = append(c.ranges, taskRange{chunk: k, width: n, lo: lo, hi: min(lo+size, v)})
				}
			}
			at += v
			flush(k + n)
		} else {
			if s.chunks > 0 && weight+v+n*chunkWeight > target {
				flush(k)
			}
			s.chunks += n
			s.hi += v
			at += v
			weight += v + n*chunkWeight
		}
		for range n {
			cur.next()
		}
		k += n
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

func (c *fullReduction) run(ctx context.Context, w *Worker, task int, dst []byte, yield func(Item) error) ([]byte, error) {
	s := c.ranges[task]
	cur := newCursor(c.axes)
	cur.seek(s.chunk)
	if s.chunks == 0 {
		sums, err := c.addPartOfStrip(ctx, w, &cur, s)
		dst = append(dst, partOfChunks)
		for i := range s.width {
			dst = sums.append(dst, i)
		}
		return dst, err
	}
	total := reset(&w.total, 1, c.red.needs.more)
	next := s.chunk
	closeChunk := func(s states, i int64) error {
		total.merge(0, s, i, &c.red) // the exact state, not the rounded values
		next++
		a, m := s.at(i)
		w.values = c.red.numbers(w.values[:0], a, m)
		return yield(Item{c.itemIndex(next - 1), w.values})
	}
	run := c.runStrips
	switch {
	case c.tiles != nil:
		run = c.runTiles
	case c.ordered:
		run = c.runOrdered
	}
	if err := run(ctx, w, s, &cur, closeChunk); err != nil {
		return dst, err
	}
	return total.append(append(dst, wholeChunks), 0), nil
}

// addPartOfStrip returns the state of each chunk of a part of a strip.
func (c *fullReduction) addPartOfStrip(ctx context.Context, w *Worker, cur *cursor, s taskRange) (states, error) {
	if c.tiles == nil {
		return c.addStrip(ctx, w, cur, s.width, s.lo, s.hi)
	}
	defer w.releaseTile()
	sums := reset(&w.batch, 1, c.red.needs.more)
	return sums, c.addTiles(ctx, c.newTileJob(w, c.tiles), sums, cur, s.lo, s.hi)
}

// runOrdered sums whole chunks that are contiguous in memory.
func (c *fullReduction) runOrdered(
	ctx context.Context, w *Worker, s taskRange, cur *cursor, closeChunk func(states, int64) error,
) error {
	src := c.array.source
	size := int64(src.DType().Size())
	left, rest := s.chunks, cur.volume() // chunks, and elements of the current one
	chunk := reset(&w.chunk, 1, c.red.needs.more)
	closeChunks := func() error {
		for left > 0 && rest == 0 {
			if err := closeChunk(chunk, 0); err != nil {
				return err
			}
			chunk.clear()
			cur.next()
			rest = cur.volume()
			left--
		}
		return nil
	}
	if err := closeChunks(); err != nil {
		return err
	}
	return w.eachRun(ctx, src, s.lo, s.hi-s.lo, func(mem []byte, at int64) error {
		for len(mem) > 0 {
			n := min(rest, int64(len(mem))/size)
			if err := w.addTo(ctx, chunk, 0, &c.red, mem[:n*size], at); err != nil {
				return err
			}
			mem = mem[n*size:]
			at += n
			rest -= n
			if err := closeChunks(); err != nil {
				return err
			}
		}
		return nil
	})
}
