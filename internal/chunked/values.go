package chunked

import (
	"strconv"
)

// values reads inline elements: nested lists of numbers, booleans and special strings, in two passes over the JSON, the
// first for the shape and the type, the second for the elements. No tree of them is ever built.
type values struct {
	faults *Faults

	shape    Shape
	leafs    int // the depth of the elements; -1 until one is seen
	count    int64
	bools    bool // there is a boolean
	ints     bool // there is an integer
	floats   bool // there is a number that is not an integer
	negative bool // there is a negative integer
	wide     bool // there is an integer beyond int64
	index    [MaxDims]int64
	broken   bool // the JSON ends or is not JSON
}

// pointer is the JSON pointer of the value being read, at depth.
func (v *values) pointer(depth int) string {
	b := []byte("/values")
	for _, i := range v.index[:min(depth, MaxDims)] {
		b = strconv.AppendInt(append(b, '/'), i, 10)
	}
	return string(b)
}

// survey is the first pass.
func (v *values) survey(s *scanner, depth int) {
	if s.peek() == '[' {
		v.list(s, depth)
		return
	}
	e, ok := s.scalar()
	if !ok {
		v.faults.add(v.pointer(depth), wantScalar)
		_, ok := s.raw()
		v.broken = v.broken || !ok
		return
	}
	switch {
	case v.leafs < 0 && len(v.shape) == depth:
		v.leafs = depth
	case v.leafs != depth:
		v.faults.add(v.pointer(depth), "is an element where the others are lists: make the nesting of all alike")
	}
	v.count++
	switch e.kind {
	case boolScalar:
		v.bools = true
	case intScalar:
		v.ints = true
		v.negative = v.negative || e.text[0] == '-'
		if len(e.text) > 18 {
			_, fits := e.int64()
			v.wide = v.wide || !fits
		}
	default:
		v.floats = true
	}
}

func (v *values) list(s *scanner, depth int) {
	s.eat('[')
	first := depth == len(v.shape) && (v.leafs < 0 || v.leafs > depth)
	switch {
	case depth == MaxDims:
		v.faults.add(v.pointer(depth), "is nested too deeply: the limit is %d dimensions", MaxDims)
		v.broken = true
		return
	case first:
		v.shape = append(v.shape, 0)
	case depth >= len(v.shape):
		v.faults.add(v.pointer(depth), "is a list where the others are elements: make the nesting of all alike")
		s.pos--
		_, ok := s.raw()
		v.broken = v.broken || !ok
		return
	}
	n := int64(0)
	for more := !s.eat(']'); more; n++ {
		v.index[depth] = n
		v.survey(s, depth+1)
		if v.broken || v.faults.full() {
			v.broken = true
			return
		}
		var ok bool
		if more, ok = s.more(']'); !ok {
			v.faults.add(v.pointer(depth+1), "is followed by something that is not JSON, at byte %d", s.pos)
			v.broken = true
			return
		}
	}
	if first {
		v.shape[depth] = n
		if v.leafs < 0 && len(v.shape) == depth+1 {
			v.leafs = depth + 1 // an empty list ends the nesting
		}
	} else if n != v.shape[depth] {
		v.faults.add(v.pointer(depth), "has %d entries where the others have %d: make them equally long", n, v.shape[depth])
	}
}

// dtype is the type NumPy gives an array of what was seen: float64 if there is any float or nothing at all, else int64,
// else bool.
func (v *values) dtype() DType {
	switch {
	case v.floats || v.count == 0:
		return Float64
	case v.wide && !v.negative:
		return Uint64
	case v.ints:
		return Int64
	}
	return Bool
}

// fill is the second pass: it writes every element to mem. The survey found the JSON sound and the shape even.
func (v *values) fill(s *scanner, t DType, depth int, mem []byte, at *int) {
	if depth < len(v.shape) {
		s.eat('[')
		for n := range v.shape[depth] {
			if n > 0 {
				s.eat(',')
			}
			v.index[depth] = n
			v.fill(s, t, depth+1, mem, at)
			if v.faults.full() {
				return
			}
		}
		s.eat(']')
		return
	}
	e, _ := s.scalar()
	bits, err := e.encode(t)
	if err != nil {
		v.faults.add(v.pointer(depth), "%v", err)
	}
	put(mem, t.Size(), *at, bits)
	*at++
}

// parseValues returns the elements of a nested list, of type t or, if t is 0, of the type NumPy would give them.
func parseValues(raw []byte, t DType, limits Limits, faults *Faults) (inline, Shape, bool) {
	before := len(*faults)
	v := values{faults: faults, leafs: -1}
	s := scanner{data: raw}
	v.survey(&s, 0)
	if len(*faults) > before {
		return inline{}, nil, false
	}
	if s.peek(); s.pos != len(raw) {
		faults.add("/values", "has something after its end, at byte %d", s.pos)
		return inline{}, nil, false
	}
	if v.count > limits.Elements {
		faults.add("/values", "has %d elements; the limit is %d elements", v.count, limits.Elements)
		return inline{}, nil, false
	}
	if t == 0 {
		t = v.dtype()
	}
	mem := alignedBytes(v.count * int64(t.Size()))
	s = scanner{data: raw}
	at := 0
	v.fill(&s, t, 0, mem, &at)
	return inline{dtype: t, data: mem}, v.shape, len(*faults) == before
}
