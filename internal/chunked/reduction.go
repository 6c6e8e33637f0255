package chunked

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// Reduction has the axes and the statistics of a reduction: a sum alone, unless ParseOps names others.
type Reduction struct {
	axes     uint64 // bit i is axis i
	keepDims bool
	dtype    DType // of sums
	dtypeSet bool  // by the client

	ops      []Op
	dtypes   []DType // of each statistic
	ddof     int64
	elements DType
	needs    needs
	initial  []Number // of each statistic, or the zero Number
	// Elements are left out for which a condition does not hold or the mask is false.
	conditions []condition
	mask       *companion
	weights    *companion // of sums and means

	// Positions of extremes are along the only axis, or in C order of all elements. These are set by the plan.
	dims, strides Shape // in memory order
	axis          int   // in memory order, or -1 for all
	fortran       bool
}

// ParseReduction parses the fields "axis" (an integer, negative from the end; a list of them; null or missing for all),
// "keepdims" (a boolean, default false) and "dtype" (of the result; default numpy.sum's promotion) for a sum over a.
// Its errors are at "/axis", "/axis/1", "/keepdims" and "/dtype".
//
// Unlike in numpy.sum, the dtype does not convert the elements before they are added: the exact sum is rounded once.
// Integers may be summed to any integer or float dtype, floats to any float dtype.
func ParseReduction(spec *fields.Object, a *Array) (Reduction, bool) {
	before := spec.Total()
	spec.NullIsAbsent("axis", "keepdims", "dtype")
	r := Reduction{dtype: a.DType().Sum(), axes: parseAxes(spec.Get("axis"), len(a.shape), spec.Errors)}
	o := object{spec}
	r.keepDims, _ = o.boolean("keepdims")
	if name, ok := o.text("dtype"); ok {
		t, err := ParseDType(name)
		switch {
		case err != nil:
			spec.Add("/dtype", "%v", err)
		case t == Bool:
			spec.Add("/dtype", "is bool, which cannot hold a sum: use an integer or float dtype")
		case a.DType().IsFloat() && !t.IsFloat():
			spec.Add("/dtype", "is %s, but the elements are %s: use a float dtype", t, a.DType())
		}
		r.dtype, r.dtypeSet = t, true
	}
	r.setOps(a.DType(), Sum)
	return r, spec.Total() == before
}

// parseAxes returns the set of axes to sum over.
func parseAxes(raw jsontext.Value, dims int, errs *fields.Errors) (axes uint64) {
	switch {
	case raw == nil:
		return 1<<dims - 1
	case raw.Kind() != '[':
		return parseAxis(raw, "/axis", dims, 0, errs)
	}
	for i, e := range fields.Elements(raw) {
		if axes |= parseAxis(e, "/axis/"+strconv.FormatInt(i, 10), dims, axes, errs); errs.Full() {
			break
		}
	}
	return axes
}

// parseAxis returns one axis as a set; others are the preceding ones.
func parseAxis(raw []byte, pointer string, dims int, others uint64, errs *fields.Errors) uint64 {
	v, _ := parseScalar(raw)
	n, fits := v.int64()
	switch {
	case !fits:
		errs.Add(pointer, "is not an axis: write an integer, a list of integers, or omit it to sum over all")
		return 0
	case dims == 0 && pointer == "/axis" && (n == 0 || n == -1):
		return 0 // NumPy accepts them for an array without axes, except in a list
	case n < -int64(dims) || n >= int64(dims):
		errs.Add(pointer, "is %d, but the array has %d axes: %s", n, dims, axisRange(dims))
		return 0
	case n < 0:
		n += int64(dims)
	}
	if others>>n&1 != 0 {
		errs.Add(pointer, "repeats axis %d", n)
	}
	return 1 << n
}

// axisRange returns the advice for an axis that does not exist.
func axisRange(dims int) string {
	if dims == 0 {
		return "omit it"
	}
	return "write " + strconv.Itoa(-dims) + " to " + strconv.Itoa(dims-1)
}

// has reports whether axis i is summed over.
func (r *Reduction) has(i int) bool { return r.axes>>i&1 != 0 }

// DType returns the type of sums.
func (r *Reduction) DType() DType { return r.dtype }

// isWhole reports whether all axes are reduced.
func (r *Reduction) isWhole(a *Array) bool { return r.axisCount() == len(a.shape) }

// axisCount returns the number of axes that are reduced.
func (r *Reduction) axisCount() int { return bits.OnesCount64(r.axes) }

// locate sets where the elements of a plan are.
func (r *Reduction) locate(p *Plan) {
	r.dims, r.strides, r.axis, r.fortran = p.dims, p.strides, -1, p.array.fortran
	if r.isWhole(p.array) {
		return
	}
	for i, reduced := range p.reduced {
		if reduced {
			r.axis = i
		}
	}
}

// position returns the index of the element at an offset in memory order.
func (r *Reduction) position(off int64) int64 {
	switch {
	case r.axis >= 0:
		return off / r.strides[r.axis] % r.dims[r.axis]
	case !r.fortran:
		return off
	}
	return reversedIndex(r.dims, off)
}

// reordered reports whether positions have another order than memory.
func (r *Reduction) reordered() bool { return r.axis < 0 && r.fortran && r.needs.positions }

// canPrecede reports whether an element from offset a on may be before the one at b in C order.
func (r *Reduction) canPrecede(a, b int64) bool { return a < b || r.reordered() }

// earlier reports whether the element at offset a is before the one at b in C order.
func (r *Reduction) earlier(a, b int64) bool {
	if r.reordered() {
		return r.position(a) < r.position(b)
	}
	return a < b
}

// chooses reports whether some elements may be left out.
func (r *Reduction) chooses() bool { return len(r.conditions) > 0 || r.mask != nil }

// isLocated reports whether the places of elements matter.
func (r *Reduction) isLocated() bool { return r.needs.positions || r.mask != nil || r.weights != nil }

// run returns the number of elements from an offset on whose order in memory is their C order.
func (r *Reduction) run(off int64) int64 {
	if r.reordered() && len(r.dims) > 0 {
		last := r.dims[len(r.dims)-1]
		return last - off%last
	}
	return math.MaxInt64
}

// shapeOf returns the shape of the result for an array of a shape.
func (r *Reduction) shapeOf(s Shape) Shape {
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
