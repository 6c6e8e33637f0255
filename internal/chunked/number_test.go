package chunked_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os/exec"
	"strings"
	"testing"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/npy"
)

// total sums an array with the default task sizes.
func total(tb testing.TB, a *chunked.Array, axis, keepDims, dtype string) *chunked.Result {
	tb.Helper()
	p, errs := newPlan(a, reduction(tb, a, axis, keepDims, dtype), chunked.Limits{})
	if len(errs) > 0 {
		tb.Fatal(errs)
	}
	r, w := p.NewReducer(), chunked.NewWorker()
	for task := range p.Tasks() {
		partial, err := p.Run(context.Background(), w, task, nil, nil)
		if err != nil {
			tb.Fatal(err)
		}
		if err := r.Add(task, partial); err != nil {
			tb.Fatal(err)
		}
	}
	res, err := r.Result()
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

func TestResultLiterals(t *testing.T) {
	for _, test := range []struct{ array, axis, dtype, want string }{
		{`{"source":"ones","shape":[1000,1000],"chunks":[100,100]}`, "", "", "1000000.0"},
		{`{"source":"ones","shape":[1000,1000],"dtype":"int8"}`, "", "", "1000000"},
		{`{"values":[]}`, "", "", "0.0"},
		{`{"values":[],"dtype":"uint8"}`, "", "", "0"},
		{`{"values":5}`, "", "", "5"},
		{`{"values":[true,true,false]}`, "", "", "2"},
		{`{"values":[0.1,0.2]}`, "", "", "0.30000000000000004"},
		{`{"values":[0.1,0.2,0.3]}`, "", "", "0.6"},
		{`{"values":[1e308,1e308,-1e308]}`, "", "", "1e+308"},
		{`{"values":[1e308,1e308]}`, "", "", `"Infinity"`},
		{`{"values":[-1e308,-1e308]}`, "", "", `"-Infinity"`},
		{`{"values":["Infinity","-Infinity"]}`, "", "", `"NaN"`},
		{`{"values":["Infinity",1]}`, "", "", `"Infinity"`},
		{`{"values":[-0.0,-0.0]}`, "", "", "-0.0"},
		{`{"values":[1e16]}`, "", "", "1e+16"},
		{`{"values":[9007199254740993.0]}`, "", "", "9007199254740992.0"},
		{`{"values":[1e-4,0]}`, "", "", "0.0001"},
		{`{"values":[1e-5,0]}`, "", "", "1e-05"},
		{`{"values":[5e-324]}`, "", "", "5e-324"},
		{`{"values":[0.1],"dtype":"float32"}`, "", "", "0.10000000149011612"},
		{`{"values":[123456789],"dtype":"float32"}`, "", "", "123456792.0"},
		{`{"values":[16777216,16777216,16777216],"dtype":"float32"}`, "", "", "50331648.0"},
		{`{"values":[[16777216,1],[16777216,33000],[16777216,0]]}`, "0", `"float32"`, "[50331648.0,33001.0]"},
		{`{"values":[33000],"dtype":"float16"}`, "", "", "32992.0"},
		{`{"values":[[33000,0.1],[0,0]]}`, "0", `"float16"`, "[32992.0,0.0999755859375]"},
		{`{"values":[3.4e38,3.4e38],"dtype":"float32"}`, "", "", `"Infinity"`},
		{`{"values":[3.4e38,3.4e38],"dtype":"float32"}`, "", `"float64"`, "6.7999999042887285e+38"},
		{`{"values":[0.1],"dtype":"float16"}`, "", "", "0.0999755859375"},
		{`{"values":[2049],"dtype":"float16"}`, "", "", "2048.0"},
		{`{"values":[6e-8],"dtype":"float16"}`, "", "", "5.960464477539063e-08"},
		{`{"values":[65504,65504],"dtype":"float16"}`, "", "", `"Infinity"`},
		{`{"values":[9223372036854775807,9223372036854775807]}`, "", "", "18446744073709551614"},
		{`{"values":[-9223372036854775808,-1]}`, "", "", "-9223372036854775809"},
		{`{"values":[18446744073709551615,18446744073709551615]}`, "", "", "36893488147419103230"},
		{`{"values":[-5,2]}`, "", `"uint8"`, "-3"},
		{`{"values":[[1,2],[3,4]]}`, "0", "", "[4,6]"},
		{`{"values":[[1,2],[3,4]]}`, "-1", `"float32"`, "[3.0,7.0]"},
		{`{"values":[[1,2],[3,4]]}`, "[]", "", "[[1,2],[3,4]]"},
		{`{"values":[[9223372036854775807,2],[1,4]]}`, "0", "", "[9223372036854775808,6]"},
		{`{"source":"ones","shape":[2,0,3]}`, "1", "", "[[0.0,0.0,0.0],[0.0,0.0,0.0]]"},
		{`{"source":"ones","shape":[2,0,3]}`, "0", "", "[]"},
	} {
		res := total(t, parse(t, test.array), test.axis, "", test.dtype)
		if got := string(res.AppendJSON(nil)); got != test.want {
			t.Errorf("%s axis %s: got %s, want %s", test.array, test.axis, got, test.want)
		}
	}
}

// TestEveryFloat16 prints every binary16 value and parses it.
func TestEveryFloat16(t *testing.T) {
	const n = 1 << 16
	data := make([]byte, 128, 128+2*n)
	for i := range n {
		data = append(data, byte(i), byte(i>>8))
	}
	h := npy.Header{Type: npy.Type{Kind: 'f', Size: 2}, Shape: []int64{n}, Offset: 128}
	a, errs := parseArray([]byte(`{"source":"npy","name":"a"}`), chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
		return chunked.Stored{Header: h, Reader: bytes.NewReader(data)}, nil
	}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	printed := total(t, a, "[]", "", "").AppendJSON(nil)
	again := parse(t, `{"dtype":"float16","values":`+string(printed)+`}`)
	for _, wide := range []string{`"float32"`, `"float64"`} {
		exact := total(t, a, "[]", "", wide).AppendJSON(nil)
		if b := elements(t, parse(t, `{"dtype":"float16","values":`+string(exact)+`}`), 0, n); !bytes.Equal(b, elements(t, again, 0, n)) {
			t.Errorf("the round trip through %s changed elements", wide)
		}
	}
	for i, got := range elements(t, again, 0, n) {
		want := data[128+i]
		if nan := i/2&0x7fff > 0x7c00; nan {
			continue
		}
		if got != want {
			t.Fatalf("byte %d is %#x, want %#x", i, got, want)
		}
	}
}

func TestKeepDims(t *testing.T) {
	a := parse(t, `{"source":"ones","shape":[2,3,4],"dtype":"int8"}`)
	for axis, want := range map[string][2]string{
		"":       {"(1, 1, 1)", "[[[24]]]"},
		"null":   {"(1, 1, 1)", "[[[24]]]"},
		"1":      {"(2, 1, 4)", "[[[3,3,3,3]],[[3,3,3,3]]]"},
		"[0,-1]": {"(1, 3, 1)", "[[[8],[8],[8]]]"},
	} {
		res := total(t, a, axis, "true", "")
		if res.Shape().String() != want[0] || string(res.AppendJSON(nil)) != want[1] {
			t.Errorf("axis %s: got %s %s", axis, res.Shape(), res.AppendJSON(nil))
		}
	}
}

// Axis 0 and -1 are valid for an array without axes, as in NumPy, but not in a list. keepdims adds no axis.
func TestAxisOfScalar(t *testing.T) {
	a := parse(t, `{"values":5}`)
	for _, axis := range []string{"", "null", "0", "-1", "-1.0", "[]"} {
		for _, keepDims := range []string{"", "null", "false", "true"} {
			res := total(t, a, axis, keepDims, "null")
			if got := res.Shape().String() + string(res.AppendJSON(nil)); got != "()5" {
				t.Errorf("axis %q, keepdims %q: got %s, want ()5", axis, keepDims, got)
			}
		}
	}
	for _, axis := range []string{"1", "-2", "[0]", "[-1]"} {
		_, errs := parseReduction([]byte(axis), nil, nil, a)
		if len(errs) != 1 || !strings.Contains(errs[0].Detail, "the array has 0 axes: omit it") {
			t.Errorf("axis %s: got %q, want one error", axis, errs)
		}
	}
}

func TestReductionErrors(t *testing.T) {
	floats := parse(t, `{"source":"ones","shape":[2,3]}`)
	for _, test := range []struct{ axis, keepDims, dtype, pointer, detail string }{
		{"2", "", "", "/axis", "write -2 to 1"},
		{"-3", "", "", "/axis", "write -2 to 1"},
		{"[0,5]", "", "", "/axis/1", "the array has 2 axes"},
		{"[1,-1]", "", "", "/axis/1", "repeats axis 1"},
		{`"0"`, "", "", "/axis", "is not an axis"},
		{"1.5", "", "", "/axis", "is not an axis"},
		{"[0,null]", "", "", "/axis/1", "is not an axis"},
		{"", "1", "", "/keepdims", "true or false"},
		{"", "", `"int64"`, "/dtype", "float dtype"},
		{"", "", `"bool"`, "/dtype", "cannot hold a sum"},
		{"", "", `"double"`, "/dtype", "use one of"},
		{"", "", `5`, "/dtype", "in quotes"},
	} {
		raw := func(s string) []byte {
			if s == "" {
				return nil
			}
			return []byte(s)
		}
		_, errs := parseReduction(raw(test.axis), raw(test.keepDims), raw(test.dtype), floats)
		if len(errs) != 1 || errs[0].Pointer != test.pointer || !strings.Contains(errs[0].Detail, test.detail) {
			t.Errorf("%+v: got %q", test, errs)
		}
	}
	_, errs := newPlan(floats, reduction(t, floats, "0", "", ""), chunked.Limits{Outputs: 2})
	if len(errs) != 1 || errs[0].Pointer != "/axis" || !strings.Contains(errs[0].Detail, "the limit is 2 outputs") {
		t.Errorf("got %q", errs)
	}
}

func TestNumberForms(t *testing.T) {
	n := total(t, parse(t, `{"values":[1.5]}`), "", "", "").At(0)
	if n.Int() != nil || n.Float64() != 1.5 {
		t.Errorf("got %v, %v, want no integer and 1.5", n.Int(), n.Float64())
	}
	n = total(t, parse(t, `{"values":["NaN"]}`), "", "", "").At(0)
	if got := n.Float64(); !math.IsNaN(got) {
		t.Errorf("got %v, want NaN", got)
	}
	n = total(t, parse(t, `{"values":[-9223372036854775808,-1]}`), "", "", "").At(0)
	if n.Int().String() != "-9223372036854775809" || n.Float64() != -0x1p63 {
		t.Errorf("got %v, %v", n.Int(), n.Float64())
	}
	n = total(t, parse(t, `{"values":[18446744073709551615]}`), "", "", "").At(0)
	if n.Int().String() != "18446744073709551615" || n.Float64() != 0x1p64 || n.DType() != chunked.Uint64 {
		t.Errorf("got %v, %v", n.Int(), n.Float64())
	}
}

func TestWriteNPY(t *testing.T) {
	var b bytes.Buffer
	res := total(t, parse(t, `{"values":[[1,2],[3,-4]]}`), "0", "", `"int16"`)
	if err := res.WriteNPY(&b); err != nil {
		t.Fatal(err)
	}
	h, err := npy.ParseHeader(&b)
	if err != nil || h.Type.String() != "i2" || res.Len() != 2 || !bytes.Equal(b.Bytes(), []byte{4, 0, 0xfe, 0xff}) {
		t.Errorf("got %+v, %v, %v", h, b.Bytes(), err)
	}
	for _, test := range []struct{ array, dtype string }{
		{`{"values":[9223372036854775807,1]}`, ""},
		{`{"values":[127,1]}`, `"int8"`},
		{`{"values":[-1]}`, `"uint64"`},
		{`{"values":[255,1]}`, `"uint8"`},
	} {
		b.Reset()
		if err := total(t, parse(t, test.array), "", "", test.dtype).WriteNPY(&b); !errors.Is(err, chunked.ErrRange) || b.Len() > 0 {
			t.Errorf("%+v: got %v after %d bytes", test, err, b.Len())
		}
	}
}

// TestNumPyLoadsResults runs where NumPy is installed.
func TestNumPyLoadsResults(t *testing.T) {
	const python = "/usr/bin/python3"
	if exec.CommandContext(t.Context(), python, "-c", "import numpy").Run() != nil {
		t.Skip("no numpy")
	}
	var b bytes.Buffer
	if err := total(t, parse(t, `{"source":"linspace","start":0,"stop":1,"num":6,"shape":[2,3]}`), "1", "", "").WriteNPY(&b); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", "import sys,io,numpy; a=numpy.load(io.BytesIO(sys.stdin.buffer.read())); print(a.dtype, a.shape, a.tolist())")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "float64 (2,) [0.6000000000000001, 2.4000000000000004]\n" {
		t.Errorf("got %s, %v", out, err)
	}
}

