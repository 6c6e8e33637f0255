package chunked

import (
	"gather/internal/fields"
)

// members are the fields of all sources.
var members = []string{
	"source", "shape", "chunks", "dtype", "fill_value", "start", "stop", "step", "num", "endpoint", "seed", "distribution",
	"loc", "scale", "low", "high", "values", "name", "url", "urls", "concatenate", "member", "offset", "order", "byte_order", "select",
}

// object reads typed fields of an object. A null field is missing.
type object struct{ *fields.Object }

// text returns a string; false if it is missing or invalid.
func (o object) text(name string) (string, bool) {
	raw := o.Get(name)
	if raw == nil {
		return "", false
	}
	if raw.Kind() != '"' {
		o.Add("/"+name, "is not a string: write it in quotes")
		return "", false
	}
	return fields.Text(raw), true
}

func (o object) boolean(name string) (v, ok bool) {
	raw := o.Get(name)
	switch string(raw) {
	case "":
	case "true":
		return true, true
	case "false":
		return false, true
	default:
		o.Add("/"+name, "is not a boolean: write true or false")
	}
	return false, false
}

// scalar returns one element.
func (o object) scalar(name string) (scalar, bool) {
	raw := o.Get(name)
	if raw == nil {
		return scalar{}, false
	}
	v, ok := parseScalar(raw)
	if !ok {
		o.Add("/"+name, wantScalar)
	}
	return v, ok
}

// integer returns a number that fits an int64.
func (o object) integer(name string) (int64, bool) {
	raw := o.Get(name)
	if raw == nil {
		return 0, false
	}
	v, ok := parseScalar(raw)
	n, fits := v.int64()
	if !ok || !fits {
		o.Add("/"+name, "is not an integer below 2^63")
		return 0, false
	}
	return n, true
}
