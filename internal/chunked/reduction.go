package chunked

import "strconv"

// Reduction is what to sum an array over, and to what.
type Reduction struct {
	axes     uint64 // bit i is axis i
	keepDims bool
	dtype    DType
}

// ParseReduction reads the JSON values of "axis" (an integer, negative from the end; a list of them; null or nothing for
// all), "keepdims" (a boolean, false if absent) and "dtype" (that of the result; numpy.sum's promotion if absent) for a
// sum over a. Each may be nil. The pointers of the faults are "/axis", "/axis/1", "/keepdims" and "/dtype".
//
// Unlike numpy.sum, a dtype does not convert the elements before they are added: the exact sum is rounded to it once.
// Integers may be summed to any integer or float dtype, floats to any float dtype.
func ParseReduction(axis, keepDims, dtype []byte, a *Array) (Reduction, Faults) {
	var faults Faults
	r := Reduction{dtype: a.DType().Sum(), axes: parseAxes(axis, len(a.shape), &faults)}
	f := fields{faults: &faults, used: map[string]bool{}, values: map[string][]byte{}}
	if keepDims != nil {
		f.values["keepdims"] = keepDims
	}
	if dtype != nil {
		f.values["dtype"] = dtype
	}
	r.keepDims, _ = f.boolean("keepdims")
	if name, ok := f.text("dtype"); ok {
		t, err := ParseDType(name)
		switch {
		case err != nil:
			faults.add("/dtype", "%v", err)
		case t == Bool:
			faults.add("/dtype", "is bool, which holds no sum: ask for an integer or a float dtype")
		case a.DType().IsFloat() && !t.IsFloat():
			faults.add("/dtype", "is %s, but the elements are %s: ask for a float dtype", t, a.DType())
		}
		r.dtype = t
	}
	if len(faults) > 0 {
		return Reduction{}, faults
	}
	return r, nil
}

// parseAxes returns the set of axes to sum over.
func parseAxes(raw []byte, dims int, faults *Faults) (axes uint64) {
	if raw == nil || string(raw) == "null" {
		return 1<<dims - 1
	}
	s := scanner{data: raw}
	if s.peek() != '[' {
		axes = parseAxis(&s, "/axis", dims, 0, faults)
	} else {
		s.eat('[')
		i := 0
		for more := !s.eat(']'); more; i++ {
			axes |= parseAxis(&s, "/axis/"+strconv.Itoa(i), dims, axes, faults)
			var ok bool
			if more, ok = s.more(']'); !ok || faults.full() {
				faults.add("/axis", "is not valid JSON at its byte %d", s.pos)
				return axes
			}
		}
	}
	if s.peek(); s.pos != len(raw) {
		faults.add("/axis", "is not valid JSON at its byte %d", s.pos)
	}
	return axes
}

// parseAxis returns one axis as a set; others are those named before.
func parseAxis(s *scanner, pointer string, dims int, others uint64, faults *Faults) uint64 {
	v, ok := s.scalar()
	n, fits := v.int64()
	switch {
	case !ok || !fits:
		if !ok {
			s.raw()
		}
		faults.add(pointer, "is not an axis: write an integer, a list of integers, or leave it out to sum over all")
		return 0
	case dims == 0 && pointer == "/axis" && (n == 0 || n == -1):
		return 0 // outside of a list NumPy takes them for an array without axes too
	case n < -int64(dims) || n >= int64(dims):
		faults.add(pointer, "is %d, but the array has %d axes: %s", n, dims, axisRange(dims))
		return 0
	case n < 0:
		n += int64(dims)
	}
	if others>>n&1 != 0 {
		faults.add(pointer, "is axis %d again: name it once", n)
	}
	return 1 << n
}

// axisRange returns what to do about an axis that is not there.
func axisRange(dims int) string {
	if dims == 0 {
		return "leave it out"
	}
	return "write " + strconv.Itoa(-dims) + " to " + strconv.Itoa(dims-1)
}

// has reports whether axis i is summed over.
func (r Reduction) has(i int) bool { return r.axes>>i&1 != 0 }

// DType is the type of the result.
func (r Reduction) DType() DType { return r.dtype }

// shapeOf is the shape of the result for an array of the given shape.
func (r Reduction) shapeOf(s Shape) Shape {
	out := Shape{}
	for i, d := range s {
		switch {
		case !r.has(i):
			out = append(out, d)
		case r.keepDims:
			out = append(out, 1)
		}
	}
	return out
}
