package apitest

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
)

// A value is a JSON text under construction, which need not be valid JSON.
type value struct {
	// open is '{' for an object, '[' for an array, 0 for a token.
	open byte
	// token is the text of a value that is neither an object nor an array.
	token string
	// names are the encoded names of an object's members, including quotes.
	names []string
	// sub are the members of an object or the elements of an array.
	sub []*value
}

func token(s string) *value { return &value{token: s} }

// text returns the token of a string.
func text(s string) *value { return token(quote(s)) }

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // encoding a string cannot fail
	return string(bytes.TrimSpace(b.Bytes()))
}

// valueOf returns the value of a result of jsonschema.UnmarshalJSON.
func valueOf(v any) *value {
	switch v := v.(type) {
	case map[string]any:
		object := &value{open: '{'}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			object.set(name, valueOf(v[name]))
		}
		return object
	case []any:
		array := &value{open: '['}
		for _, e := range v {
			array.sub = append(array.sub, valueOf(e))
		}
		return array
	case string:
		return text(v)
	}
	data, _ := json.Marshal(v) // a number, a boolean or null
	return token(string(data))
}

func (v *value) set(name string, member *value) {
	v.names = append(v.names, quote(name))
	v.sub = append(v.sub, member)
}

func (v *value) append(b []byte) []byte {
	if v.open == 0 {
		return append(b, v.token...)
	}
	b = append(b, v.open)
	for i, s := range v.sub {
		if i > 0 {
			b = append(b, ',')
		}
		if v.open == '{' {
			b = append(append(b, v.names[i]...), ':')
		}
		b = s.append(b)
	}
	return append(b, v.open+2) // '}' and ']' follow two code points after their counterparts
}

func (v *value) clone() *value {
	c := *v
	c.names = slices.Clone(v.names)
	c.sub = make([]*value, len(v.sub))
	for i, s := range v.sub {
		c.sub[i] = s.clone()
	}
	return &c
}

// all returns the value and all values within it.
func (v *value) all() []*value {
	list := []*value{v}
	for _, s := range v.sub {
		list = append(list, s.all()...)
	}
	return list
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// one returns true with probability 1/n.
func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }
