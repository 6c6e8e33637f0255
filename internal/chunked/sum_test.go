package chunked_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"gather/internal/chunked"
	"gather/internal/exactsum"
	"gather/internal/npy"
)

func reduction(tb testing.TB, a *chunked.Array, axis, keepDims, dtype string) chunked.Reduction {
	tb.Helper()
	raw := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	r, faults := chunked.ParseReduction(raw(axis), raw(keepDims), raw(dtype), a)
	if len(faults) > 0 {
		tb.Fatalf("axis %s, keepdims %s, dtype %s: %v", axis, keepDims, dtype, faults)
	}
	return r
}

// outcome is all that a sum says, as text.
type outcome struct {
	result string
	items  []string
}

// sum runs all tasks of p in the order that rng gives, and checks the accounts on the way.
func sum(tb testing.TB, w *chunked.Worker, p *chunked.Plan, rng *rand.Rand) outcome {
	tb.Helper()
	r := p.NewReducer()
	out := outcome{items: make([]string, p.Items())}
	item := func(i chunked.Item) error {
		if out.items[i.Index] != "" {
			tb.Fatalf("item %d comes twice", i.Index)
		}
		out.items[i.Index] = string(i.Value.AppendJSON(nil))
		return nil
	}
	bytes, early := int64(0), int64(0)
	for _, task := range rng.Perm(p.Tasks()) {
		partial, err := p.Run(context.Background(), w, task, nil)
		if err != nil {
			tb.Fatal(err)
		}
		before := early
		if err := p.EachItem(task, partial, func(i chunked.Item) error { early++; return item(i) }); err != nil {
			tb.Fatal(err)
		}
		if early-before != p.TaskItems(task) {
			tb.Fatalf("task %d has %d items, %d were promised", task, early-before, p.TaskItems(task))
		}
		if err := r.Add(task, partial); err != nil {
			tb.Fatal(err)
		}
		bytes += p.TaskBytes(task)
	}
	if bytes != p.Bytes() {
		tb.Fatalf("the tasks sum %d bytes of %d", bytes, p.Bytes())
	}
	if err := r.EachLateItem(item); err != nil {
		tb.Fatal(err)
	}
	for i, v := range out.items {
		if v == "" {
			tb.Fatalf("item %d of %d never came", i, len(out.items))
		}
	}
	res, err := r.Result()
	if err != nil {
		tb.Fatal(err)
	}
	if res.Shape().String() != p.Shape().String() || res.DType() != p.DType() {
		tb.Fatalf("got %s of %s, want %s of %s", res.Shape(), res.DType(), p.Shape(), p.DType())
	}
	out.result = string(res.AppendJSON(nil))
	return out
}

// reference sums the elements whose indices group maps to the same number, by math/big.
type reference struct {
	t      testing.TB
	a      *chunked.Array
	dtype  chunked.DType
	values []*big.Float
}

func newReference(tb testing.TB, a *chunked.Array, dtype chunked.DType) *reference {
	tb.Helper()
	r := &reference{t: tb, a: a, dtype: dtype}
	b := elements(tb, a, 0, a.Elements())
	size := a.DType().Size()
	for i := range int(a.Elements()) {
		bits := word(b, size, i)
		f := new(big.Float).SetPrec(600)
		switch name := a.DType().String(); {
		case name == "float64":
			f.SetFloat64(math.Float64frombits(bits))
		case name == "float32":
			f.SetFloat64(float64(math.Float32frombits(uint32(bits))))
		case name == "float16":
			var acc exactsum.Accumulator
			exactsum.NewFolder().Float16s(&acc, []uint16{uint16(bits)})
			f.SetFloat64(acc.Float64())
		case strings.HasPrefix(name, "int"):
			f.SetInt64(int64(bits) << (64 - 8*size) >> (64 - 8*size))
		default:
			f.SetUint64(bits)
		}
		r.values = append(r.values, f)
	}
	return r
}

