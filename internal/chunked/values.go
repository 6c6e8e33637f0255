package chunked

import (
	"strconv"

	"gather/internal/fields"
)

// values parses inline elements: nested lists of numbers, booleans and special strings. It makes two passes over the
// JSON, the first for shape and type, the second for the elements, and never builds a tree.
type values struct {
	*fields.Errors

	shape    Shape
	leafs    int // depth of the elements; -1 until one is found
	count    int64
	bools    bool // a boolean was found
	ints     bool // an integer was found
	floats   bool // a number that is not an integer was found
	negative bool // a negative integer was found
	wide     bool // an integer beyond int64 was found
	index    [MaxDims]int64
	stopped  bool // stops reporting errors
}

// pointer returns the JSON pointer of the current value, at depth.
func (v *values) pointer(depth int) string {
	b := []byte("/values")
	for _, i := range v.index[:min(depth, MaxDims)] {
		b = strconv.AppendInt(append(b, '/'), i, 10)
	}
	return string(b)
}

// inferShapeAndType is the first pass.
func (v *values) inferShapeAndType(raw []byte, depth int) {
	if len(raw) > 0 && raw[0] == '[' {
		v.list(raw, depth)
		return
	}
	e, ok := parseScalar(raw)
	if !ok {
		v.Add(v.pointer(depth), wantScalar)
		return
	}
	switch {
	case v.leafs < 0 && len(v.shape) == depth:
		v.leafs = depth
	case v.leafs != depth:
		v.Add(v.pointer(depth), "is an element where the others are lists: use the same nesting for all")
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

func (v *values) list(raw []byte, depth int) {
	first := depth == len(v.shape) && (v.leafs < 0 || v.leafs > depth)
	switch {
	case depth == MaxDims:
		v.Add(v.pointer(depth), "is nested too deeply: the limit is %d dimensions", MaxDims)
		v.stopped = true
		return
	case first:
		v.shape = append(v.shape, 0)
	case depth >= len(v.shape):
		v.Add(v.pointer(depth), "is a list where the others are elements: use the same nesting for all")
		return
	}
	n := int64(0)
	for i, e := range fields.Elements(raw) {
		v.index[depth] = i
		v.inferShapeAndType(e, depth+1)
		if v.stopped = v.stopped || v.Full(); v.stopped {
			return
		}
		n = i + 1
	}
	if first {
		v.shape[depth] = n
		if v.leafs < 0 && len(v.shape) == depth+1 {
			v.leafs = depth + 1 // an empty list ends the nesting
		}
	} else if n != v.shape[depth] {
		v.Add(v.pointer(depth), "has %d entries where the others have %d: all must have the same length", n, v.shape[depth])
	}
}

// dtype returns NumPy's type for the elements: float64 if there is a float or no element, otherwise an integer type if
// there is an integer, otherwise bool.
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

// fill is the second pass: it writes every element to mem. The first pass has checked that the shape is regular.
func (v *values) fill(raw []byte, t DType, depth int, mem []byte, at *int) {
	if depth < len(v.shape) {
		for i, e := range fields.Elements(raw) {
			v.index[depth] = i
			if v.fill(e, t, depth+1, mem, at); v.Full() {
				return
			}
		}
		return
	}
	e, _ := parseScalar(raw)
	bits, err := e.encode(t)
	if err != nil {
		v.Add(v.pointer(depth), "%v", err)
	}
	put(mem, t.Size(), *at, bits)
	*at++
}

// parseValues returns the elements of a nested list, of type t or, if t is 0, of NumPy's type for them.
func parseValues(raw []byte, t DType, limits Limits, errs *fields.Errors) (inline, Shape, bool) {
	before := errs.Total()
	v := values{Errors: errs, leafs: -1}
	v.inferShapeAndType(raw, 0)
	if errs.Total() > before {
		return inline{}, nil, false
	}
	if v.count > limits.Elements {
		errs.Add("/values", "has %d elements; the limit is %d elements", v.count, limits.Elements)
		return inline{}, nil, false
	}
	if t == 0 {
		t = v.dtype()
	}
	mem := alignedBytes(v.count * int64(t.Size()))
	at := 0
	v.fill(raw, t, 0, mem, &at)
	return inline{dtype: t, data: mem}, v.shape, errs.Total() == before
}
