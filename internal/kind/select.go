package kind

import (
	"math/big"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// A selector returns the member of a spec that has only some of the items that a member has, or the member unchanged. Specs are
// valid.
type selector func(o object, name string, l Limits, keep func(i int64) bool) (as string, value jsontext.Value)

// SelectItems returns the spec of a job with only some of the items of a spec, in their order; false for a kind without items, whose
// specs are as a whole.
func (r *Registry) SelectItems(kind string, spec []byte, keep func(i int64) bool) (selected []byte, ok bool) {
	d := definitions[kind]
	if d.items == nil {
		return nil, false
	}
	var errs fields.Errors
	o, _ := fields.Read(spec, &errs)
	sep := byte('{')
	for _, name := range o.Names() {
		as, value := d.items(object{o}, name, r.limits, keep)
		selected, _ = jsontext.AppendQuote(append(selected, sep), as)
		selected, sep = append(append(selected, ':'), value...), ','
	}
	if sep == '{' {
		selected = append(selected, sep)
	}
	return append(selected, '}'), true
}

// selectElements returns the elements of an array with the given indexes.
func selectElements(v jsontext.Value, keep func(i int64) bool) jsontext.Value {
	b, sep := []byte{'['}, ""
	for i, e := range fields.Elements(v) {
		if keep(i) {
			b, sep = append(append(b, sep...), e...), ","
		}
	}
	return append(b, ']')
}

// selectRange returns an array with numbers of the field range; appendNumber appends one.
func selectRange(o object, l Limits, keep func(i int64) bool, appendNumber func(b []byte, n *big.Int) []byte) jsontext.Value {
	start, _, step, n := o.integerRange(l)
	b, sep := []byte{'['}, ""
	at := new(big.Int).Set(start)
	for i := range n {
		if keep(i) {
			b, sep = appendNumber(append(b, sep...), at), ","
		}
		at.Add(at, step)
	}
	return append(b, ']')
}

func selectSleeps(o object, name string, l Limits, keep func(i int64) bool) (string, jsontext.Value) {
	switch name {
	case "durations":
		return name, selectElements(o.Get(name), keep)
	case "count":
		kept := int64(0)
		for i := range o.integer(name, 0, l.Items, 0) {
			if keep(i) {
				kept++
			}
		}
		return name, strconv.AppendInt(nil, kept, 10)
	}
	return name, o.Get(name)
}

func selectNumbers(o object, name string, l Limits, keep func(i int64) bool) (string, jsontext.Value) {
	switch name {
	case "numbers":
		return name, selectElements(o.Get(name), keep)
	case "range":
		return "numbers", selectRange(o, l, keep, func(b []byte, n *big.Int) []byte { return n.Append(b, 10) })
	}
	return name, o.Get(name)
}

func selectRequests(o object, name string, l Limits, keep func(i int64) bool) (string, jsontext.Value) {
	switch name {
	case "requests", "for_each":
		return name, selectElements(o.Get(name), keep)
	case "range":
		var errs fields.Errors
		_, text := readRequest(o.Get("request"), &errs)
		template, err := parseTemplate(text)
		if err != nil || len(template.names) == 0 { // not in a valid spec
			return name, o.Get(name)
		}
		return "for_each", selectRange(o, l, keep, func(b []byte, n *big.Int) []byte {
			b, _ = jsontext.AppendQuote(append(b, '{'), template.names[0])
			return append(n.Append(append(b, ':'), 10), '}')
		})
	}
	return name, o.Get(name)
}
