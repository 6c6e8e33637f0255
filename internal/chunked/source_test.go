package chunked_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"gather/internal/chunked"
)

// elements reads n elements from lo as bytes.
func elements(tb testing.TB, a *chunked.Array, lo, n int64) []byte {
	tb.Helper()
	b := make([]byte, 8*n+16)[:n*int64(a.DType().Size())] // large enough to be aligned to 8 bytes
	if err := a.Source().Fill(context.Background(), b, lo); err != nil {
		tb.Fatal(err)
	}
	return b
}

// word returns the bits of element i.
func word(b []byte, size, i int) uint64 {
	var w [8]byte
	copy(w[:], b[i*size:(i+1)*size])
	return binary.LittleEndian.Uint64(w[:])
}

// TestSourcesAreNumPys compares every bit with NumPy; see testdata/golden.py.
func TestSourcesAreNumPys(t *testing.T) {
	var cases []struct {
		Array json.RawMessage
		Shape chunked.Shape
		DType string
		Bits  []string
	}
	golden(t, "sources.json", &cases)
	for _, c := range cases {
		a := parse(t, string(c.Array))
		if a.DType().String() != c.DType || a.Shape().String() != c.Shape.String() {
			t.Errorf("%s: got %s of %s, want %s of %s", c.Array, a.Shape(), a.DType(), c.Shape, c.DType)
			continue
		}
		b := elements(t, a, 0, a.Elements())
		for i, want := range c.Bits {
			if got := strconv.FormatUint(word(b, a.DType().Size(), i), 16); got != want {
				t.Errorf("%s: element %d is %s, want %s", c.Array, i, got, want)
			}
		}
	}
}

var generated = []string{
	`{"source":"ones","shape":[999]}`,
	`{"source":"full","shape":[999],"fill_value":-7,"dtype":"int16"}`,
	`{"source":"arange","stop":999}`,
	`{"source":"arange","start":-100,"stop":27,"step":1,"dtype":"int8"}`,
	`{"source":"arange","start":0.5,"step":0.1,"shape":[999]}`,
	`{"source":"arange","start":0.5,"step":0.1,"shape":[999],"dtype":"float32"}`,
	`{"source":"linspace","start":-1,"stop":3,"num":999,"dtype":"float16"}`,
	`{"source":"random","shape":[999],"seed":1}`,
	`{"source":"random","shape":[999],"seed":1,"dtype":"float32"}`,
	`{"source":"random","shape":[999],"seed":18446744073709551615,"dtype":"float16"}`,
	`{"source":"random","shape":[999],"distribution":"normal","loc":5,"scale":2.5}`,
	`{"source":"random","shape":[999],"distribution":"integers","low":-5,"high":6}`,
	`{"source":"random","shape":[999],"distribution":"integers","high":18446744073709551616,"dtype":"uint64"}`,
	`{"source":"random","shape":[999],"distribution":"integers","low":-128,"high":128,"dtype":"int8"}`,
}

// TestElementsDependOnTheirIndexAlone fills one range as a whole and in pieces.
func TestElementsDependOnTheirIndexAlone(t *testing.T) {
	for _, description := range generated {
		a := parse(t, description)
		whole := elements(t, a, 0, a.Elements())
		for _, piece := range []int64{1, 2, 7, 100} {
			var got []byte
			for lo := int64(0); lo < a.Elements(); lo += piece {
				got = append(got, elements(t, a, lo, min(piece, a.Elements()-lo))...)
			}
			if !bytes.Equal(got, whole) {
				t.Errorf("%s: pieces of %d differ from the whole", description, piece)
			}
		}
	}
}

