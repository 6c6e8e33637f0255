package kind

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/job"
	"gather/internal/number"
)

// fields reads a JSON object member by member and collects every fault, where a decoder would stop at the first.
type fields struct {
	job.ValidationError
	values map[string]jsontext.Value
}

// readFields splits an object in its members and faults those that are not known. Values refer to object, so that a large
// one is not held twice.
func readFields(object []byte, known ...string) *fields {
	f := &fields{values: make(map[string]jsontext.Value, len(known))}
	dec := jsontext.NewDecoder(bytes.NewBuffer(object)) // which reads in place
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		f.Add("", "must be a JSON object")
		return f
	}
	for dec.PeekKind() != '}' {
		raw, err := dec.ReadValue()
		if err != nil {
			f.Add("", "must be a JSON object: %v", err)
			return f
		}
		name := text(raw)
		value, err := dec.ReadValue()
		if err != nil {
			f.Add("", "must be a JSON object: %v", err)
			return f
		}
		isKnown := false
		for _, k := range known {
			isKnown = isKnown || k == name
		}
		if !isKnown {
			f.Add("/"+escape(name), "unknown field; this kind takes %v", known)
			continue
		}
		end := dec.InputOffset()
		f.values[name] = object[end-int64(len(value)) : end : end]
	}
	return f
}

// maxText is longer than every name and duration.
const maxText = 16 << 10

// text returns the text of a JSON string, which it is given. Of one beyond maxText it returns the beginning.
func text(v jsontext.Value) string {
	if len(v) > maxText {
		return string(bytes.ToValidUTF8(v[1:maxText], nil))
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(b)
}

// escape writes a name as a reference token of a JSON pointer (RFC 6901), shortened.
func escape(name string) string {
	if len(name) > 80 {
		name = name[:80]
	}
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		switch name[i] {
		case '~':
			b = append(b, "~0"...)
		case '/':
			b = append(b, "~1"...)
		default:
			b = append(b, name[i])
		}
	}
	return string(b)
}

// optional leaves out those of the members that are null, which stands for the default.
func (f *fields) optional(names ...string) {
	for _, name := range names {
		if v := f.values[name]; v != nil && v.Kind() == 'n' {
			delete(f.values, name)
		}
	}
}

// has reports whether a member is there.
func (f *fields) has(name string) bool { return f.values[name] != nil }

// oneOf faults unless exactly one of the members is there.
func (f *fields) oneOf(a, b string) bool {
	switch {
	case f.has(a) && f.has(b):
		f.Add("/"+b, "give %s or %s, not both", a, b)
	case !f.has(a) && !f.has(b):
		f.Add("", "give %s or %s", a, b)
	default:
		return true
	}
	return false
}

// integer reads an integer in [least, most]; missing is absent's value.
func (f *fields) integer(name string, least, most, absent int64) int64 {
	v := f.values[name]
	if v == nil {
		return absent
	}
	text, whole := wholeNumber(v)
	n, err := strconv.ParseInt(string(text), 10, 64)
	if !whole || err != nil || n < least || n > most {
		f.Add("/"+name, "must be an integer from %d to %d", least, most)
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

// bigInteger reads an integer of at most that many digits; missing is absent's value.
func (f *fields) bigInteger(name string, digits, absent int64) *big.Int {
	v := f.values[name]
	if v == nil {
		return big.NewInt(absent)
	}
	text, whole := wholeNumber(v)
	if !whole {
		f.Add("/"+name, "must be an integer")
		return big.NewInt(absent)
	}
	if n := int64(len(bytes.TrimPrefix(text, []byte{'-'}))); n > digits {
		f.Add("/"+name, "has %d digits; at most %d", n, digits)
		return big.NewInt(absent)
	}
	n, _ := new(big.Int).SetString(string(text), 10) // of digits alone
	return n
}

// maxDuration bounds a single wait: a year and a day.
const maxDuration = 366 * 24 * time.Hour

// duration reads one duration.
func (f *fields) duration(name string) time.Duration {
	v := f.values[name]
	if v == nil {
		f.Add("/"+name, "is missing: a duration such as \"1.5s\", or a number of seconds")
		return 0
	}
	d, err := parseDuration(v)
	if err != nil {
		f.Add("/"+name, "%v", err)
	}
	return d
}

// parseDuration reads a JSON string with a duration, or a JSON number of seconds.
func parseDuration(v jsontext.Value) (time.Duration, error) {
	switch v.Kind() {
	case '"':
		text := text(v)
		d, err := job.ParseDuration(text, maxDuration)
		if errors.Is(err, job.ErrDuration) {
			err = fmt.Errorf("%w; got %s", err, quote(text))
		}
		return d, err
	case '0':
		return job.ParseSeconds(string(v), maxDuration)
	}
	return 0, job.ErrDuration
}

// maxFaults is how many faults of one list are told; a list of a million wrong elements has one cause.
const maxFaults = 20

// elements calls visit with each element of a JSON array, until visit reports false. It faults when v is no array.
func (f *fields) elements(name string, visit func(i int64, v jsontext.Value) bool) {
	v := f.values[name]
	if v.Kind() != '[' {
		f.Add("/"+name, "must be an array")
		return
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	if _, err := dec.ReadToken(); err != nil {
		f.Add("/"+name, "must be an array")
		return
	}
	for i := int64(0); dec.PeekKind() != ']'; i++ {
		e, err := dec.ReadValue()
		if err != nil {
			f.Add("/"+name, "%v", err)
			return
		}
		if !visit(i, e) {
			return
		}
	}
}
