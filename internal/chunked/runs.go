package chunked

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