// TestRandomStream pins the streams, because a seed must have the same elements in every version. The values were
// computed independently, from the definition of SplitMix64 and with inv_cdf of Python's statistics.NormalDist, which
// is AS 241 too.
func TestRandomStream(t *testing.T) {
	for description, want := range map[string][]uint64{
		`{"source":"random","shape":3,"seed":0}`:                                                        {0x3fe4e0dba5e9a32f, 0x3fe6705460be8829, 0x3fd8c6a4553eeafc},
		`{"source":"random","shape":3,"seed":7,"distribution":"normal"}`:                                {0x3fe2cb6377a80d3f, 0x3fd89c03ab5f0985, 0x3fbfc3c1523a25c0},
		`{"source":"random","shape":3,"seed":7,"distribution":"integers","low":0,"high":1000000000000}`: {0xa7fd3d227c, 0x9745656c54, 0x7fe942f0b7},
	} {
		a := parse(t, description)
		b := elements(t, a, 0, 3)
		for i, w := range want {
			if got := word(b, 8, i); got != w {
				t.Errorf("%s: element %d is %#x, want %#x", description, i, got, w)
			}
		}
	}
}

// TestRandomMoments compares mean and variance of a million elements with the distribution's, at five sigma or more.
func TestRandomMoments(t *testing.T) {
	const n = 1_000_000
	for _, test := range []struct {
		fields         string
		mean, variance float64
		low, high      float64
	}{
		{`"seed":3`, 0.5, 1. / 12, 0, 1},
		{`"seed":4,"distribution":"normal"`, 0, 1, -6, 6},
		{`"seed":5,"distribution":"normal","loc":10,"scale":3`, 10, 9, -8, 28},
	} {
		a := parse(t, fmt.Sprintf(`{"source":"random","shape":%d,%s}`, n, test.fields))
		b := elements(t, a, 0, n)
		var sum, squares float64
		for i := range n {
			v := math.Float64frombits(word(b, 8, i))
			if v < test.low || v >= test.high {
				t.Fatalf("%s: element %d is %v", test.fields, i, v)
			}
			sum += v
			squares += (v - test.mean) * (v - test.mean)
		}
		if d := sum/n - test.mean; math.Abs(d) > 5*math.Sqrt(test.variance/n) {
			t.Errorf("%s: the mean is off by %v", test.fields, d)
		}
		if d := squares/n/test.variance - 1; math.Abs(d) > 0.01 {
			t.Errorf("%s: the variance is off by %v", test.fields, d)
		}
	}
	// Each of eleven integers is equally frequent: chi squared with ten degrees of freedom.
	a := parse(t, fmt.Sprintf(`{"source":"random","shape":%d,"distribution":"integers","low":-5,"high":6,"dtype":"int8"}`, n))
	counts := map[int8]float64{}
	for _, v := range elements(t, a, 0, n) {
		counts[int8(v)]++
	}
	chi := 0.0
	for v := int8(-5); v < 6; v++ {
		d := counts[v] - n/11.
		chi += d * d / (n / 11.)
	}
	if len(counts) != 11 || chi > 40 {
		t.Errorf("got %v, chi squared %v", counts, chi)
	}
}

