package chunked

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gather/internal/exactsum"
	"gather/internal/fields"
)

// ErrNothing is wrapped by errors about an extreme of no elements, which has no value.
var ErrNothing = errors.New("chunked: an extreme of no elements")

// takesInitial reports whether a statistic can begin with an initial value.
func (o Op) takesInitial() bool {
	return slices.Contains([]Op{Sum, NanSum, Min, Max, NanMin, NanMax}, o)
}

// parseInitial parses the field "initial": a value for all statistics, or an object with one for each of some.
func (r *Reduction) parseInitial(spec object) {
	r.initial = make([]Number, len(r.ops))
	raw := spec.Get("initial")
	if raw == nil {
		return
	}
	set := func(i int, v scalar, pointer string) {
		op := r.ops[i]
		if !op.takesInitial() {
			spec.Add(pointer, `is set, but %q takes no initial value: write an object with values for others, such as {"min": 0}`, op)
			return
		}
		t := r.dtypes[i]
		bits, err := v.encode(t)
		if err != nil {
			spec.Add(pointer, "%v", err)
		}
		r.initial[i] = Number{dtype: t, bits: bits}
	}
	if raw.Kind() != '{' {
		if v, ok := spec.scalar("initial"); ok {
			for i := range r.ops {
				set(i, v, "/initial")
			}
		}
		return
	}
	var errs fields.Errors
	f, _ := fields.Read(raw, &errs)
	each := object{f}
	for i, op := range r.ops {
		if v, ok := each.scalar(op.String()); ok {
			set(i, v, "/initial/"+op.String())
		}
	}
	each.Unused(nil, "is not one of the statistics of the job: write %s", strings.Join(opNames[:], ", "))
	spec.Merge("/initial", &errs)
}

// hasInitial reports whether the spec has an initial value for a statistic.
func hasInitial(spec object, op Op) bool {
	raw := spec.Get("initial")
	if raw == nil || raw.Kind() != '{' {
		return raw != nil
	}
	var errs fields.Errors
	f, _ := fields.Read(raw, &errs)
	return f.Has(op.String())
}

// outputs appends the statistics of an output to dst. Errors: ErrNothing.
func (r *Reduction) outputs(dst []Number, a *exactsum.Accumulator, m *moments) ([]Number, error) {
	first := len(dst)
	dst = r.numbers(dst, a, m)
	for i, op := range r.ops {
		v := &dst[first+i]
		if r.initial != nil && r.initial[i].dtype != 0 {
			*v = r.begin(op, r.initial[i], *v, a, m)
		}
		if v.dtype == 0 {
			return dst, fmt.Errorf(`%w: %q of an output of which no element is used: write an "initial" value`, ErrNothing, op)
		}
	}
	return dst, nil
}

// begin returns a statistic v that begins with an initial value.
func (r *Reduction) begin(op Op, initial, v Number, a *exactsum.Accumulator, m *moments) Number {
	t := v.dtype
	switch op {
	case Sum, NanSum:
		if v.isNaN() {
			return v
		}
		if r.weights != nil {
			var first exactsum.Squares
			first.Merge(&m.squares)
			first.Add(initial.accumulator())
			return productOf(&first, t)
		}
		sum := initial.accumulator()
		sum.Merge(a)
		return numberOf(sum, t)
	default:
	}
	skipNaN := op == NanMin || op == NanMax
	switch {
	case t == 0, skipNaN && v.isNaN():
		return initial
	case v.isNaN(), skipNaN && initial.isNaN():
		return v
	case initial.isNaN():
		return initial
	}
	below := keyOf(t, initial.bits) < keyOf(t, v.bits)
	if above := keyOf(t, initial.bits) > keyOf(t, v.bits); below && (op == Min || op == NanMin) || above && (op == Max || op == NanMax) {
		return initial
	}
	return v
}
