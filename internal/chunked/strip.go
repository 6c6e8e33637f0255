package chunked

import "context"

// A strip is one or more neighbouring chunks along the last axis with several chunks. In memory, the elements of each
// chunk may be short runs, but those of a strip are long ones, or a single one if it covers the axis: its rows. Stored
// data is read strip by strip, in the order of memory, which is several times faster than chunk by chunk.

// stripChunks is the maximum number of chunks in a strip.
const stripChunks = 256

// stripLimit returns the number of chunks in a strip whose parts, of size elements each, keep the partials of the job
// within their bound.
func (c *fullReduction) stripLimit(size int64) int64 {
	parts := max(c.array.Elements()/size, 1)
	return max(min(stripChunks, maxPartialBytes/c.red.needs.maxState()/parts), 1)
}

// strip returns the number of chunks, at most left, of the strip that begins at cur.
func (c *fullReduction) strip(cur *cursor, left int64) int64 {
	if _, stored := c.array.source.(*file); !stored || c.ordered {
		return 1 // short runs of generated elements cost nothing extra
	}
	ax, at := &c.axes[c.lastCut], cur.idx[c.lastCut]
	element := c.strides[c.lastCut] * int64(c.array.DType().Size())
	n := int64(1)
	for most := min(left, ax.n-at, c.stripMost); n < most; n++ {
		if (ax.start(at+n+1)-ax.start(at))*element > scratchBytes {
			break
		}
	}
	return n
}

// box returns the box of the n chunks from cur on.
func (c *fullReduction) box(cur *cursor, n int64) cursor {
	box := *cur
	if n > 1 {
		ax, at := &c.axes[c.lastCut], cur.idx[c.lastCut]
		box.ext[c.lastCut] = ax.start(at+n) - ax.start(at)
	}
	return box
}

// rowLength returns the number of elements in a row of a strip, at least one.
func (c *fullReduction) rowLength(box *cursor) int64 {
	return max(box.ext[c.lastCut]*c.strides[c.lastCut], 1)
}

// runStrips sums whole chunks, strip by strip.
func (c *fullReduction) runStrips(
	ctx context.Context, w *Worker, s taskRange, cur *cursor, closeChunk func(states, int64) error,
) error {
	unchecked := int64(0)
	for left := s.chunks; left > 0; {
		n := c.strip(cur, left)
		box := c.box(cur, n)
		v := box.volume()
		if unchecked += v + n*chunkWeight; unchecked > capacity(8) {
			if err := ctx.Err(); err != nil {
				return err
			}
			unchecked = 0
		}
		sums, err := c.addStrip(ctx, w, cur, n, 0, v)
		if err != nil {
			return err
		}
		for i := range n {
			if err := closeChunk(sums, i); err != nil {
				return err
			}
			cur.next()
		}
		left -= n
	}
	return nil
}

// addStrip returns the state of each of the n chunks from cur on, of elements lo to hi in C order of the strip. If there
// are several chunks, that are whole rows.
func (c *fullReduction) addStrip(ctx context.Context, w *Worker, cur *cursor, n, lo, hi int64) (states, error) {
	sums := reset(&w.batch, n, c.red.needs.more)
	if lo == hi { // without elements
		return sums, nil
	}
	if n == 1 {
		return sums, c.addPart(ctx, w, sums, cur, lo, hi)
	}
	src := c.array.source
	ax, at, stride := &c.axes[c.lastCut], cur.idx[c.lastCut], c.strides[c.lastCut]
	box := c.box(cur, n)
	width := c.rowLength(&box)
	add := func(m matrix) error {
		if width > n*shortRun || c.red.isLocated() {
			return w.addRowByRow(ctx, sums, &c.red, m, ax, at, stride)
		}
		for i := range n {
			from, to := (ax.start(at+i)-ax.start(at))*stride, (ax.start(at+i+1)-ax.start(at))*stride
			if err := w.addGathered(ctx, sums, i, &c.red, m, from, to-from); err != nil {
				return err
			}
		}
		return nil
	}
	run := newRuns(&box, c.dims, c.strides, lo)
	for lo < hi {
		off, length, apart, count := run.takeRows(hi-lo, width)
		if length > width { // several rows without gaps
			count, length, apart = length/width, width, width
		}
		if err := w.eachRows(ctx, src, off, length, apart, count, add); err != nil {
			return sums, err
		}
		lo += length * count
	}
	return sums, nil
}

