package fields_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"gather/internal/fields"
)

func TestErrors(t *testing.T) {
	var errs fields.Errors
	if err := errs.Err(); err != nil {
		t.Errorf("no errors: got %v, want nil", err)
	}
	var inner fields.Errors
	for range 70 {
		inner.Add("/a", "is %d", 1)
	}
	errs.Merge("/jobs/0", &inner)
	errs.Merge("/jobs/1", &inner)
	if got := errs.List[99].Pointer; len(errs.List) != fields.MaxListed || got != "/jobs/1/a" || errs.Total() != 140 {
		t.Errorf("got %d listed, %d in all, the last at %s; want 100, 140, /jobs/1/a", len(errs.List), errs.Total(), got)
	}
	if got := errs.Error(); !strings.HasSuffix(got, "; and 132 more") {
		t.Errorf("got %q, want the number of the others", got)
	}
}

func TestObject(t *testing.T) {
	var errs fields.Errors
	o, ok := fields.Read([]byte(` { "a" : 1 , "b":null,"c":[1,{"x":"]"}] ,"a":2, "d/~\u00e9": "\\\"", "e":null}`), &errs)
	if !ok {
		t.Fatal("not read")
	}
	for name, want := range map[string]string{"a": "1", "b": "null", "c": `[1,{"x":"]"}]`, "none": ""} {
		if got := string(o.Get(name)); got != want {
			t.Errorf("field %s: got %s, want %s", name, got, want)
		}
	}
	o.NullIsAbsent("b")
	if o.Has("b") {
		t.Error("a field of null is present, want absent")
	}
	o.Unused([]string{"e"}, "unknown field")
	var pointers []string
	for _, e := range errs.List {
		pointers = append(pointers, e.Pointer)
	}
	if got, want := strings.Join(pointers, " "), "/a /d~1~0é"; got != want {
		t.Errorf("errors at %q, want %q", got, want)
	}
	if _, ok := fields.Read([]byte("[1]"), &errs); ok {
		t.Error("an array is read as an object")
	}
}

// FuzzWalk tests that elements and fields equal encoding/json's, and that no text makes the walk panic.
func FuzzWalk(f *testing.F) {
	for _, text := range []string{`[1, "a\\\"]" ,[[],{}], {"b":[1]} ]`, `{"a":1,"b\u0062":{"c":[2,"}"]}, "":"\\"}`, `[]`, `{}`, `[,`, `{"a"`, `{"a":`, `["`, `[]]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var errs fields.Errors
		o, isObject := fields.Read(text, &errs)
		var got [][]byte
		for _, e := range fields.Elements(text) {
			got = append(got, e)
		}
		if !json.Valid(text) {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err == nil && list != nil {
			if len(got) != len(list) {
				t.Fatalf("%s: got %d elements, want %d", text, len(got), len(list))
			}
			for i := range list {
				if !bytes.Equal(got[i], list[i]) {
					t.Fatalf("%s: element %d is %s, want %s", text, i, got[i], list[i])
				}
			}
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err == nil && object != nil && isObject && errs.Total() == 0 {
			if got := len(o.Names()); got != len(object) {
				t.Fatalf("%s: got %d fields, want %d", text, got, len(object))
			}
			for name, want := range object {
				if got := o.Get(name); !bytes.Equal(got, want) && !strings.ContainsRune(name, '�') {
					t.Fatalf("%s: field %q is %s, want %s", text, name, got, want)
				}
			}
		}
	})
}