// index is the C-order index of element i in memory order.
func (r *reference) index(i int64) []int64 {
	shape := r.a.Shape()
	index := make([]int64, len(shape))
	for k := range shape {
		axis := len(shape) - 1 - k
		if r.a.Fortran() {
			axis = k
		}
		index[axis] = i % shape[axis]
		i /= shape[axis]
	}
	return index
}

// sums returns the sum of each of n groups as it must be printed.
func (r *reference) sums(n int64, group func(index []int64) int64) []string {
	sums := make([]*big.Float, n)
	for i := range sums {
		sums[i] = new(big.Float).SetPrec(600)
	}
	for i, v := range r.values {
		g := group(r.index(int64(i)))
		sums[g].Add(sums[g], v)
	}
	text := make([]string, n)
	for i, s := range sums {
		text[i] = r.text(s)
	}
	return text
}

func (r *reference) text(s *big.Float) string {
	var text string
	switch r.dtype {
	case chunked.Float64:
		f, _ := s.Float64()
		text = string(jsonFloat(f, 64))
	case chunked.Float32:
		f, _ := s.Float32()
		text = string(jsonFloat(float64(f), 32))
	case chunked.Float16:
		// The multiples of binary16's unit that sums of it make are exact in float64.
		f, acc := s.Float64()
		if acc != big.Exact {
			r.t.Fatal("the reference for float16 rounds twice")
		}
		var a exactsum.Accumulator
		a.AddFloat64(f)
		bits := a.Float16()
		a.Reset()
		exactsum.NewFolder().Float16s(&a, []uint16{bits})
		return fmt.Sprint(a.Float64())
	default:
		v, _ := s.Int(nil)
		text = v.String()
	}
	return text
}

// jsonFloat is the shortest literal by another route than the package's: encoding/json.
func jsonFloat(f float64, bits int) []byte {
	var b []byte
	if bits == 32 {
		b, _ = json.Marshal(float32(f))
	} else {
		b, _ = json.Marshal(f)
	}
	return b
}

// same compares literals as numbers, as far as they must agree.
func same(dtype chunked.DType, got, want string) bool {
	if !dtype.IsFloat() {
		return got == want
	}
	if !strings.ContainsAny(got, ".e") {
		return false
	}
	if dtype == chunked.Float16 { // shortest among binary16, so hold the elements against each other
		half := func(text string) string {
			a, _ := chunked.ParseArray([]byte(`{"values":`+text+`,"dtype":"float16"}`), chunked.Options{})
			b := make([]byte, 16)[:2]
			return fmt.Sprintf("%v %x", a.Source().Fill(context.Background(), b, 0), b)
		}
		return half(got) == half(want)
	}
	g, err := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	return err == nil && err2 == nil && math.Float64bits(g) == math.Float64bits(w)
}

// outcome is what the sum over the axes must say: the elements of the result, and the items.
func (r *reference) outcome(axes []bool) (results, items []string) {
	shape := r.a.Shape()
	whole := true
	outputs := int64(1)
	for i, reduced := range axes {
		whole = whole && reduced
		if !reduced {
			outputs *= shape[i]
		}
	}
	results = r.sums(outputs, func(index []int64) int64 {
		out := int64(0)
		for i, reduced := range axes {
			if !reduced {
				out = out*shape[i] + index[i]
			}
		}
		return out
	})
	if !whole {
		return results, results
	}
	grid := r.a.Grid()
	numbers := make([][]int64, len(shape)) // of the chunk along each axis, by index
	for i := range shape {
		for chunk, l := range grid.Lengths(i) {
			for range l {
				numbers[i] = append(numbers[i], int64(chunk))
			}
		}
	}
	blocks := grid.NumBlocks()
	return results, r.sums(grid.Chunks(), func(index []int64) int64 {
		k := int64(0)
		for i, n := range blocks {
			k = k*n + numbers[i][index[i]]
		}
		return k
	})
}