// addRowByRow adds the elements of each chunk of a strip, in the order of memory. The chunks begin with chunk at of ax,
// whose elements are stride elements.
func (w *Worker) addRowByRow(ctx context.Context, s states, r *Reduction, m matrix, ax *axis, at, stride int64) error {
	size := int64(r.elements.Size())
	for i := range m.n {
		row := m.mem[i*m.stride*size:]
		off := m.at + i*m.step
		for k := range int64(s.len()) {
			n := (ax.start(at+k+1) - ax.start(at+k)) * stride
			if err := w.addTo(ctx, s, k, r, row[:n*size], off); err != nil {
				return err
			}
			row = row[n*size:]
			off += n
		}
	}
	return nil
}

// addGathered adds elements lo to lo+length of each row of m to state i. The kernels prefer long runs, so short ones are
// copied together first, which forgets their positions.
func (w *Worker) addGathered(ctx context.Context, s states, i int64, r *Reduction, m matrix, lo, length int64) error {
	size := int64(r.elements.Size())
	if w.parts == nil {
		w.parts = alignedBytes(scratchBytes)
	}
	at := 0
	for k := range m.n {
		piece := m.mem[(k*m.stride+lo)*size:][:length*size]
		if at+len(piece) > len(w.parts) {
			if err := w.addTo(ctx, s, i, r, w.parts[:at], 0); err != nil {
				return err
			}
			at = 0
		}
		at += copy(w.parts[at:], piece)
	}
	return w.addTo(ctx, s, i, r, w.parts[:at], 0)
}

// shortRun is the length up to which runs of memory, in elements, are gathered before they are added.
const shortRun = 512

// addPart adds elements lo to hi, in C order of the current chunk, to the only state of s. Trailing axes that the chunk
// covers completely make its memory runs long; short runs, and those that are copied anyway, are gathered, unless
// positions matter.
func (c *fullReduction) addPart(ctx context.Context, w *Worker, s states, cur *cursor, lo, hi int64) error {
	src := c.array.source
	if src.Constant() && !c.red.isLocated() {
		return w.eachRun(ctx, src, 0, hi-lo, func(mem []byte, at int64) error {
			return w.addTo(ctx, s, 0, &c.red, mem, at)
		})
	}
	f, err := w.viewer(ctx, src)
	if err != nil {
		return err
	}
	run := newRuns(cur, c.dims, c.strides, lo)
	if f != nil || c.red.isLocated() {
		return w.addRuns(ctx, src, s, &c.red, &run, hi-lo)
	}
	t := src.DType()
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
		if err := w.addTo(ctx, s, 0, &c.red, w.buf[:filled*int64(t.Size())], 0); err != nil {
			return err
		}
		filled = 0
		if lo < hi {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// addRuns adds the next n elements of run to the only state of s, run by run.
func (w *Worker) addRuns(ctx context.Context, src Source, s states, r *Reduction, run *runs, n int64) error {
	size := int64(r.elements.Size())
	for n > 0 {
		off, length, stride, count := run.takeRows(n, capacity(int(size)))
		n -= length * count
		var err error
		if count == 1 {
			err = w.eachRun(ctx, src, off, length, func(mem []byte, at int64) error {
				return w.addTo(ctx, s, 0, r, mem, at)
			})
		} else {
			err = w.eachRows(ctx, src, off, length, stride, count, func(m matrix) error {
				if m.width <= shortRun && !r.isLocated() {
					return w.addGathered(ctx, s, 0, r, m, 0, m.width)
				}
				for i := range m.n {
					if err := w.addTo(ctx, s, 0, r, m.mem[i*m.stride*size:][:m.width*size], m.at+i*m.step); err != nil {
						return err
					}
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
