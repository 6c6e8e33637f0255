package chunked

import (
	"encoding/binary"
	"math"

	"gather/internal/extrema"
	"gather/internal/npy"
)

// extreme is the first of the smallest or largest elements.
type extreme struct {
	bits uint64 // as in Number
	key  uint64 // has the order of the elements
	// at is the offset in memory order, if positions matter or the element is a float that is 0, whose sign may differ from
	// that of an equal one.
	at int64
}

// set sets the value of an element of type t.
func (e *extreme) set(t DType, bits uint64) {
	e.bits, e.key = bits, bits
	switch {
	case t.IsFloat():
		b := math.Float64bits(floatOf(t, bits))
		switch {
		case b == 1<<63: // -0 equals 0
			b = zeroKey
		case b>>63 != 0:
			b = ^b
		default:
			b |= zeroKey
		}
		e.key = b
	case !t.isUnsigned():
		e.key = bits ^ 1<<63
	}
}

// zeroKey is the key of a float that is 0.
const zeroKey = 1 << 63

// scanned reports whether the extremes are set.
func (m *moments) scanned() bool { return m.n > m.nans }

// scan adds the extremes and counts of the elements at p, but not their number, and returns the number of NaNs. If clean
// is true, none is NaN.
func (m *moments) scan(r *Reduction, mem []byte, p place, clean bool) (nans int64) {
	k := &scanners[r.elements]
	if clean && !r.needs.zeros {
		lo, hi := k.limits(mem)
		m.extend(r, lo, hi, mem, 1, p)
		return 0
	}
	n := int64(len(mem)) / int64(r.elements.Size())
	s := k.summary(mem)
	if s.nans < n {
		m.extend(r, s.lo, s.hi, mem, 1, p)
	}
	if s.nans > 0 && (m.nans == 0 || r.canPrecede(p.at, m.firstNaN)) {
		first := p.of(k.find(mem, 1, nanOf(r.elements).bits))
		if m.nans == 0 || r.earlier(first, m.firstNaN) {
			m.firstNaN = first
		}
	}
	m.nans += s.nans
	m.nonzero += n - s.nans - s.zeros
	return s.nans
}

// extend extends the extremes by lo and hi, those of the elements of mem at p, which are stride elements apart in mem.
// Positions are only looked for if they may be needed.
func (m *moments) extend(r *Reduction, lo, hi uint64, mem []byte, stride int, p place) {
	var l, h extreme
	l.set(r.elements, lo)
	h.set(r.elements, hi)
	first := !m.scanned()
	if first || l.key < m.lo.key || l.key == m.lo.key && r.canPrecede(p.at, m.lo.at) {
		l.locate(r, mem, stride, p)
		if first || l.key < m.lo.key || r.earlier(l.at, m.lo.at) {
			m.lo = l
		}
	}
	if first || h.key > m.hi.key || h.key == m.hi.key && r.canPrecede(p.at, m.hi.at) {
		h.locate(r, mem, stride, p)
		if first || h.key > m.hi.key || r.earlier(h.at, m.hi.at) {
			m.hi = h
		}
	}
}

// locate sets the position of the first element that equals e, if it matters, and takes the sign of that 0.
func (e *extreme) locate(r *Reduction, mem []byte, stride int, p place) {
	zero := r.elements.IsFloat() && e.key == zeroKey
	if !zero && !r.needs.positions {
		return
	}
	i := scanners[r.elements].find(mem, stride, e.bits)
	e.at = p.of(i)
	if zero {
		size := r.elements.Size()
		var b [8]byte
		copy(b[:], mem[i*stride*size:][:size])
		e.bits = binary.NativeEndian.Uint64(b[:])
	}
}

// summary has the extremes, as in Number, and counts of a block.
type summary struct {
	lo, hi      uint64 // if there is an element that is not NaN
	zeros, nans int64
}

// scanner has what scans elements of a type.
type scanner struct {
	summary func(mem []byte) summary
	// limits returns the extremes of elements none of which is NaN.
	limits func(mem []byte) (lo, hi uint64)
	// columns calls extend with the extremes of each column of a matrix without NaNs. lo and hi are scratch for an element
	// of each, as float32 for float16.
	columns func(lo, hi []byte, m matrix, extend func(j int, lo, hi uint64))
	// find returns the index of the first element that equals a value, or is NaN as well, of those that are stride
	// elements apart.
	find func(mem []byte, stride int, bits uint64) int
}

