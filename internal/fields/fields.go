// Package fields reads the fields of JSON objects and collects all errors with JSON pointers, where a decoder would
// stop at the first.
//
// The JSON must have been validated already, when the request's body was read. Invalid JSON yields errors or arbitrary
// values, but never a panic. Values refer to the text, so that a large one is in memory once. There are no goroutines;
// an Object and an Errors belong to one goroutine.
package fields

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// An Object has the fields of one JSON object.
type Object struct {
	*Errors
	names  []string
	values map[string][]byte
	used   map[string]bool
}

// Read splits a JSON object into fields. It returns false, without adding an error, if raw is not an object. Duplicate
// fields are added to errs.
func Read(raw []byte, errs *Errors) (*Object, bool) {
	o := &Object{Errors: errs, values: map[string][]byte{}, used: map[string]bool{}}
	if at := skipSpace(raw, 0); at == len(raw) || raw[at] != '{' {
		return o, false
	}
	for quoted, value := range members(raw) {
		name := Text(quoted)
		if _, twice := o.values[name]; twice {
			o.Add("/"+Token(name), "appears twice: remove one")
			continue
		}
		o.names = append(o.names, name)
		o.values[name] = value
	}
	return o, true
}

// Names returns the names of the fields, in order.
func (o *Object) Names() []string { return o.names }

// Get returns the value of a field, or nil if it is missing, and marks the field as used.
func (o *Object) Get(name string) jsontext.Value {
	o.used[name] = true
	return o.values[name]
}

// Has reports whether a field is present, and marks it as used.
func (o *Object) Has(name string) bool { return o.Get(name) != nil }

// NullIsAbsent removes those of the fields that are null.
func (o *Object) NullIsAbsent(names ...string) {
	for _, name := range names {
		if v := o.values[name]; string(v) == "null" {
			delete(o.values, name)
		}
	}
}

// Unused adds an error for every unused field. It accepts null fields listed in allowed, because clients with one type
// for several forms send all of them.
func (o *Object) Unused(allowed []string, format string, args ...any) {
	for _, name := range o.names {
		if !o.used[name] && (o.values[name] != nil && string(o.values[name]) != "null" || !slices.Contains(allowed, name)) {
			o.Add("/"+Token(name), format, args...)
		}
	}
}

// maxText exceeds every valid name and text, in bytes of JSON.
const maxText = 16 << 10

// Text returns the text of a JSON string, or "" for other values. Beyond 16 KiB, which no field accepts, it returns the
// beginning.
func Text(v []byte) string {
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	if len(v) > maxText {
		return strings.ToValidUTF8(string(v[1:maxText]), "")
	}
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(text)
}

// maxToken bounds a token of a pointer, in bytes, because names come from clients.
const maxToken = 300

var tokens = strings.NewReplacer("~", "~0", "/", "~1")

// Token returns a name as a reference token of a JSON pointer (RFC 6901), shortened.
func Token(name string) string { return tokens.Replace(Clip(name)) }

// Clip shortens a client's text to 300 bytes.
func Clip(s string) string {
	if len(s) <= maxToken {
		return s
	}
	end := maxToken - 3
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
