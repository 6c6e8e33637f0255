package chunked

import (
	"context"

	"gather/internal/exactsum"
)

// Columns are copied together from tiles of columnRows rows and columnBytes of each, a cache line, which is read once.
// The copies are a cache line more than their size apart, because powers of two have the same places in the caches.
const (
	columnRows  = 1024
	columnBytes = 64
)

// columnsBytes is the number of bytes of rows that are read several times: they fit the last cache, where rows that are a power
// of two apart are spread better than in the second, and amortize the drain of the columns.
const columnsBytes = 2 << 20

// addColumnMoments adds the columns of m to s, some rows at a time: where they lie if the kernels of columns have what is
// needed, otherwise copied together.
func (w *Worker) addColumnMoments(ctx context.Context, s states, r *Reduction, m matrix) error {
	if r.needs.clean || r.chooses() || r.weights != nil {
		b, err := w.loadBeside(ctx, r, m)
		if err == nil {
			w.addTransposed(s, r, m, b)
		}
		return err
	}
	rows := m.n
	if r.needs.scan || r.needs.squares {
		rows = max(columnsBytes/(m.width*int64(r.elements.Size())), columnBytes)
	}
	for first := int64(0); first < m.n; first += rows {
		b := m.rows(r, first, min(rows, m.n-first))
		w.addRows(s.sums, r.elements, b)
		rest := *r // what is added to one column after the other
		rest.needs.summed = true
		rest.needs.squares = r.needs.squares && !w.addSquareRows(s, r.elements, b)
		if r.needs.scan && !r.needs.zeros && allFinite(s.sums) {
			w.scanRows(s, r, b)
			rest.needs.scan = false
		}
		if rest.needs.scan || rest.needs.squares {
			w.addTransposed(s, &rest, b, beside{})
			continue
		}
		for j := range s.more {
			s.more[j].n += b.n
		}
	}
	return nil
}

// rows returns n rows of m.
func (m matrix) rows(r *Reduction, first, n int64) matrix {
	size := int64(r.elements.Size())
	m.mem = m.mem[first*m.stride*size:][:((n-1)*m.stride+m.width)*size]
	m.at += first * m.step
	m.n = n
	return m
}

// allFinite reports whether no value that was added is infinite or NaN.
func allFinite(sums []exactsum.Accumulator) bool {
	for j := range sums {
		if !sums[j].IsFinite() {
			return false
		}
	}
	return true
}

// scanRows extends the extremes of the columns of m, none of which has a NaN.
func (w *Worker) scanRows(s states, r *Reduction, m matrix) {
	if n := m.width * 8; int64(len(w.limits[0])) < n {
		w.limits = [2][]byte{alignedBytes(n), alignedBytes(n)}
	}
	size := int64(r.elements.Size())
	scanners[r.elements].columns(w.limits[0], w.limits[1], m, func(j int, lo, hi uint64) {
		at := int64(j)
		s.more[j].extend(r, lo, hi, m.mem[at*size:], int(m.stride), place{at: m.at + at, step: m.step})
	})
}

// addSquareRows adds the squares of the rows of m column by column, and reports whether there is a kernel for them.
func (w *Worker) addSquareRows(s states, t DType, m matrix) bool {
	cols, n, stride := int(m.width), int(m.n), int(m.stride)
	sum := func(j int) *exactsum.Squares { return &s.more[j].squares }
	switch t {
	case Int8:
		exactsum.SquareColumns(w.adder, cols, sum, view[int8](m.mem), n, stride)
	case Int16:
		exactsum.SquareColumns(w.adder, cols, sum, view[int16](m.mem), n, stride)
	case Int32:
		exactsum.SquareColumns(w.adder, cols, sum, view[int32](m.mem), n, stride)
	case Int64:
		exactsum.SquareColumns(w.adder, cols, sum, view[int64](m.mem), n, stride)
	case Uint8:
		exactsum.SquareColumns(w.adder, cols, sum, m.mem, n, stride)
	case Uint16:
		exactsum.SquareColumns(w.adder, cols, sum, view[uint16](m.mem), n, stride)
	case Uint32:
		exactsum.SquareColumns(w.adder, cols, sum, view[uint32](m.mem), n, stride)
	case Uint64:
		exactsum.SquareColumns(w.adder, cols, sum, view[uint64](m.mem), n, stride)
	case Float32:
		w.adder.SquareColumns32(cols, sum, view[float32](m.mem), n, stride)
	case Float64:
		w.adder.SquareColumns64(cols, sum, view[float64](m.mem), n, stride)
	default:
		return false
	}
	return true
}

// addTransposed copies the columns of m, and what is beside them, together and adds each.
func (w *Worker) addTransposed(s states, r *Reduction, m matrix, b beside) {
	size := int64(r.elements.Size())
	if w.parts == nil {
		w.parts = alignedBytes(scratchBytes)
	}
	pitch := columnRows*size + columnBytes
	for first := int64(0); first < m.n; first += columnRows {
		n := min(columnRows, m.n-first)
		for lo := int64(0); lo < m.width; lo += columnBytes / size {
			width := min(columnBytes/size, m.width-lo)
			transpose(w.parts, m.mem[(first*m.stride+lo)*size:], pitch, m.stride, n, width, size)
			for j := range width {
				a, more := s.at(lo + j)
				p := place{at: m.at + first*m.step + lo + j, step: m.step}
				w.addMoments(a, more, r, w.parts[j*pitch:][:n*size], p, w.block.column(b, first, n, m.width, lo+j))
			}
		}
	}
}

// transpose copies n rows of width elements, which are stride elements apart, to columns, pitch bytes apart.
func transpose(to, from []byte, pitch, stride, n, width, size int64) {
	switch size {
	case 1:
		transposeElements(to, from, pitch, stride, n, width)
	case 2:
		transposeElements(view[uint16](to), view[uint16](from), pitch/2, stride, n, width)
	case 4:
		transposeElements(view[uint32](to), view[uint32](from), pitch/4, stride, n, width)
	default:
		transposeElements(view[uint64](to), view[uint64](from), pitch/8, stride, n, width)
	}
}

func transposeElements[T any](to, from []T, pitch, stride, n, width int64) {
	for i := range n {
		for j, v := range from[i*stride:][:width] {
			to[int64(j)*pitch+i] = v
		}
	}
}