// failing is a reader whose data ends early, or that fails.
type failing struct{ err error }

func (f failing) ReadAt(p []byte, _ int64) (int, error) { return len(p) / 2, f.err }

// cancelling is a reader with a context.
type cancelling struct{ failing }

func (cancelling) ReadAtContext(ctx context.Context, _ []byte, _ int64) (int, error) {
	return 0, ctx.Err()
}

func TestStoredArraysFailClearly(t *testing.T) {
	disk := errors.New("disk on fire")
	header := npy.Header{Type: npy.Type{Kind: 'f', Size: 8}, Shape: []int64{100}, Offset: 128}
	open := func(s chunked.Stored, err error) chunked.Options {
		return chunked.Options{Open: func(ref chunked.Ref) (chunked.Stored, error) {
			if ref.Name != "a" && ref.URL != "u" {
				t.Errorf("asked for %+v", ref)
			}
			return s, err
		}}
	}
	sum := func(r chunked.Stored) error {
		a, errs := parseArray([]byte(`{"source":"npy","name":"a"}`), open(r, nil))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		p, _ := newPlan(a, reduction(t, a, "", "", ""), chunked.Limits{})
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		_, err := p.Run(ctx, chunked.NewWorker(), 0, nil, nil)
		return err
	}
	if err := sum(chunked.Stored{Header: header, Reader: failing{}}); !errors.Is(err, npy.ErrFormat) || !strings.Contains(err.Error(), "ends at byte 528") {
		t.Errorf("cut short: %v", err)
	}
	if err := sum(chunked.Stored{Header: header, Reader: failing{disk}}); !errors.Is(err, disk) {
		t.Errorf("broken: %v", err)
	}
	if err := sum(chunked.Stored{Header: header, Reader: cancelling{failing{disk}}}); errors.Is(err, disk) {
		t.Errorf("the reader with a context was not used: %v", err)
	}
	_, errs := parseArray([]byte(`{"source":"npy","name":"a"}`), open(chunked.Stored{}, errors.New("is not there: upload it first")))
	if len(errs) != 1 || errs[0] != (fields.Error{Pointer: "/name", Detail: "is not there: upload it first"}) {
		t.Errorf("got %q", errs)
	}
	huge := npy.Header{Type: npy.Type{Kind: 'u', Size: 1}, Shape: []int64{1 << 52}}
	_, errs = parseArray([]byte(`{"source":"npy","url":"u"}`), open(chunked.Stored{Header: huge}, nil))
	if len(errs) != 1 || errs[0].Pointer != "/url" || !strings.Contains(errs[0].Detail, "the limit is") {
		t.Errorf("got %q", errs)
	}
}
