package chunked_test

import (
	"errors"
	"fmt"

	"gather/internal/chunked"
	"gather/internal/fields"
)

// parseArray is chunked.ParseArray with the errors as a list.
func parseArray(raw []byte, opts chunked.Options) (*chunked.Array, []fields.Error) {
	var errs fields.Errors
	a := chunked.ParseArray(raw, opts, &errs)
	return a, errs.List
}

// parseReduction is chunked.ParseReduction of an object with the fields that are not nil.
func parseReduction(axis, keepDims, dtype []byte, a *chunked.Array) (chunked.Reduction, []fields.Error) {
	spec, separator := "{", ""
	for i, v := range [][]byte{axis, keepDims, dtype} {
		if v != nil {
			spec += fmt.Sprintf("%s%q:%s", separator, []string{"axis", "keepdims", "dtype"}[i], v)
			separator = ","
		}
	}
	var errs fields.Errors
	o, _ := fields.Read([]byte(spec+"}"), &errs)
	r, _ := chunked.ParseReduction(o, a)
	return r, errs.List
}

// newPlan is chunked.NewPlan with the errors as a list.
func newPlan(a *chunked.Array, r chunked.Reduction, limits chunked.Limits) (*chunked.Plan, []fields.Error) {
	p, err := chunked.NewPlan(a, r, limits)
	if invalid, ok := errors.AsType[*fields.Errors](err); ok {
		return p, invalid.List
	}
	return p, nil
}