// check compares all items and the result with what they must be.
func check(t *testing.T, name string, dtype chunked.DType, got outcome, results, items []string) {
	t.Helper()
	if len(items) != len(got.items) {
		t.Fatalf("%s: %d items, want %d", name, len(got.items), len(items))
	}
	for i := range items {
		if !same(dtype, got.items[i], items[i]) {
			t.Fatalf("%s: item %d is %s, want %s", name, i, got.items[i], items[i])
		}
	}
	flat := strings.FieldsFunc(got.result, func(r rune) bool { return strings.ContainsRune("[],", r) })
	if len(flat) != len(results) {
		t.Fatalf("%s: result %s, want %d elements", name, got.result, len(results))
	}
	for i := range results {
		if !same(dtype, flat[i], results[i]) {
			t.Fatalf("%s: element %d is %s, want %s", name, i, flat[i], results[i])
		}
	}
}

// stored writes elements of a to an .npy file of another order, whose array is the same.
func stored(tb testing.TB, a *chunked.Array, fortran, big bool) chunked.Stored {
	tb.Helper()
	size := a.DType().Size()
	c := elements(tb, a, 0, a.Elements())
	shape := a.Shape()
	data := make([]byte, 0, len(c))
	index := make([]int64, len(shape))
	for range a.Elements() {
		at := int64(0)
		for i, d := range shape {
			at = at*d + index[i]
		}
		for b := range size {
			if big {
				b = size - 1 - b
			}
			data = append(data, c[at*int64(size)+int64(b)])
		}
		for k := range shape {
			i := len(shape) - 1 - k
			if fortran {
				i = k
			}
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	letter := map[byte]byte{'b': 'b', 'i': 'i', 'u': 'u', 'f': 'f'}[a.DType().String()[0]]
	h := npy.Header{Type: npy.Type{Kind: letter, Size: size}, BigEndian: big, Fortran: fortran, Shape: shape, Offset: 128}
	return chunked.Stored{Header: h, Reader: bytes.NewReader(append(make([]byte, 128), data...))}
}

// TestSums: over all types, shapes, axes, chunks, sizes and orders of tasks, memory orders and byte orders, every item and
// every element of the result is what math/big says, to the bit.
func TestSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := chunked.NewWorker()
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	sources := map[string]string{
		"bool":    `"source":"full","fill_value":true,"dtype":"bool"`,
		"int8":    `"source":"random","distribution":"integers","low":-128,"high":128,"dtype":"int8"`,
		"int16":   `"source":"random","distribution":"integers","low":-32768,"high":32768,"dtype":"int16"`,
		"int32":   `"source":"random","distribution":"integers","low":-2147483648,"high":2147483648,"dtype":"int32"`,
		"int64":   `"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808`,
		"uint8":   `"source":"random","distribution":"integers","high":256,"dtype":"uint8"`,
		"uint16":  `"source":"random","distribution":"integers","high":65536,"dtype":"uint16"`,
		"uint32":  `"source":"random","distribution":"integers","high":4294967296,"dtype":"uint32"`,
		"uint64":  `"source":"random","distribution":"integers","high":18446744073709551616,"dtype":"uint64"`,
		"float16": `"source":"random","dtype":"float16"`,
		"float32": `"source":"random","distribution":"normal","dtype":"float32","scale":1e29`,
		"float64": `"source":"random","distribution":"normal","scale":1e29`,
	}
	for round := range 40 {
		for dtype, fields := range sources {
			shape := make([]string, rng.IntN(5))
			axes := make([]bool, len(shape))
			var axisList []string
			for i := range shape {
				shape[i] = pick("1", "2", "3", "7", "10", "17", "17")
				if rng.IntN(30) == 0 {
					shape[i] = "0"
				}
				if rng.IntN(2) == 0 {
					axes[i] = true
					axisList = append(axisList, fmt.Sprint(i-rng.IntN(2)*len(shape)))
				}
			}
			axis := "[" + strings.Join(axisList, ",") + "]"
			if round%3 == 0 || len(shape) == 0 {
				axis = ""
				for i := range axes {
					axes[i] = true
				}
			}
			chunks := make([]string, len(shape))
			for i := range chunks {
				chunks[i] = pick("1", "2", "3", "5", "-1", `"auto"`, `"200 B"`)
				if n := shape[i]; n == "10" && rng.IntN(2) == 0 {
					chunks[i] = "[0,1,4,0,5]"
				}
			}
			list := "[" + strings.Join(chunks, ",") + "]"
			shapeText := "[" + strings.Join(shape, ",") + "]"
			if dtype != "bool" {
				fields += fmt.Sprintf(`,"seed":%d`, round)
			}
			a := parse(t, fmt.Sprintf(`{%s,"shape":%s,"chunks":%s}`, fields, shapeText, list))
			result := pick("", `"float64"`, `"float32"`)
			if !a.DType().IsFloat() {
				result = pick("", `"float64"`, `"int8"`, `"uint64"`)
			}
			red := reduction(t, a, axis, pick("", "true", "false"), result)
			name := fmt.Sprintf("%s %s chunks %s axis %s dtype %s", dtype, shapeText, list, axis, result)
			results, items := newReference(t, a, red.DType()).outcome(axes)
			variants := []*chunked.Array{a}
			for _, order := range []struct{ fortran, big bool }{{true, false}, {false, true}, {true, true}} {
				opts := chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
					return stored(t, a, order.fortran, order.big), nil
				}}
				v, faults := chunked.ParseArray([]byte(`{"source":"npy","name":"a","chunks":`+list+`}`), opts)
				if len(faults) > 0 {
					t.Fatalf("%s: %v", name, faults)
				}
				variants = append(variants, v)
			}
			for _, v := range variants {
				fine := int64(1 + rng.IntN(300)) // chunks of more are split
				if rng.IntN(2) == 0 {
					fine += 20_000 // several chunks a task
				}
				p, faults := chunked.NewFinePlan(v, red, fine)
				if len(faults) > 0 {
					t.Fatalf("%s: %v", name, faults)
				}
				check(t, fmt.Sprintf("%s tasks of %d fortran %v", name, fine, v.Fortran()), red.DType(), sum(t, w, p, rng), results, items)
			}
		}
	}
}