var scanners = [...]scanner{
	Bool:    boolScanner,
	Int8:    integerScanner[int8](),
	Int16:   integerScanner[int16](),
	Int32:   integerScanner[int32](),
	Int64:   integerScanner[int64](),
	Uint8:   integerScanner[uint8](),
	Uint16:  integerScanner[uint16](),
	Uint32:  integerScanner[uint32](),
	Uint64:  integerScanner[uint64](),
	Float16: float16Scanner,
	Float32: numberScanner(
		func(v float32) uint64 { return uint64(math.Float32bits(v)) },
		func(b uint64) float32 { return math.Float32frombits(uint32(b)) }),
	Float64: numberScanner(math.Float64bits, math.Float64frombits),
}

func integerScanner[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64]() scanner {
	return numberScanner(func(v T) uint64 { return uint64(v) }, func(b uint64) T { return T(b) })
}

// numberScanner returns the scanner of a type with its conversions to and from the bits of a Number.
func numberScanner[T extrema.Number](bits func(T) uint64, value func(uint64) T) scanner {
	return scanner{
		summary: func(mem []byte) summary {
			s := extrema.Of(view[T](mem))
			return summary{bits(s.Min), bits(s.Max), int64(s.Zeros), int64(s.NaNs)}
		},
		limits: func(mem []byte) (lo, hi uint64) {
			l, h := extrema.Range(view[T](mem))
			return bits(l), bits(h)
		},
		columns: func(lo, hi []byte, m matrix, extend func(int, uint64, uint64)) {
			l, h := view[T](lo)[:m.width], view[T](hi)[:m.width]
			extrema.Columns(l, h, view[T](m.mem), int(m.n), int(m.stride))
			for j := range l {
				extend(j, bits(l[j]), bits(h[j]))
			}
		},
		find: func(mem []byte, stride int, b uint64) int { return extrema.Index(view[T](mem), stride, value(b)) },
	}
}

var float16Scanner = scanner{
	summary: func(mem []byte) summary {
		s := extrema.OfFloat16s(view[uint16](mem))
		return summary{float16Bits(s.Min), float16Bits(s.Max), int64(s.Zeros), int64(s.NaNs)}
	},
	limits: func(mem []byte) (lo, hi uint64) {
		l, h := extrema.RangeOfFloat16s(view[uint16](mem))
		return float16Bits(l), float16Bits(h)
	},
	columns: func(lo, hi []byte, m matrix, extend func(int, uint64, uint64)) {
		l, h := view[float32](lo)[:m.width], view[float32](hi)[:m.width]
		extrema.ColumnsOfFloat16s(l, h, view[uint16](m.mem), int(m.n), int(m.stride))
		for j := range l {
			extend(j, float16Bits(l[j]), float16Bits(h[j]))
		}
	},
	find: func(mem []byte, stride int, bits uint64) int {
		return extrema.IndexOfFloat16(view[uint16](mem), stride, float32(npy.Float16frombits(uint16(bits))))
	},
}

func float16Bits(v float32) uint64 { return uint64(npy.Float16bits(float64(v))) }

// Bytes that are not 0 are true.
var boolScanner = scanner{
	summary: func(mem []byte) summary {
		s := extrema.OfBools(mem)
		return summary{uint64(s.Min), uint64(s.Max), int64(s.Zeros), 0}
	},
	limits: func(mem []byte) (lo, hi uint64) {
		l, h := extrema.Range(mem)
		return uint64(min(l, 1)), uint64(min(h, 1))
	},
	columns: func(lo, hi []byte, m matrix, extend func(int, uint64, uint64)) {
		lo, hi = lo[:m.width], hi[:m.width]
		extrema.Columns(lo, hi, m.mem, int(m.n), int(m.stride))
		for j := range lo {
			extend(j, uint64(min(lo[j], 1)), uint64(min(hi[j], 1)))
		}
	},
	find: func(mem []byte, stride int, bits uint64) int {
		for at := 0; at < len(mem); at += stride {
			if uint64(min(mem[at], 1)) == bits {
				return at / stride
			}
		}
		return -1
	},
}
