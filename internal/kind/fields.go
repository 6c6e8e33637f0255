package kind

import (
	"bytes"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/number"
)

// object reads typed fields of a spec.
type object struct{ *fields.Object }

// readObject parses a spec and adds an error for each unknown field.
func readObject(spec []byte, errs *fields.Errors, known ...string) object {
	o, ok := fields.Read(spec, errs)
	if !ok {
		o.Add("", "must be a JSON object")
	}
	for _, name := range known {
		o.Get(name)
	}
	for _, m := range [...][2]string{
		{"retry", "is for http_batch and the kinds of arrays, whose sources may fail for a time; leave it out"},
		{"on_item_error", "is for http_batch, whose items may fail; leave it out"},
	} {
		if !slices.Contains(known, m[0]) && o.Has(m[0]) {
			o.Add("/"+m[0], "%s", m[1])
		}
	}
	o.Unused(nil, "unknown field; this kind takes %v", known)
	return object{o}
}

// oneOf reports whether exactly one of two fields is present, and adds an error otherwise.
func (o object) oneOf(a, b string) bool {
	switch {
	case o.Has(a) && o.Has(b):
		o.Add("/"+b, "set either %s or %s, not both", a, b)
	case !o.Has(a) && !o.Has(b):
		o.Add("", "set %s or %s", a, b)
	default:
		return true
	}
	return false
}

// integer returns an integer in [least, most], or absent for a missing or invalid field.
func (o object) integer(name string, least, most, absent int64) int64 {
	v := o.Get(name)
	if v == nil {
		return absent
	}
	text, whole := wholeNumber(v)
	n, err := strconv.ParseInt(string(text), 10, 64)
	if !whole || err != nil || n < least || n > most {
		o.Add("/"+name, "must be an integer from %d to %d", least, most)
		return absent
	}
	return n
}

// wholeNumber returns the digits of a JSON number without a fractional part, such as 2 or 2.0.
func wholeNumber(v jsontext.Value) ([]byte, bool) {
	if v.Kind() != '0' {
		return nil, false
	}
	return number.Integer(v)
}

// bigInteger returns an integer of at most digits digits, or absent for a missing or invalid field.
func (o object) bigInteger(name string, digits, absent int64) *big.Int {
	v := o.Get(name)
	if v == nil {
		return big.NewInt(absent)
	}
	text, whole := wholeNumber(v)
	if !whole {
		o.Add("/"+name, "must be an integer")
		return big.NewInt(absent)
	}
	if n := int64(len(bytes.TrimPrefix(text, []byte{'-'}))); n > digits {
		o.Add("/"+name, "has %d digits; at most %d", n, digits)
		return big.NewInt(absent)
	}
	n, ok := new(big.Int).SetString(string(text), 10)
	if !ok { // invalid JSON
		return big.NewInt(absent)
	}
	return n
}

// maxDuration bounds a single wait: a year and a day.
const maxDuration = 366 * 24 * time.Hour

// duration returns a duration.
func (o object) duration(name string) time.Duration {
	v := o.Get(name)
	if v == nil {
		o.Add("/"+name, "is missing: a duration such as \"1.5s\", or a number of seconds")
		return 0
	}
	d, err := fields.ParseDuration(v, maxDuration)
	if err != nil {
		o.Add("/"+name, "%v", err)
	}
	return d
}

// maxListErrors bounds the reported errors of one list, because a million invalid elements have one cause.
const maxListErrors = 20

// elements calls visit for each element of an array until visit returns false. It adds an error if the field is not an
// array.
func (o object) elements(name string, visit func(i int64, v jsontext.Value) bool) {
	v := o.Get(name)
	if v.Kind() != '[' {
		o.Add("/"+name, "must be an array")
		return
	}
	for i, e := range fields.Elements(v) {
		if !visit(i, e) {
			return
		}
	}
}
