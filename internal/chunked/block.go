package chunked

import "slices"

// blockScratch is the memory of a worker for reductions of some elements, and for what is beside them. It is empty until
// it is needed.
type blockScratch struct {
	mask, weights []byte // of a matrix

	// The fields below are of a column or a block.
	columnMask, columnWeights []byte
	used                      [momentsBlock]byte // 1 for elements that are used, otherwise 0
	index                     [momentsBlock]uint16
	chosen, chosenWeights     []byte
	factors                   *[4][momentsBlock]float64
}

// column copies those of column j of rows of width elements together, from row first on.
func (w *blockScratch) column(b beside, first, n, width, j int64) beside {
	if b.mask != nil {
		w.columnMask = slices.Grow(w.columnMask[:0], int(n))[:n]
		gather(w.columnMask, b.mask, first, n, width, j, 1)
		b.mask = w.columnMask
	}
	if b.weights != nil {
		if w.columnWeights == nil {
			w.columnWeights = alignedBytes(columnRows * 8)
		}
		to := w.columnWeights[:n*b.size]
		gather(to, b.weights, first, n, width, j, b.size)
		b.weights = to
	}
	return b
}

func gather(to, from []byte, first, n, width, j, size int64) {
	for i := range n {
		copy(to[i*size:][:size], from[((first+i)*width+j)*size:])
	}
}

// place is where the elements of a block are in the memory order of the array: element i is at at+i*step or, if some
// were left out, at at+index[i]*step.
type place struct {
	at, step int64
	index    []uint16
}

func (p place) of(i int) int64 {
	if p.index != nil {
		i = int(p.index[i])
	}
	return p.at + int64(i)*p.step
}

// choose returns the elements of a block that the reduction uses, those beside them, and where they are, in scratch.
func (w *blockScratch) choose(r *Reduction, block []byte, b beside, p place) ([]byte, beside, place) {
	size := int64(r.elements.Size())
	n := int64(len(block)) / size
	used := w.used[:n]
	for i := range used {
		used[i] = 1
	}
	for i, v := range b.mask {
		if v == 0 {
			used[i] = 0
		}
	}
	for _, c := range r.conditions {
		c.choose(r.elements, block, used)
	}
	b.mask = nil
	return w.compact(r, block, used, b, p)
}

// notNaN is the condition that an element is not NaN.
var notNaN = condition{hi: ^uint64(0)}

// withoutNaNs returns the elements that are not NaN, and those beside them, in scratch.
func (w *blockScratch) withoutNaNs(r *Reduction, block []byte, b beside) ([]byte, beside) {
	used := w.used[:len(block)/r.elements.Size()]
	for i := range used {
		used[i] = 1
	}
	notNaN.choose(r.elements, block, used)
	block, b, _ = w.compact(r, block, used, b, place{})
	return block, b
}

// compact returns the elements of a block with used[i] of 1, those beside them, and where they are.
func (w *blockScratch) compact(r *Reduction, block, used []byte, b beside, p place) ([]byte, beside, place) {
	n := int64(0)
	for _, v := range used {
		n += int64(v)
	}
	if n == int64(len(used)) {
		return block, b, p
	}
	if w.chosen == nil {
		w.chosen, w.chosenWeights = alignedBytes(momentsBlock*8), alignedBytes(momentsBlock*8)
	}
	if r.needs.positions {
		k := 0
		for i, v := range used {
			w.index[k] = uint16(i) // a block is shorter, and position k has been read
			k += int(v)
			if k == len(w.index) {
				break
			}
		}
		p.index = w.index[:n]
	}
	if b.weights != nil {
		b.weights = compactElements(w.chosenWeights, b.weights, used, n, b.size)
	}
	return compactElements(w.chosen, block, used, n, int64(r.elements.Size())), b, p
}

// compactElements copies the n elements of from with used[i] of 1 to to, which may be the same memory.
func compactElements(to, from, used []byte, n, size int64) []byte {
	switch size {
	case 1:
		compactOf(to, from, used)
	case 2:
		compactOf(view[uint16](to), view[uint16](from), used)
	case 4:
		compactOf(view[uint32](to), view[uint32](from), used)
	default:
		compactOf(view[uint64](to), view[uint64](from), used)
	}
	return to[:n*size]
}

func compactOf[T any](to, from []T, used []byte) {
	k := 0
	for i, v := range from {
		to[k] = v // at most position i
		k += int(used[i])
		if k == len(to) {
			return
		}
	}
}