func TestArrayFaults(t *testing.T) {
	type fieldError struct{ pointer, detail string }
	tests := map[string][]fieldError{
		``:                                   {{"", "is not an object"}},
		`[]`:                                 {{"", "is not an object"}},
		`{}`:                                 {{"/source", "write one of ones"}},
		`{"source":"one"}`:                   {{"/source", "use one of ones"}},
		`{"source":"ones"}`:                  {{"/shape", "is missing"}},
		`{"source":"ones","shape":null}`:     {{"/shape", "is missing"}},
		`{"source":null}`:                    {{"/source", "is missing"}},
		`{"source":"ones","shape":"3"}`:      {{"/shape", "is not a length"}},
		`{"source":"ones","shape":[-1]}`:     {{"/shape/0", "is -1: a length is 0 or more"}},
		`{"source":"ones","shape":[1,1e-3]}`: {{"/shape/1", "a length is an integer"}},
		`{"source":"ones","shape":[1,-2.0]}`: {{"/shape/1", "is -2.0: a length is 0 or more"}},
		`{"source":"ones","shape":[1,2e30]}`: {{"/shape/1", "the limit is 1125899906842624 elements"}},
		`{"source":"full","shape":[1],"fill_value":18446744073709551616}`:              {{"/fill_value", "float64"}},
		`{"source":"full","shape":[1],"fill_value":-9223372036854775809}`:              {{"/fill_value", "float64"}},
		`{"source":"arange","start":18446744073709551615,"stop":18446744073709551617}`: {{"/dtype", "float64"}},
		`{"source":"ones","shape":[2],"fil_value":null}`:                               {{"/fil_value", "not a field"}},
		`{"source":"ones","shape":[1,99999999999999999999]}`:                           {{"/shape/1", "the limit is 1125899906842624 elements"}},
		`{"source":"ones","shape":[4294967296,4294967296]}`:                            {{"/shape", "more than 2^63 elements; the limit is"}},
		`{"source":"ones","shape":[0,4294967296,4294967296]}`:                          {{"/shape", "more than 2^63 elements; the limit is"}},
		`{"source":"ones","shape":[2251799813685248]}`:                                 {{"/shape", "the limit is 1125899906842624 elements"}},
		`{"source":"ones","shape":[` + strings.Repeat("1,", 69) + `1]}`:                {{"/shape", "has 70 dimensions; the limit is 64 dimensions"}},
		`{"source":"ones","shape":[2],"dtype":"f8"}`:                                   {{"/dtype", "float16, float32, float64"}},
		`{"source":"ones","shape":[2],"fill_value":1,"x/y":2}`:                         {{"/fill_value", "not a field"}, {"/x~1y", "not a field"}},
		`{"source":"ones","shape":[2],"shape":[3]}`:                                    {{"/shape", "twice"}},
		`{"source":"ones","shape":[-2,2.5],"dtype":"int128","chunks":[1,"x"],"sed":1}`: {{"/dtype", ""}, {"/shape/0", ""}, {"/shape/1", ""}, {"/chunks/1", ""}, {"/sed", ""}},
		`{"source":"full","shape":[2]}`:                                                {{"/fill_value", "is missing"}},
		`{"source":"full","shape":[2],"fill_value":300,"dtype":"int8"}`:                {{"/fill_value", "does not fit int8"}},
		`{"source":"full","shape":[2],"fill_value":2.5,"dtype":"int8"}`:                {{"/fill_value", "is not an integer"}},
		`{"source":"full","shape":[2],"fill_value":1e400}`:                             {{"/fill_value", "beyond float64"}},
		`{"source":"full","shape":[2],"fill_value":1e39,"dtype":"float32"}`:            {{"/fill_value", "beyond float32"}},
		`{"source":"full","shape":[2],"fill_value":65520,"dtype":"float16"}`:           {{"/fill_value", "beyond float16"}},
		`{"source":"full","shape":[2],"fill_value":"nan"}`:                             {{"/fill_value", `"NaN"`}},
		`{"source":"full","shape":[2],"fill_value":2,"dtype":"bool"}`:                  {{"/fill_value", "true or false"}},
		`{"source":"arange"}`:                                                                  {{"/stop", "is missing"}},
		`{"source":"arange","stop":5,"step":0}`:                                                {{"/step", "is 0"}},
		`{"source":"arange","stop":5,"step":0.0}`:                                              {{"/step", "is 0"}},
		`{"source":"arange","stop":5,"shape":[2,3]}`:                                           {{"/shape", "has 6 elements, but stop makes 5"}},
		`{"source":"arange","stop":300,"dtype":"uint8"}`:                                       {{"/dtype", "299 does not fit uint8"}},
		`{"source":"arange","stop":5.5,"dtype":"int64"}`:                                       {{"/dtype", "is not an integer"}},
		`{"source":"arange","stop":5,"dtype":"bool"}`:                                          {{"/dtype", "is bool"}},
		`{"source":"arange","stop":"Infinity"}`:                                                {{"/stop", "finite"}},
		`{"source":"arange","stop":1e300}`:                                                     {{"/stop", "the limit is"}},
		`{"source":"arange","stop":1` + strings.Repeat("0", 50) + `}`:                          {{"/stop", "beyond every integer"}},
		`{"source":"linspace","start":1}`:                                                      {{"/stop", "is missing"}},
		`{"source":"linspace","start":1,"stop":2,"num":-1}`:                                    {{"/num", "is -1"}},
		`{"source":"linspace","start":1,"stop":2,"dtype":"int64"}`:                             {{"/dtype", "arange"}},
		`{"source":"linspace","start":1,"stop":2,"endpoint":1}`:                                {{"/endpoint", "true or false"}},
		`{"source":"random","shape":[2],"seed":-1}`:                                            {{"/seed", "2^64-1"}},
		`{"source":"random","shape":[2],"seed":true}`:                                          {{"/seed", "2^64-1"}},
		`{"source":"random","shape":[2],"distribution":"cauchy"}`:                              {{"/distribution", "uniform, normal"}},
		`{"source":"random","shape":[2],"dtype":"int64"}`:                                      {{"/dtype", `"integers"`}},
		`{"source":"random","shape":[2],"distribution":"normal","scale":-1}`:                   {{"/scale", "is -1"}},
		`{"source":"random","shape":[2],"low":5}`:                                              {{"/low", "not a field"}},
		`{"source":"random","shape":[2],"distribution":"integers"}`:                            {{"/high", "is missing"}},
		`{"source":"random","shape":[2],"distribution":"integers","low":3,"high":3}`:           {{"/high", "not above low"}},
		`{"source":"random","shape":[2],"distribution":"integers","high":257,"dtype":"uint8"}`: {{"/dtype", "256 does not fit uint8"}},
		`{"source":"values"}`:                                                                  {{"/values", "is missing"}},
		`{"values":[[1,2],[3]]}`:                                                               {{"/values/1", "has 1 entries where the others have 2"}},
		`{"values":[[1,2],3]}`:                                                                 {{"/values/1", "is an element where the others are lists"}},
		`{"values":[1,[2]]}`:                                                                   {{"/values/1", "is a list where the others are elements"}},
		`{"values":[[],[1]]}`:                                                                  {{"/values/1", "has 1 entries where the others have 0"}},
		`{"values":[1,null,"x",{}]}`:                                                           {{"/values/1", "is not an element"}, {"/values/2", "is not an element"}, {"/values/3", "is not an element"}},
		`{"values":[[1,300],[2,-1]],"dtype":"uint8"}`:                                          {{"/values/0/1", "300 does not fit uint8"}, {"/values/1/1", "-1 does not fit"}},
		`{"values":[18446744073709551616]}`:                                                    {{"/values/0", "float64"}},
		`{"values":[9223372036854775808,-1]}`:                                                  {{"/values/0", "float64"}},
		`{"values":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`:                 {{"/values" + strings.Repeat("/0", 64), "the limit is 64 dimensions"}},
		`{"values":[1,2],"shape":[3]}`:                                                         {{"/shape", "omit the shape"}},
		`{"source":"npy"}`:                                                                     {{"/name", "is missing"}},
		`{"source":"npy","name":"a"}`:                                                          {{"/source", "has no stored arrays"}},
		`{"source":"npy","name":"a","url":"b"}`:                                                {{"/url", "omit one"}},
		`{"source":"npy","name":"a","shape":[2]}`:                                              {{"/source", ""}, {"/shape", "not a field"}},
	}
	for description, want := range tests {
		a, errs := parseArray([]byte(description), chunked.Options{})
		good := a == nil && len(errs) == len(want)
		for i := range min(len(errs), len(want)) {
			good = good && errs[i].Pointer == want[i].pointer && strings.Contains(errs[i].Detail, want[i].detail)
		}
		if !good {
			t.Errorf("%.100s: got %q, want %q", description, errs, want)
		}
	}
}

