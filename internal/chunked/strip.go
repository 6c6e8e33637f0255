package chunked

import (
	"context"

	"gather/internal/exactsum"
)

// A strip is one or more neighbouring chunks along the last axis with several chunks. In memory, the elements of each
// chunk may be short runs, but those of a strip are long ones, or a single one if it covers the axis: its rows. Stored
// data is read strip by strip, in the order of memory, which is several times faster than chunk by chunk.

// stripChunks is the maximum number of chunks in a strip.
const stripChunks = 256

// strip returns the number of chunks, at most left, of the strip that begins at cur.
func (c *fullReduction) strip(cur *cursor, left int64) int64 {
	if _, stored := c.array.source.(*file); !stored || c.ordered {
		return 1 // short runs of generated elements cost nothing extra
	}
	ax, at := &c.axes[c.lastCut], cur.idx[c.lastCut]
	element := c.strides[c.lastCut] * int64(c.array.DType().Size())
	n := int64(1)
	for most := min(left, ax.n-at, stripChunks); n < most; n++ {
		if (ax.start(at+n+1)-ax.start(at))*element > scratchBytes {
			break
		}
	}
	return n
}

// box returns the box of the n chunks from cur on.
func (c *fullReduction) box(cur *cursor, n int64) cursor {
	box, ax := *cur, &c.axes
	if n > 1 {
		last := &(*ax)[c.lastCut]
		box.ext[c.lastCut] = last.start(cur.idx[c.lastCut]+n) - last.start(cur.idx[c.lastCut])
	}
	return box
}

// rowLength returns the number of elements in a row of a strip, at least one.
func (c *fullReduction) rowLength(box *cursor) int64 {
	return max(box.ext[c.lastCut]*c.strides[c.lastCut], 1)
}

// runStrips sums whole chunks, strip by strip.
func (c *fullReduction) runStrips(
	ctx context.Context, w *Worker, s taskRange, cur *cursor, closeChunk func(*exactsum.Accumulator) error,
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
		accs, err := c.addStrip(ctx, w, cur, n, 0, v)
		if err != nil {
			return err
		}
		for i := range accs {
			if err := closeChunk(&accs[i]); err != nil {
				return err
			}
			cur.next()
		}
		left -= n
	}
	return nil
}

// addStrip returns the sum of each of the n chunks from cur on, of elements lo to hi in C order of the strip. If there
// are several chunks, that are whole rows.
func (c *fullReduction) addStrip(ctx context.Context, w *Worker, cur *cursor, n, lo, hi int64) ([]exactsum.Accumulator, error) {
	accs := w.columns(n)
	if lo == hi { // without elements
		return accs, nil
	}
	if n == 1 {
		return accs, c.addPart(ctx, w, &accs[0], cur, lo, hi)
	}
	src := c.array.source
	t := src.DType()
	ax, at, stride := &c.axes[c.lastCut], cur.idx[c.lastCut], c.strides[c.lastCut]
	box := c.box(cur, n)
	width := c.rowLength(&box)
	add := func(m matrix) error {
		if width > n*shortRun {
			w.addRowByRow(accs, t, m, ax, at, stride)
			return nil
		}
		for i := range n {
			from, to := (ax.start(at+i)-ax.start(at))*stride, (ax.start(at+i+1)-ax.start(at))*stride
			w.addGathered(&accs[i], t, m, from, to-from)
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
			return accs, err
		}
		lo += length * count
	}
	return accs, nil
}

// addRowByRow adds the elements of each chunk of a strip, in the order of memory. The chunks begin with chunk at of ax,
// whose elements are stride elements.
func (w *Worker) addRowByRow(accs []exactsum.Accumulator, t DType, m matrix, ax *axis, at, stride int64) {
	size := int64(t.Size())
	for i := range m.n {
		row := m.mem[i*m.stride*size:]
		for k := range accs {
			n := (ax.start(at+int64(k)+1) - ax.start(at+int64(k))) * stride * size
			w.add(&accs[k], t, row[:n])
			row = row[n:]
		}
	}
}

// addGathered adds elements lo to lo+length of each row of m to a. The kernels prefer long runs, so short ones are
// copied together first.
func (w *Worker) addGathered(a *exactsum.Accumulator, t DType, m matrix, lo, length int64) {
	size := int64(t.Size())
	if w.parts == nil {
		w.parts = alignedBytes(scratchBytes)
	}
	at := 0
	for i := range m.n {
		piece := m.mem[(i*m.stride+lo)*size:][:length*size]
		if at+len(piece) > len(w.parts) {
			w.add(a, t, w.parts[:at])
			at = 0
		}
		at += copy(w.parts[at:], piece)
	}
	w.add(a, t, w.parts[:at])
}

// shortRun is the length up to which runs of memory, in elements, are gathered before they are added.
const shortRun = 512

// addPart adds elements lo to hi, in C order of the current chunk, to a. Trailing axes that the chunk covers completely
// make its memory runs long; short runs, and those that are copied anyway, are gathered.
func (c *fullReduction) addPart(ctx context.Context, w *Worker, a *exactsum.Accumulator, cur *cursor, lo, hi int64) error {
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
	if f != nil {
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
				if m.width <= shortRun {
					w.addGathered(a, t, m, 0, m.width)
					return nil
				}
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
