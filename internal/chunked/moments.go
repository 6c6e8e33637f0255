package chunked

import (
	"encoding/binary"
	"errors"
	"math"

	"gather/internal/exactsum"
	"gather/internal/npy"
)

// states are the exact, mergeable states of several groups of elements.
type states struct {
	sums []exactsum.Accumulator
	more []moments // nil for sums alone
}

func newStates(n int64, more bool) states {
	s := states{sums: make([]exactsum.Accumulator, n)}
	if more {
		s.more = make([]moments, n)
	}
	return s
}

func (s states) len() int { return len(s.sums) }

// cut returns states lo to hi.
func (s states) cut(lo, hi int64) states {
	s.sums = s.sums[lo:hi]
	if s.more != nil {
		s.more = s.more[lo:hi]
	}
	return s
}

func (s states) clear() {
	clear(s.sums)
	clear(s.more)
}

// at returns state i; m is nil for a sum alone.
func (s states) at(i int64) (a *exactsum.Accumulator, m *moments) {
	if s.more != nil {
		m = &s.more[i]
	}
	return &s.sums[i], m
}

// merge adds state j of o to state i.
func (s states) merge(i int64, o states, j int64, r *Reduction) {
	s.sums[i].Merge(&o.sums[j])
	if s.more != nil {
		s.more[i].merge(&o.more[j], r)
	}
}

// append appends state i, encoded: the length and the bytes of the sum, and the other fields if there are any.
func (s states) append(dst []byte, i int64) []byte {
	dst = appendAccumulator(dst, &s.sums[i])
	if s.more == nil {
		return dst
	}
	m := &s.more[i]
	dst, _ = m.squares.AppendBinary(dst) // never fails
	for _, v := range []int64{m.n, m.nans, m.nonzero, m.firstNaN, m.lo.at, m.hi.at} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, m.lo.bits), m.hi.bits)
}

// read decodes state i from the front of data.
func (s states) read(i int64, data []byte, r *Reduction) (rest []byte, err error) {
	if data, err = cutAccumulator(data, &s.sums[i]); err != nil || s.more == nil {
		return data, err
	}
	m := &s.more[i]
	*m = moments{}
	if data, err = m.squares.UnmarshalPrefix(data); err != nil {
		return nil, err
	}
	for _, v := range []*int64{&m.n, &m.nans, &m.nonzero, &m.firstNaN, &m.lo.at, &m.hi.at} {
		u, size := binary.Uvarint(data)
		if size <= 0 || size > 1 && u>>(7*(size-1)) == 0 || u > math.MaxInt64 {
			return nil, errors.New("a count is malformed")
		}
		*v, data = int64(u), data[size:]
	}
	if len(data) < 16 {
		return nil, errors.New("the extremes are missing")
	}
	m.lo.set(r.elements, binary.LittleEndian.Uint64(data))
	m.hi.set(r.elements, binary.LittleEndian.Uint64(data[8:]))
	if m.nans > m.n || m.nonzero > m.n-m.nans || m.lo.key > m.hi.key {
		return nil, errors.New("the counts or the extremes contradict each other")
	}
	return data[16:], nil
}

// moments are what a reduction has of a group of elements besides their sum. Positions are offsets in memory order.
type moments struct {
	squares exactsum.Squares
	n       int64 // elements
	// The others are set if the reduction needs them.
	nans, nonzero int64 // nonzero without NaNs
	firstNaN      int64
	lo, hi        extreme // of elements that are not NaN
}

func (m *moments) merge(o *moments, r *Reduction) {
	m.squares.Merge(&o.squares)
	if o.nans > 0 && (m.nans == 0 || r.earlier(o.firstNaN, m.firstNaN)) {
		m.firstNaN = o.firstNaN
	}
	if r.needs.scan && o.scanned() {
		first := !m.scanned()
		if first || o.lo.key < m.lo.key || o.lo.key == m.lo.key && r.earlier(o.lo.at, m.lo.at) {
			m.lo = o.lo
		}
		if first || o.hi.key > m.hi.key || o.hi.key == m.hi.key && r.earlier(o.hi.at, m.hi.at) {
			m.hi = o.hi
		}
	}
	m.n += o.n
	m.nans += o.nans
	m.nonzero += o.nonzero
}