// A null member has its default; a number without a fractional part is an integer; integers that only uint64 holds are
// uint64 unless a dtype is set.
func TestDefaults(t *testing.T) {
	for description, same := range map[string]string{
		`{"source":"ones","shape":[3],"chunks":null,"dtype":null}`:                                                           `{"source":"ones","shape":[3]}`,
		`{"source":null,"values":[1,2],"shape":null,"dtype":null,"name":null,"fill_value":null,"endpoint":null,"high":null}`: `{"values":[1,2]}`,
		`{"source":"full","shape":2.0,"fill_value":2.0,"dtype":"int8"}`:                                                      `{"source":"full","shape":[2],"fill_value":2,"dtype":"int8"}`,
		`{"values":[[2.0],[-1e2]],"dtype":"int16"}`:                                                                          `{"values":[[2],[-100]],"dtype":"int16"}`,
		`{"source":"arange","start":null,"stop":7,"step":null}`:                                                              `{"source":"arange","stop":7}`,
		`{"source":"arange","start":1.0,"stop":7e0,"step":2.0,"dtype":"int32"}`:                                              `{"source":"arange","start":1,"stop":7,"step":2,"dtype":"int32"}`,
		`{"source":"linspace","start":1,"stop":7,"num":null,"endpoint":null}`:                                                `{"source":"linspace","start":1,"stop":7}`,
		`{"source":"linspace","start":1,"stop":7,"num":5.0}`:                                                                 `{"source":"linspace","start":1,"stop":7,"num":5}`,
		`{"source":"random","shape":[3],"seed":null,"distribution":null}`:                                                    `{"source":"random","shape":[3]}`,
		`{"source":"random","shape":[3],"seed":7.0}`:                                                                         `{"source":"random","shape":[3],"seed":7}`,
		`{"source":"random","shape":[3],"distribution":"normal","loc":null,"scale":null}`:                                    `{"source":"random","shape":[3],"distribution":"normal"}`,
		`{"source":"random","shape":[3],"distribution":"integers","low":null,"high":9.0}`:                                    `{"source":"random","shape":[3],"distribution":"integers","high":9}`,
		`{"source":"full","shape":[2],"fill_value":9223372036854775808}`:                                                     `{"values":[9223372036854775808,9223372036854775808]}`,
		`{"source":"arange","start":9223372036854775808,"stop":9223372036854775810}`:                                         `{"values":[9223372036854775808,9223372036854775809]}`,
		`{"source":"arange","start":18446744073709551615,"stop":0,"step":-9223372036854775807}`:                              `{"values":[18446744073709551615,9223372036854775808,1],"dtype":"uint64"}`,
		`{"source":"arange","start":-9223372036854775808,"stop":9223372036854775808,"step":` + "9223372036854775807}":        `{"values":[-9223372036854775808,-1,9223372036854775806]}`,
		`{"source":"random","shape":[3],"distribution":"integers","high":18446744073709551616}`:                              `{"source":"random","shape":[3],"distribution":"integers","high":18446744073709551616,"dtype":"uint64"}`,
		`{"source":"random","shape":[3],"distribution":"integers","high":9223372036854775808}`:                               `{"source":"random","shape":[3],"distribution":"integers","high":9223372036854775808,"dtype":"int64"}`,
	} {
		a, b := parse(t, description), parse(t, same)
		if a.DType() != b.DType() || a.Shape().String() != b.Shape().String() {
			t.Errorf("%s: got %s of %s, want %s of %s", description, a.Shape(), a.DType(), b.Shape(), b.DType())
			continue
		}
		if got, want := elements(t, a, 0, a.Elements()), elements(t, b, 0, b.Elements()); !bytes.Equal(got, want) {
			t.Errorf("%s: elements %x, want %x", description, got, want)
		}
	}
}

