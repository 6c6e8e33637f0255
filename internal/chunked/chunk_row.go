package chunked

import "context"

// chunkRowBytes is the maximum width of a chunk row, so that the scratch holds several rows of elements. A chunk with
// longer runs is read alone.
const chunkRowBytes = 32 << 10

// A chunk row is a sequence of neighbouring chunks along the last axis with several chunks. The memory runs of each
// chunk may be short, but the runs of the row are long, and the row is a single run if it covers the axis. Reading
// stored data by rows replaces many small reads by few large ones.

// chunkRow returns the number of next chunks to read together, from 1 to left.
func (c *fullReduction) chunkRow(cur *cursor, left int64) int64 {
	if _, stored := c.array.source.(file); !stored {
		return 1 // short runs of generated elements cost nothing extra
	}
	ax, at := &c.axes[c.lastCut], cur.idx[c.lastCut]
	element := c.strides[c.lastCut] * int64(c.array.DType().Size())
	n := int64(1)
	for most := min(left, ax.n-at, maxColumns); n < most; n++ {
		if (ax.start(at+n+1)-ax.start(at))*element > chunkRowBytes {
			break
		}
	}
	return n
}

// runChunkRow sums n chunks from cur on and advances cur.
func (c *fullReduction) runChunkRow(ctx context.Context, w *Worker, cur *cursor, n int64, dst []byte) ([]byte, error) {
	src := c.array.source
	t := src.DType()
	ax, at, stride := &c.axes[c.lastCut], cur.idx[c.lastCut], c.strides[c.lastCut]
	box := *cur
	box.ext[c.lastCut] = ax.start(at+n) - ax.start(at)
	width, volume := box.ext[c.lastCut]*stride, box.volume()
	accs := w.columns(n)
	if volume > 0 {
		// Read rows into the lower half of the scratch, and gather the part of each chunk in the upper half.
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

// gather copies count pieces of length elements, which begin at lo and repeat every stride elements, contiguously to
// the scratch from element to on. It returns the number of elements.
func (w *Worker) gather(size int, to, lo, length, stride, count int64) int64 {
	s := int64(size)
	at := to * s
	for range count {
		at += int64(copy(w.buf[at:], w.buf[lo*s:(lo+length)*s]))
		lo += stride
	}
	return at/s - to
}
