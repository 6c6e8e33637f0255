package kind_test

import (
	"fmt"
	"testing"

	"gather/internal/kind"
)

// TestSelectItems: the spec has the items that were kept, and the other members unchanged.
func TestSelectItems(t *testing.T) {
	r := kind.NewRegistry(kind.DefaultLimits(), nil)
	keep := func(i int64) bool { return i == 1 || i == 3 }
	for _, c := range []struct{ kind, spec, want string }{
		{"sleep_batch", `{"durations":["1ms","2ms",3,"4ms"],"concurrency":2}`, `{"durations":["2ms","4ms"],"concurrency":2}`},
		{"sleep_batch", `{"count":4,"duration":"5s"}`, `{"count":2,"duration":"5s"}`},
		{"sleep_batch", `{"count":2.0,"duration":"5s"}`, `{"count":1,"duration":"5s"}`},
		{"squares", `{"numbers":[1, -2.50 ,"NaN",1e300]}`, `{"numbers":[-2.50,1e300]}`},
		{"squares", `{"range":{"stop":9}}`, `{"numbers":[1,3]}`},
		{"squares", `{"range":{"start":100000000000000000000,"stop":0,"step":-1000000000000000000}}`, `{"numbers":[99000000000000000000,97000000000000000000]}`},
		{"squares", `{"numbers":[7]}`, `{"numbers":[]}`},
		{"http_batch", `{"requests":["http://a/0",{"url":"http://a/1","method":"PUT"},"http://a/2","http://a/3"],"rate":"5/s"}`, `{"requests":[{"url":"http://a/1","method":"PUT"},"http://a/3"],"rate":"5/s"}`},
		{"http_batch", `{"request":"http://a/{x}","for_each":[{"x":1},{"x":"b"},{"x":2}],"fail_fast":true}`, `{"request":"http://a/{x}","for_each":[{"x":"b"}],"fail_fast":true}`},
		{"http_batch", `{"request":{"url":"http://a/{i}?n={i}"},"range":{"start":10,"stop":50,"step":10}}`, `{"request":{"url":"http://a/{i}?n={i}"},"for_each":[{"i":20},{"i":40}]}`},
	} {
		got, ok := r.SelectItems(c.kind, []byte(c.spec), keep)
		if !ok || string(got) != c.want {
			t.Errorf("%s %s: %s, %t; want %s", c.kind, c.spec, got, ok, c.want)
		}
		none, _ := r.SelectItems(c.kind, []byte(c.spec), func(int64) bool { return false })
		if c.kind != "http_batch" { // which is off
			for _, spec := range [][]byte{got, none} {
				if err := r.Validate(t.Context(), "t", c.kind, spec); err != nil {
					t.Errorf("%s: %v", spec, err)
				}
			}
		}
	}
	for _, k := range []string{"array_sum", "array_reduce"} {
		if got, ok := r.SelectItems(k, []byte(`{"array":{"source":"ones"}}`), keep); ok {
			t.Errorf("%s has items: %s", k, fmt.Sprint(string(got)))
		}
	}
}