// TestErrorsAreBounded tests that a million invalid elements do not cause a million errors.
func TestErrorsAreBounded(t *testing.T) {
	_, errs := parseArray([]byte(`{"values":[`+strings.Repeat("null,", 1e6)+`1]}`), chunked.Options{})
	if len(errs) == 0 || len(errs) > 100 {
		t.Errorf("got %d errs", len(errs))
	}
}

func TestSpecialValues(t *testing.T) {
	a := parse(t, `{"values":["NaN","Infinity","-Infinity",-0.0]}`)
	b := elements(t, a, 0, 4)
	got := []float64{}
	for i := range 4 {
		got = append(got, math.Float64frombits(word(b, 8, i)))
	}
	if !math.IsNaN(got[0]) || !reflect.DeepEqual(got[1:3], []float64{math.Inf(1), math.Inf(-1)}) || !math.Signbit(got[3]) {
		t.Errorf("got %v", got)
	}
}

// FuzzParseArray tests that no description panics or uses memory proportional to its shape, and that parsing is a pure
// function.
func FuzzParseArray(f *testing.F) {
	for _, description := range generated {
		f.Add([]byte(description))
	}
	f.Add([]byte(`{"source":"ones","shape":[1000000,1000000],"chunks":"auto"}`))
	f.Add([]byte(`{"values":[[1,2.5,true],["NaN",-0,1e9]],"chunks":[1,[2,1]]}`))
	f.Add([]byte(`{"source":"npy","url":"s3:\/\/b\u00e9/x.npy"}`))
	f.Fuzz(func(t *testing.T, description []byte) {
		a, errs := parseArray(description, chunked.Options{Limits: chunked.Limits{Chunks: 1e4}})
		_, again := parseArray(bytes.Clone(description), chunked.Options{Limits: chunked.Limits{Chunks: 1e4}})
		if !reflect.DeepEqual(errs, again) {
			t.Fatalf("first %q, then %q", errs, again)
		}
		if (a == nil) == (len(errs) == 0) {
			t.Fatalf("array %v and errors %q", a, errs)
		}
		for _, e := range errs {
			if e.Detail == "" || e.Pointer != "" && e.Pointer[0] != '/' {
				t.Fatalf("invalid error %q", e)
			}
		}
		if a != nil && a.Elements() > 0 {
			elements(t, a, a.Elements()-1, 1)
		}
	})
}