// TestLargeSums uses the real sizes of tasks: every path that small arrays do not reach, against a plain loop.
func TestLargeSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	w := chunked.NewWorker()
	for _, test := range []struct{ shape, chunks, axis string }{
		{"[3000000]", "-1", ""},
		{"[3000000]", "1000", ""},
		{"[1500,2000]", "[100,100]", ""},
		{"[1500,2000]", "[1500,7]", ""},
		{"[40,50000]", "[7,1000]", ""},
		{"[5,7,11000]", "[2,3,[4000,1,6999]]", ""},
		{"[1500,2000]", "[[1,1499],[1999,1]]", ""},
		{"[1500,2000]", `"auto"`, "0"},
		{"[1500,2000]", `"auto"`, "1"},
		{"[100000,3]", `"auto"`, "1"},
		{"[3,100000]", `"auto"`, "0"},
		{"[1000000,3]", `"auto"`, "0"},
		{"[20,300,500]", `"auto"`, "1"},
		{"[20,300,500]", `"auto"`, "[0,2]"},
		{"[200,5,2,300,5]", `"auto"`, "[0,2,4]"},
		{"[200,5,2,300,5]", `"auto"`, "[1,3]"},
		{"[800,1000,3]", `"auto"`, "[0,2]"},
		{"[800,100,3,7]", `"auto"`, "[0,2]"},
		{"[20,40,100,3,7]", `"auto"`, "[1,3]"},
		{"[20,40,3,5,7]", `"auto"`, "[1,3]"},
	} {
		a := parse(t, fmt.Sprintf(`{"source":"random","distribution":"integers","low":-1000,"high":1000,"dtype":"int16","shape":%s,"chunks":%s}`, test.shape, test.chunks))
		red := reduction(t, a, test.axis, "", "")
		p, faults := chunked.NewPlan(a, red, chunked.Limits{})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		got := sum(t, w, p, rng)
		for _, fortran := range []bool{false, true} {
			opts := chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
				return stored(t, a, fortran, !fortran), nil
			}}
			v, faults := chunked.ParseArray([]byte(`{"source":"npy","name":"a","chunks":`+test.chunks+`}`), opts)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if p, faults = chunked.NewPlan(v, red, chunked.Limits{}); len(faults) > 0 {
				t.Fatal(faults)
			}
			if again := sum(t, w, p, rng); !reflect.DeepEqual(again, got) {
				t.Fatalf("%+v stored, fortran %v: got another sum", test, fortran)
			}
		}
		axes := map[int]bool{}
		var list []int
		if test.axis != "" && json.Unmarshal([]byte("["+strings.Trim(test.axis, "[]")+"]"), &list) != nil {
			t.Fatal(test.axis)
		}
		for _, i := range list {
			axes[i] = true
		}
		b := elements(t, a, 0, a.Elements())
		sums := make([]int64, p.Items())
		lookup := make([][]int64, len(a.Shape())) // the number of the chunk or output along each axis, by index
		for i, d := range a.Shape() {
			lookup[i] = make([]int64, d)
			at := 0
			for chunk, l := range a.Grid().Lengths(i) {
				for range l {
					lookup[i][at] = int64(chunk)
					if test.axis != "" {
						lookup[i][at] = int64(at)
					}
					at++
				}
			}
		}
		index := make([]int64, len(a.Shape()))
		for e := range a.Elements() {
			g := int64(0)
			for i, n := range a.Grid().NumBlocks() {
				switch {
				case test.axis == "":
					g = g*n + lookup[i][index[i]]
				case !axes[i]:
					g = g*a.Shape()[i] + index[i]
				}
			}
			sums[g] += int64(int16(word(b, 2, int(e))))
			for i := len(index) - 1; i >= 0; i-- {
				if index[i]++; index[i] < a.Shape()[i] {
					break
				}
				index[i] = 0
			}
		}
		for i, want := range sums {
			if got.items[i] != fmt.Sprint(want) {
				t.Fatalf("%+v in %d tasks: item %d is %s, want %d", test, p.Tasks(), i, got.items[i], want)
			}
		}
	}
}

