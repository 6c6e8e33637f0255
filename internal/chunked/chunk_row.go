package chunked

import (
	"context"

	"gather/internal/exactsum"
)

// chunkRowBytes is the maximum width of a chunk row, so that the scratch holds several rows of elements. A chunk with
// longer runs is read alone.
const chunkRowBytes = 32 << 10

// A chunk row is a sequence of neighbouring chunks along the last axis with several chunks. The memory runs of each
// chunk may be short, but the runs of the row are long, and the row is a single run if it covers the axis. Reading
// stored data by rows replaces many small reads by few large ones.

// chunkRow returns the number of next chunks to read together, from 1 to left.
func (c *fullReduction) chunkRow(ctx context.Context, cur *cursor, left int64) (int64, error) {
	f, stored := c.array.source.(*file)
	if !stored {
		return 1, nil // short runs of generated elements cost nothing extra
	}
	ax, at, stride := &c.axes[c.lastCut], cur.idx[c.lastCut], c.strides[c.lastCut]
	if cur.ext[c.lastCut]*stride > shortRun {
		if inPlace, err := f.canView(ctx); inPlace || err != nil {
			return 1, err // long runs need no gathering
		}
	}
	element := stride * int64(f.dtype.Size())
	n := int64(1)
	for most := min(left, ax.n-at, maxColumns); n < most; n++ {
		if (ax.start(at+n+1)-ax.start(at))*element > chunkRowBytes {
			break
		}
	}
	return n, nil
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
		gather := func(m matrix) error {
			for i := range n {
				lo := (ax.start(at+i) - ax.start(at)) * stride
				w.addPiece(&accs[i], t, m, lo, (ax.start(at+i+1)-ax.start(at+i))*stride)
			}
			return nil
		}
		run := newRuns(&box, c.dims, c.strides, 0)
		for done := int64(0); done < volume; {
			off, length, apart, count := run.takeRows(volume-done, width)
			if length > width { // several rows of the box without gaps
				count, length, apart = length/width, width, width
			}
			if err := w.eachRows(ctx, src, off, length, apart, count, gather); err != nil {
				return dst, err
			}
			done += length * count
		}
	}
	for i := range accs {
		w.acc = accs[i]
		dst = c.closeChunk(w, dst)
		cur.next()
	}
	return dst, nil
}

// addPiece adds elements lo to lo+length of each row of m to a. Short pieces are gathered first.
func (w *Worker) addPiece(a *exactsum.Accumulator, t DType, m matrix, lo, length int64) {
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
