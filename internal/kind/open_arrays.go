package kind

import (
	"bytes"
	"errors"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/job"
)

// openArrays are the stored arrays of a job, by the field that refers to them.
type openArrays struct {
	spec   *fields.Object
	fields []string
	arrays []Opened
	err    error // a *job.Rejection or *job.Failure: not an error of the spec
}

// open opens an array with the pin that the spec has for it, if any.
func (o *openArrays) open(e env, field string, ref chunked.Ref) (chunked.Stored, error) {
	a, err := e.arrays.Open(e.ctx, e.tenant, ref, o.spec.Get(pinOf(field)))
	if err != nil {
		_, rejected := errors.AsType[*job.Rejection](err)
		_, failed := errors.AsType[*job.Failure](err)
		if rejected || failed {
			o.err = err
		}
		return chunked.Stored{}, err
	}
	o.fields, o.arrays = append(o.fields, field), append(o.arrays, a)
	return a.Stored, nil
}

// memory returns the memory of the arrays, in bytes.
func (o *openArrays) memory() (n int64) {
	for _, a := range o.arrays {
		n += a.Memory
	}
	return n
}

func (o *openArrays) close() (err error) {
	for _, a := range o.arrays {
		if a.Close != nil {
			err = errors.Join(err, a.Close())
		}
	}
	return err
}

// pinFields are the members of a planned spec with the pins of stored arrays.
var pinFields = []string{pinOf("array"), pinOf("where"), pinOf("weights")}

func pinOf(field string) string {
	if field == "array" {
		return "pin"
	}
	return field + "_pin"
}

// pinTo adds the pins to the spec, a non-empty JSON object.
func (o *openArrays) pinTo(spec []byte) []byte {
	for i, a := range o.arrays {
		if a.Pin == nil {
			continue
		}
		spec = bytes.TrimRight(spec, " \t\r\n")
		spec = append(bytes.Clone(spec[:len(spec)-1]), `,"`+pinOf(o.fields[i])+`":`...)
		spec = append(append(spec, a.Pin...), '}')
	}
	return spec
}