// TestWorkerIsReusable runs tasks of different plans with one worker, turn by turn.
func TestWorkerIsReusable(t *testing.T) {
	w := chunked.NewWorker()
	for range 3 {
		for _, test := range []struct{ array, axis, want string }{
			{`{"source":"ones","shape":[1000,1000],"chunks":[100,100]}`, "", "1000000.0"},
			{`{"source":"ones","shape":[10,2],"dtype":"float32"}`, "0", "[10.0,10.0]"},
			{`{"source":"full","shape":[10,2],"fill_value":2}`, "1", "[4,4,4,4,4,4,4,4,4,4]"},
			{`{"values":[1,2.5]}`, "", "3.5"},
			{`{"source":"ones","shape":[1000,1000],"chunks":[1000,1]}`, "", "1000000.0"},
		} {
			a := parse(t, test.array)
			p, faults := chunked.NewPlan(a, reduction(t, a, test.axis, "", ""), chunked.Limits{})
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			r := p.NewReducer()
			for task := range p.Tasks() {
				partial, err := p.Run(context.Background(), w, task, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Add(task, partial); err != nil {
					t.Fatal(err)
				}
			}
			res, err := r.Result()
			if err != nil {
				t.Fatal(err)
			}
			if got := string(res.AppendJSON(nil)); got != test.want {
				t.Errorf("%+v: got %s", test, got)
			}
		}
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	a := parse(t, `{"source":"random","shape":[1000000000000]}`)
	p, faults := chunked.NewPlan(a, reduction(t, a, "", "", ""), chunked.Limits{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Run(ctx, chunked.NewWorker(), 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if p.Tasks() > 1<<20+1 || p.TaskBytes(0)/8 > 1<<21 {
		t.Errorf("%d tasks, of %d bytes", p.Tasks(), p.TaskBytes(0))
	}
}
