package kind_test

import (
	"errors"
	"strings"
	"testing"

	"gather/internal/fields"
	"gather/internal/kind"
)

func TestArraySum(t *testing.T) {
	for _, tt := range []struct {
		spec, result, details string
		items                 map[int64]string
	}{
		{
			`{"array":{"source":"ones","shape":[1000,1000],"chunks":[100,100],"dtype":"float64"}}`, "1000000.0",
			`{"dtype":"float64","shape":[],"hex":"0x1.e848p+19"}`,
			map[int64]string{0: "10000.0", 99: "10000.0"},
		},
		{
			`{"array":{"values":[[1,2,3],[4,5,6]],"chunks":[1,3]}}`, "21", `{"dtype":"int64","shape":[]}`,
			map[int64]string{0: "6", 1: "15"},
		},
		{
			`{"array":{"values":[[1,2,3],[4,5,6]]},"axis":0}`, "[5,7,9]", `{"dtype":"int64","shape":[3]}`,
			map[int64]string{0: "5", 2: "9"},
		},
		{
			`{"array":{"values":[[1.5,2],[4,"NaN"]]},"axis":[-1],"keepdims":true}`, `[[3.5],["NaN"]]`,
			`{"dtype":"float64","shape":[2,1]}`,
			map[int64]string{1: `"NaN"`},
		},
		{
			`{"array":{"values":[9223372036854775807,9223372036854775807]}}`, "18446744073709551614",
			`{"dtype":"int64","shape":[],"exact":"18446744073709551614","overflow":{"count":1,"first_index":0,"dtype":"uint64"}}`, nil,
		},
		{
			`{"array":{"values":[9007199254740992]}}`, "9007199254740992", `{"dtype":"int64","shape":[],"exact":"9007199254740992"}`, nil,
		},
		{`{"array":{"values":[9007199254740991]}}`, "9007199254740991", `{"dtype":"int64","shape":[]}`, nil},
		{ // integers that a float64 would round, in an axis result and with one element in two dimensions
			`{"array":{"values":[[9007199254740993,1],[0,2]]},"axis":0}`, "[9007199254740993,3]",
			`{"dtype":"int64","shape":[2],"exact":["9007199254740993","3"]}`, nil,
		},
		{
			`{"array":{"values":[[9007199254740993]]},"keepdims":true}`, "[[9007199254740993]]",
			`{"dtype":"int64","shape":[1,1],"exact":"9007199254740993"}`, nil,
		},
		{`{"array":{"values":[200,200]},"dtype":"int8"}`, "400", `{"dtype":"int8","shape":[],"overflow":{"count":1,"first_index":0,"dtype":"int16"}}`, nil},
		{
			`{"array":{"values":[[100,100,-100],[0,28,-29]]},"axis":0,"dtype":"int8"}`, "[100,128,-129]",
			`{"dtype":"int8","shape":[3],"overflow":{"count":2,"first_index":1,"dtype":"int16"}}`, nil,
		},
		{
			`{"array":{"values":[[255,-1],[1,0]]},"axis":0,"dtype":"uint8"}`, "[256,-1]",
			`{"dtype":"uint8","shape":[2],"overflow":{"count":2,"first_index":0,"dtype":"int16"}}`, nil,
		},
		{`{"array":{"values":[-5,2]},"dtype":"uint64"}`, "-3", `{"dtype":"uint64","shape":[],"overflow":{"count":1,"first_index":0,"dtype":"int8"}}`, nil},
		{
			`{"array":{"values":[18446744073709551615,1]}}`, "18446744073709551616",
			`{"dtype":"uint64","shape":[],"exact":"18446744073709551616","overflow":{"count":1,"first_index":0,"dtype":"float64"}}`, nil,
		},
		{ // more than the job includes
			`{"array":{"source":"full","fill_value":100,"shape":[2000,2]},"axis":1,"dtype":"int8"}`, "null",
			`{"dtype":"int8","shape":[2000],"overflow":{"count":2000,"first_index":0,"dtype":"int16"}}`, nil,
		},
		{`{"array":{"source":"zeros","shape":[2,0],"dtype":"int8"},"axis":0}`, "[]", `{"dtype":"int64","shape":[0]}`, nil},
		{`{"array":{"source":"zeros","shape":[0]}}`, "0.0", `{"dtype":"float64","shape":[],"hex":"0x0p+00"}`, nil},
		{`{"array":{"source":"ones","shape":[2000,2]},"axis":1}`, "null", `{"dtype":"float64","shape":[2000]}`, map[int64]string{1999: "2.0"}},
	} {
		items, out := run(t, plan(t, "array_sum", tt.spec))
		if string(out.Value) != tt.result || string(out.Details) != tt.details {
			t.Errorf("%s: %s %s, want %s %s", tt.spec, out.Value, out.Details, tt.result, tt.details)
		}
		for i, want := range tt.items {
			if got := string(items[i].Value); got != want {
				t.Errorf("%s: item %d is %s, want %s", tt.spec, i, got, want)
			}
		}
	}
}

func TestArrayFaults(t *testing.T) {
	reg := kind.NewRegistry(kind.DefaultLimits(), nil)
	for _, tt := range []struct{ spec, pointer, detail string }{
		{`{}`, "/array", "missing"},
		{`{"array":{"source":"ones","shape":[1000000000],"chunks":1}}`, "/array/chunks", "1000000 chunks"},
		{`{"array":{"source":"ones","shape":[9223372036854775807,9223372036854775807]}}`, "/array/shape", ""},
		{`{"array":{"source":"ones","shape":[` + strings.Repeat("1,", 69) + `1]}}`, "/array/shape", "64"},
		{`{"array":{"source":"ones","shape":[2]},"axis":2}`, "/axis", ""},
		{`{"array":{"source":"ones","shape":[2]},"axis":0,"dtype":"complex"}`, "/dtype", ""},
		{`{"array":{"source":"npy","name":"x"}}`, "/array/source", "npy"},
	} {
		err := reg.Validate(t.Context(), "acme", "array_sum", []byte(tt.spec))
		var v *fields.Errors
		if !errors.As(err, &v) || v.List[0].Pointer != tt.pointer || !strings.Contains(v.List[0].Detail, tt.detail) {
			t.Errorf("%s: %v, want an error at %s with %q", tt.spec, err, tt.pointer, tt.detail)
		}
	}
	// A generated shape of 1e12 elements needs no memory.
	if p := plan(t, "array_sum", `{"array":{"source":"random","shape":[1000000,1000000]}}`); p.Size().Memory > 64<<20 {
		t.Errorf("1e12 elements hold %d bytes", p.Size().Memory)
	}
}