// Elements that are scanned and added together fit the first-level cache, where the second pass finds them.
const (
	// momentsBlock is the number of elements for which a worker has scratch.
	momentsBlock = 2048
	// momentsBytes is the size of a block that needs no scratch, because longer blocks have less overhead.
	momentsBytes = 16 << 10
)

// blockLen returns the maximum number of elements of a block.
func (r *Reduction) blockLen() int64 {
	if r.chooses() || r.weights != nil || r.needs.clean || r.elements == Float16 {
		return momentsBlock
	}
	return momentsBytes / int64(r.elements.Size())
}

// addMoments adds the elements at p, and what is beside them, to a and m.
func (w *Worker) addMoments(a *exactsum.Accumulator, m *moments, r *Reduction, mem []byte, p place, b beside) {
	t := r.elements
	size := int64(t.Size())
	if !r.needs.scan && !r.needs.squares && !r.chooses() && r.weights == nil {
		m.n += int64(len(mem)) / size
		w.add(a, t, mem)
		return
	}
	for len(mem) > 0 {
		block := mem[:min(min(r.blockLen(), r.run(p.at))*size, int64(len(mem)))]
		mem = mem[len(block):]
		n := int64(len(block)) / size
		first, rest := b.split(n)
		w.addBlock(a, m, r, block, p, first)
		b, p.at = rest, p.at+n*p.step
	}
}

// addBlock is addMoments for one block.
func (w *Worker) addBlock(a *exactsum.Accumulator, m *moments, r *Reduction, block []byte, p place, b beside) {
	t := r.elements
	if r.chooses() {
		if block, b, p = w.block.choose(r, block, b, p); len(block) == 0 {
			return
		}
	}
	sum := func() {
		switch {
		case r.weights != nil:
			w.addWeighted(a, m, r, block, b.weights)
		case !r.needs.summed:
			w.add(a, t, block)
		}
	}
	if !r.needs.clean {
		sum()
	}
	nans := int64(0)
	if r.needs.scan {
		nans = m.scan(r, block, p, !r.needs.clean && a.IsFinite())
	}
	m.n += int64(len(block) / t.Size())
	if r.needs.clean {
		if nans > 0 {
			block, b = w.block.withoutNaNs(r, block, b)
		}
		sum()
	}
	if r.needs.squares {
		w.addSquares(&m.squares, t, block)
	}
}

func isNaN[T float32 | float64](v T) bool { return v != v } //nolint:revive // only a NaN differs from itself

// widen converts binary16 values, in scratch.
func (w *Worker) widen(x []uint16) []float32 {
	if w.wide == nil {
		w.wide = make([]float32, momentsBlock)
	}
	wide := w.wide[:len(x)]
	for i, h := range x {
		wide[i] = float32(npy.Float16frombits(h))
	}
	return wide
}

func (w *Worker) addSquares(s *exactsum.Squares, t DType, mem []byte) {
	switch t {
	case Bool:
		exactsum.SquareBools(s, mem)
	case Int8:
		exactsum.SquareInts(s, view[int8](mem))
	case Int16:
		exactsum.SquareInts(s, view[int16](mem))
	case Int32:
		exactsum.SquareInts(s, view[int32](mem))
	case Int64:
		exactsum.SquareInts(s, view[int64](mem))
	case Uint8:
		exactsum.SquareInts(s, mem)
	case Uint16:
		exactsum.SquareInts(s, view[uint16](mem))
	case Uint32:
		exactsum.SquareInts(s, view[uint32](mem))
	case Uint64:
		exactsum.SquareInts(s, view[uint64](mem))
	case Float16:
		w.adder.Squares32(s, w.widen(view[uint16](mem)))
	case Float32:
		w.adder.Squares32(s, view[float32](mem))
	case Float64:
		w.adder.Squares64(s, view[float64](mem))
	}
}
