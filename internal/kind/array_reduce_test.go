package kind_test

import (
	"encoding/json"
	"errors"
	"testing"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/kind"
)

func TestArrayReduce(t *testing.T) {
	for name, tt := range map[string]struct {
		spec, result, details string
		items                 map[int64]string
	}{
		"over all axes": {
			`{"ops":["mean","var","argmax"],"array":{"values":[1000000000.0,1000000001,1000000002],"chunks":2}}`,
			`{"mean":1000000001.0,"var":0.6666666666666666,"argmax":2}`,
			`{"shape":[],"ops":{"mean":{"dtype":"float64","shape":[],"hex":"0x1.dcd65008p+29"},` +
				`"var":{"dtype":"float64","shape":[],"hex":"0x1.5555555555555p-01"},"argmax":{"dtype":"int64","shape":[]}},"warnings":[]}`,
			map[int64]string{0: `{"mean":1000000000.5,"var":0.25,"argmax":1}`, 1: `{"mean":1000000002.0,"var":0.0,"argmax":2}`},
		},
		"over an axis": {
			`{"ops":["min","nanmean","count"],"array":{"values":[[1,"NaN"],[3,4]]},"axis":0,"keepdims":true}`,
			`{"min":[[1.0,"NaN"]],"nanmean":[[2.0,4.0]],"count":[[2,2]]}`,
			`{"shape":[1,2],"ops":{"min":{"dtype":"float64","shape":[1,2]},"nanmean":{"dtype":"float64","shape":[1,2]},` +
				`"count":{"dtype":"int64","shape":[1,2]}},"warnings":[]}`,
			map[int64]string{1: `{"min":"NaN","nanmean":4.0,"count":2}`},
		},
		"booleans": {
			`{"ops":["any","all","max"],"array":{"values":[[true,false],[true,true]]},"axis":1}`,
			`{"any":[true,true],"all":[false,true],"max":[true,true]}`,
			`{"shape":[2],"ops":{"any":{"dtype":"bool","shape":[2]},"all":{"dtype":"bool","shape":[2]},"max":{"dtype":"bool","shape":[2]}},"warnings":[]}`,
			map[int64]string{0: `{"any":true,"all":false,"max":true}`},
		},
		"a sum beyond its dtype": {
			`{"ops":["sum","max"],"array":{"values":[9223372036854775807,9223372036854775807]}}`,
			`{"sum":18446744073709551614,"max":9223372036854775807}`,
			`{"shape":[],"ops":{"sum":{"dtype":"int64","shape":[],"exact":"18446744073709551614","overflow":{"count":1,"first_index":0,"dtype":"uint64"}},` +
				`"max":{"dtype":"int64","shape":[],"exact":"9223372036854775807"}},"warnings":[]}`, nil,
		},
		"some elements": {
			`{"ops":["mean","min","argmax","count"],"where":{"op":">","value":1},"missing":[9,-1],"array":{"values":[1,2,9,4]},"initial":{"min":3}}`,
			`{"mean":3.0,"min":2,"argmax":3,"count":2}`,
			`{"shape":[],"ops":{"mean":{"dtype":"float64","shape":[],"hex":"0x1.8p+01"},"min":{"dtype":"int64","shape":[]},` +
				`"argmax":{"dtype":"int64","shape":[]},"count":{"dtype":"int64","shape":[]}},"warnings":[]}`,
			map[int64]string{0: `{"mean":3.0,"min":2,"argmax":3,"count":2}`},
		},
		"a mask, and chunks of which nothing is used": {
			`{"ops":["sum","min"],"where":{"values":[false,false,true]},"array":{"values":[1,2,3],"chunks":1},"initial":{"sum":10}}`,
			`{"sum":13,"min":3}`,
			`{"shape":[],"ops":{"sum":{"dtype":"int64","shape":[]},"min":{"dtype":"int64","shape":[]}},"warnings":[]}`,
			map[int64]string{0: `{"sum":0,"min":null}`, 2: `{"sum":3,"min":3}`},
		},
		"weights for each column": {
			`{"ops":["sum","mean"],"weights":{"values":[1,3]},"array":{"values":[[1,2],[3,5]]},"axis":1}`,
			`{"sum":[7,18],"mean":[1.75,4.5]}`,
			`{"shape":[2],"ops":{"sum":{"dtype":"int64","shape":[2]},"mean":{"dtype":"float64","shape":[2]}},"warnings":[]}`,
			map[int64]string{1: `{"sum":18,"mean":4.5}`},
		},
		"weights of 0": {
			`{"ops":["mean"],"weights":{"values":[1,-1]},"array":{"values":[1,2]}}`,
			`{"mean":"NaN"}`,
			`{"shape":[],"ops":{"mean":{"dtype":"float64","shape":[],"hex":"NaN"}},` +
				`"warnings":["mean: a result is NaN: its weights add up to 0, or a number is infinite or NaN"]}`,
			nil,
		},
		"nothing": {
			`{"ops":["sum","mean","std"],"array":{"source":"zeros","shape":[0]}}`,
			`{"sum":0.0,"mean":"NaN","std":"NaN"}`,
			`{"shape":[],"ops":{"sum":{"dtype":"float64","shape":[],"hex":"0x0p+00"},"mean":{"dtype":"float64","shape":[],"hex":"NaN"},` +
				`"std":{"dtype":"float64","shape":[],"hex":"NaN"}},"warnings":["mean: mean of an empty slice","std: degrees of freedom <= 0"]}`, nil,
		},
		"degrees of freedom, and NaNs": {
			`{"ops":["var","nanmax"],"ddof":2,"dtype":"float32","array":{"values":[["NaN","NaN"]]},"axis":-1}`,
			`{"var":["NaN"],"nanmax":["NaN"]}`,
			`{"shape":[1],"ops":{"var":{"dtype":"float32","shape":[1],"hex":"NaN"},"nanmax":{"dtype":"float64","shape":[1],"hex":"NaN"}},` +
				`"warnings":["var: degrees of freedom <= 0","nanmax: all-NaN slice"]}`, nil,
		},
		"chunks without elements": {
			`{"ops":["min","argmin"],"array":{"source":"arange","shape":[4],"chunks":[[2,0,2]]}}`,
			`{"min":0,"argmin":0}`,
			`{"shape":[],"ops":{"min":{"dtype":"int64","shape":[]},"argmin":{"dtype":"int64","shape":[]}},"warnings":[]}`,
			map[int64]string{0: `{"min":0,"argmin":0}`, 1: `{"min":null,"argmin":null}`, 2: `{"min":2,"argmin":2}`},
		},
		"a result that is not shown": {
			`{"ops":["max"],"array":{"source":"arange","shape":[2000,2]},"axis":1}`, `null`,
			`{"shape":[2000],"ops":{"max":{"dtype":"int64","shape":[2000]}},"warnings":[]}`,
			map[int64]string{1999: `{"max":3999}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			items, out := run(t, plan(t, "array_reduce", tt.spec))
			if string(out.Value) != tt.result || string(out.Details) != tt.details {
				t.Errorf("got %s, %s\nwant %s, %s", out.Value, out.Details, tt.result, tt.details)
			}
			if !json.Valid(out.Details) {
				t.Errorf("details are not JSON: %s", out.Details)
			}
			for i, want := range tt.items {
				if got := string(items[i].Value); got != want {
					t.Errorf("item %d: got %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestArrayReduceFaults(t *testing.T) {
	for spec, pointers := range map[string][]string{
		`{"array":{"values":[1]}}`:                                                         {"/ops"},
		`{"ops":null,"array":{"values":[1]}}`:                                              {"/ops"},
		`{"ops":"mean","array":{"values":[1]}}`:                                            {"/ops"},
		`{"ops":[],"array":{"values":[1]}}`:                                                {"/ops"},
		`{"ops":["mean","Mean",1,null,"mean"],"array":{"values":[1]}}`:                     {"/ops/1", "/ops/2", "/ops/3", "/ops/4"},
		`{"ops":["mean"],"ddof":0.5,"array":{"values":[1]}}`:                               {"/ddof"},
		`{"ops":["mean"],"ddof":"1","array":{"values":[1]}}`:                               {"/ddof"},
		`{"ops":["min","sum","argmax"],"array":{"source":"ones","shape":[0]}}`:             {"/ops/0", "/ops/2"},
		`{"ops":["nanmax"],"array":{"source":"ones","shape":[0,3]},"axis":0}`:              {"/ops/0"},
		`{"ops":["argmin"],"array":{"source":"ones","shape":[2,2,2]},"axis":[0,1]}`:        {"/ops/0"},
		`{"ops":["sum","mean"],"dtype":"int8","array":{"values":[1]}}`:                     {"/dtype"},
		`{"ops":["mean"],"where":{"value":false},"array":{"values":[1]}}`:                  {"/where/op"},
		`{"ops":["mean"],"where":{"op":"=>"},"array":{"values":[1]}}`:                      {"/where/op", "/where/value"},
		`{"ops":["mean"],"where":{"op":">","value":0,"or":1},"array":{"values":[1]}}`:      {"/where/or"},
		`{"ops":["mean"],"where":{"op":">","value":[0]},"array":{"values":[1]}}`:           {"/where/value"},
		`{"ops":["mean"],"where":{"values":[1]},"array":{"values":[1]}}`:                   {"/where"},
		`{"ops":["mean"],"where":{"values":[true,true]},"array":{"values":[1]}}`:           {"/where"},
		`{"ops":["mean"],"where":{"source":"npy"},"array":{"values":[1]}}`:                 {"/where/name"},
		`{"ops":["mean"],"where":true,"array":{"values":[1]}}`:                             {"/where"},
		`{"ops":["mean"],"missing":{"valid":1},"array":{"values":[1]}}`:                    {"/missing/valid"},
		`{"ops":["mean"],"missing":{},"array":{"values":[1]}}`:                             {"/missing"},
		`{"ops":["mean"],"missing":[1,"x",null],"array":{"values":[1]}}`:                   {"/missing/1", "/missing/2"},
		`{"ops":["mean","std"],"weights":{"values":[1]},"array":{"values":[1]}}`:           {"/ops/1"},
		`{"ops":["mean"],"weights":{"values":[[1]]},"array":{"values":[1]}}`:               {"/weights"},
		`{"ops":["sum"],"dtype":"int8","weights":{"values":[0.5]},"array":{"values":[1]}}`: {"/dtype"},
		`{"ops":["mean","sum"],"initial":1,"array":{"values":[1]}}`:                        {"/initial"},
		`{"ops":["min"],"initial":0.5,"array":{"values":[1]}}`:                             {"/initial"},
		`{"ops":["min"],"initial":{"min":"x","max":1},"array":{"values":[1]}}`:             {"/initial/min", "/initial/max"},
		`{"ops":["mean"],"axis":2,"array":{"values":[1]}}`:                                 {"/axis"},
		`{"ops":["mean"]}`: {"/array"},
	} {
		_, _, err := kind.NewRegistry(kind.DefaultLimits(), nil).Plan(t.Context(), "acme", "array_reduce", []byte(spec))
		errs, ok := errors.AsType[*fields.Errors](err)
		if !ok {
			t.Errorf("%s: got error %v, want errors at %q", spec, err, pointers)
			continue
		}
		var got []string
		for _, e := range errs.List {
			got = append(got, e.Pointer)
		}
		if len(got) != len(pointers) {
			t.Errorf("%s: got errors at %q, want %q: %v", spec, got, pointers, err)
			continue
		}
		for i := range got {
			if got[i] != pointers[i] {
				t.Errorf("%s: got errors at %q, want %q", spec, got, pointers)
				break
			}
		}
	}
}

// An extreme of no elements fails the job, whether it is of a task or of all.
func TestExtremesOfNothing(t *testing.T) {
	for _, axis := range []string{"null", "0"} {
		p := plan(t, "array_reduce", `{"ops":["min"],"where":{"op":">","value":5},"array":{"values":[[1,2],[3,9]],"chunks":1},"axis":`+axis+`}`)
		_, out, err := tryRun(t, p)
		if nothing := errors.Is(err, chunked.ErrNothing); nothing != (axis == "0") {
			t.Errorf("axis %s: got %s and error %v, want 9 over all axes, and an error along axis 0", axis, out.Value, err)
		}
	}
}

// No specification of statistics panics, and what is accepted can be run.
func FuzzArrayReduce(f *testing.F) {
	f.Add([]byte(`{"ops":["mean","argmin"],"ddof":1,"axis":0,"array":{"values":[[1,2],[3,4]],"chunks":1}}`))
	f.Add([]byte(`{"ops":["min","sum"],"where":{"op":"<","value":1e30},"missing":{"valid_min":-1},"initial":1,"array":{"values":[1,2,-3]}}`))
	f.Add([]byte(`{"ops":["nanmean"],"weights":{"values":[2,0]},"where":{"values":[[true],[false]]},"array":{"values":[[1],[2]]},"axis":1}`))
	f.Add([]byte(`{"ops":["nanvar","norm","all"],"keepdims":true,"dtype":"float16","array":{"source":"random","shape":[3,0,2]}}`))
	f.Fuzz(func(t *testing.T, spec []byte) {
		limits := kind.DefaultLimits()
		limits.Chunks, limits.Outputs = 100, 100
		p, _, err := kind.NewRegistry(limits, nil).Plan(t.Context(), "acme", "array_reduce", spec)
		if err != nil || p.Size().Bytes > 1<<20 {
			return
		}
		_, out, err := tryRun(t, p)
		if errors.Is(err, chunked.ErrNothing) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		if !json.Valid(out.Value) || !json.Valid(out.Details) {
			t.Errorf("%s: got %s, %s, want JSON", spec, out.Value, out.Details)
		}
	})
}