// FuzzValues compares with encoding/json: a regular nested list of numbers has the same shape and values.
func FuzzValues(f *testing.F) {
	for _, v := range []string{`[1,2,3]`, `[[1.5,-2],[3e10,4]]`, `[[],[]]`, `7`, `[[[0]]]`, `[1,[2]]`, `[true]`, `[1,]`} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, errs := parseArray([]byte(`{"dtype":"float64","values":`+string(raw)+`}`), chunked.Options{})
		var tree any
		if err := json.Unmarshal(raw, &tree); err != nil || len(errs) > 0 {
			return // invalid JSON may be accepted, but must not panic
		}
		b := elements(t, a, 0, a.Elements())
		i := 0
		var walk func(v any, shape chunked.Shape)
		walk = func(v any, shape chunked.Shape) {
			list, isList := v.([]any)
			if isList != (len(shape) > 0) || isList && int64(len(list)) != shape[0] {
				t.Fatalf("%q has not shape %s", raw, a.Shape())
			}
			for _, e := range list {
				walk(e, shape[1:])
			}
			if f, ok := v.(float64); ok && word(b, 8, i) != math.Float64bits(f) {
				t.Fatalf("element %d of %q is %#x, want %v", i, raw, word(b, 8, i), f)
			}
			if !isList {
				i++
			}
		}
		walk(tree, a.Shape())
	})
}
