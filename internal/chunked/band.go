package chunked

import "context"

// bandBytes is how wide a band is at most, so that the scratch holds several of its rows. A chunk whose runs are longer is
// read alone.
const bandBytes = 32 << 10

// A band is chunks that lie side by side along the last axis that is cut. The runs of memory of each may be short, but
// those of the band together are long, and the whole of it is one run where it spans the axis. Reading stored data by
// bands makes few large reads of what would be many small ones.

// band returns how many of the next chunks to read together, at least one and at most left.
func (c *chunkwise) band(cur *cursor, left int64) int64 {
	if _, stored := c.array.source.(file); !stored {
		return 1 // generated runs cost nothing extra when they are short
	}
	ax, at := &c.axes[c.lastCut], cur.idx[c.lastCut]
	element := c.strides[c.lastCut] * int64(c.array.DType().Size())
	n := int64(1)
	for most := min(left, ax.n-at, maxColumns); n < most; n++ {
		if (ax.start(at+n+1)-ax.start(at))*element > bandBytes {
			break
		}
	}
	return n
}

// runBand sums the n chunks from cur on, which it moves beyond them.
func (c *chunkwise) runBand(ctx context.Context, w *Worker, cur *cursor, n int64, dst []byte) ([]byte, error) {
	src := c.array.source
	t := src.DType()
	ax, at, stride := &c.axes[c.lastCut], cur.idx[c.lastCut], c.strides[c.lastCut]
	box := *cur
	box.ext[c.lastCut] = ax.start(at+n) - ax.start(at)
	width, volume := box.ext[c.lastCut]*stride, box.volume()
	accs := w.columns(n)
	if volume > 0 {
		// Rows are read into the lower half of the scratch; the part of each chunk is gathered in the upper one.
		half := capacity(t.Size()) / 2
		rows := half / width
		run := newRuns(&box, c.dims, c.strides, 0)
		for done := int64(0); done < volume; {
			if err := ctx.Err(); err != nil {
				return dst, err
			}
			block := min(rows*width, volume-done)
			for filled := int64(0); filled < block; {
				off, taken := run.take(block - filled)
				if err := w.fill(ctx, src, filled, off, taken); err != nil {
					return dst, err
				}
				filled += taken
			}
			for i := range n {
				lo := (ax.start(at+i) - ax.start(at)) * stride
				length := (ax.start(at+i+1) - ax.start(at+i)) * stride
				w.add(&accs[i], t, half, w.gather(t.Size(), half, lo, length, width, block/width))
			}
			done += block
		}
	}
	for i := range accs {
		w.acc = accs[i]
		dst = c.closeChunk(w, dst)
		cur.next()
	}
	return dst, nil
}

// gather copies count pieces of length elements, which begin at lo and every stride elements, one after the other to the
// scratch from element to on. It returns how many elements that are.
func (w *Worker) gather(size int, to, lo, length, stride, count int64) int64 {
	s := int64(size)
	at := to * s
	for range count {
		at += int64(copy(w.buf[at:], w.buf[lo*s:(lo+length)*s]))
		lo += stride
	}
	return at/s - to
}
