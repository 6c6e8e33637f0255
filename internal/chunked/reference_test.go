package chunked_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
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
	r, errs := parseReduction(raw(axis), raw(keepDims), raw(dtype), a)
	if len(errs) > 0 {
		tb.Fatalf("axis %s, keepdims %s, dtype %s: %v", axis, keepDims, dtype, errs)
	}
	return r
}

// outcome is a sum's result and items, as text.
type outcome struct {
	result string
	items  []string
}

// sum runs all tasks of p in the order of rng, and checks the item counts.
func sum(tb testing.TB, w *chunked.Worker, p *chunked.Plan, rng *rand.Rand) outcome {
	tb.Helper()
	r := p.NewReducer()
	out := outcome{items: make([]string, p.Items())}
	item := func(i chunked.Item) error {
		if out.items[i.Index] != "" {
			tb.Fatalf("item %d is duplicate", i.Index)
		}
		out.items[i.Index] = string(i.Values[0].AppendJSON(nil))
		return nil
	}
	bytes, early := int64(0), int64(0)
	for _, task := range rng.Perm(p.Tasks()) {
		before := early
		partial, err := p.Run(context.Background(), w, task, nil, func(i chunked.Item) error { early++; return item(i) })
		if err != nil {
			tb.Fatal(err)
		}
		if early-before != p.TaskItems(task) {
			tb.Fatalf("task %d has %d items, TaskItems returned %d", task, early-before, p.TaskItems(task))
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
			tb.Fatalf("item %d of %d is missing", i, len(out.items))
		}
	}
	res, err := r.Result()
	if err != nil {
		tb.Fatal(err)
	}
	if res.Shape().String() != p.Shape().String() || res.DType() != p.DType(0) {
		tb.Fatalf("got %s of %s, want %s of %s", res.Shape(), res.DType(), p.Shape(), p.DType(0))
	}
	out.result = string(res.AppendJSON(nil))
	return out
}

// reference sums groups of elements with math/big.
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
			exactsum.NewAdder().Float16s(&acc, []uint16{uint16(bits)})
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

// index returns the C-order index of element i in memory order.
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

// sums returns the expected text of the sum of each of n groups.
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
		text = string(jsonFloat(f))
	case chunked.Float32:
		f, _ := s.Float32()
		text = string(jsonFloat(float64(f)))
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
		exactsum.NewAdder().Float16s(&a, []uint16{bits})
		return fmt.Sprint(a.Float64())
	default:
		v, _ := s.Int(nil)
		text = v.String()
	}
	return text
}

// jsonFloat returns the shortest literal, computed by encoding/json instead of the package.
func jsonFloat(f float64) []byte {
	b, _ := json.Marshal(f)
	return b
}

// same compares literals as numbers, to the precision of the dtype.
func same(dtype chunked.DType, got, want string) bool {
	if !dtype.IsFloat() {
		return got == want
	}
	if !strings.ContainsAny(got, ".e") {
		return false
	}
	if dtype == chunked.Float16 { // shortest for binary16, so compare the elements
		half := func(text string) string {
			a, _ := parseArray([]byte(`{"values":`+text+`,"dtype":"float16"}`), chunked.Options{})
			b := make([]byte, 16)[:2]
			return fmt.Sprintf("%v %x", a.Source().Fill(context.Background(), b, 0), b)
		}
		return half(got) == half(want)
	}
	g, err := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	return err == nil && err2 == nil && math.Float64bits(g) == math.Float64bits(w)
}

// outcome returns the expected result and items of the sum over axes.
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
	numbers := make([][]int64, len(shape)) // number of the chunk along each axis, by index
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

// check compares all items and the result with the expected ones.
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

// stored writes elements of a to an .npy file of another order, which describes the same array.
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

// inPlace lets the elements of a stored array be used in place.
func inPlace(s chunked.Stored) chunked.Stored {
	r := s.Reader.(*bytes.Reader)
	data := make([]byte, r.Size())
	_, _ = r.ReadAt(data, 0)
	s.Reader = memory{r, data}
	return s
}

// memory is a file in memory.
type memory struct {
	*bytes.Reader
	data []byte
}

func (m memory) View(_ context.Context, lo, hi int64, use func(p []byte) error) error {
	return use(m.data[lo:hi:hi])
}
