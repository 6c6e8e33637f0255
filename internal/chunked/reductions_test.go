package chunked_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/npy"
)

// reductionCase has the statistics of an array by NumPy and exact arithmetic: testdata/reductions.py.
type reductionCase struct {
	Axis     json.RawMessage
	KeepDims bool
	DDOF     int64
	Shape    []int64
	Want     map[string][]any
	DTypes   map[string]string
}

func readReductions(t *testing.T) (arrays []struct {
	NPY   []byte
	Cases []reductionCase
},
) {
	t.Helper()
	f, err := os.Open("testdata/reductions.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(&arrays)
	}
	if err != nil {
		t.Fatal(err)
	}
	return arrays
}

// TestReductions tests every statistic against NumPy's, whatever the chunks, the tasks and their order.
func TestReductions(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 0))
	w := chunked.NewWorker()
	cases, statistics := 0, 0
	for i, a := range readReductions(t) {
		h, err := npy.ParseHeader(bytes.NewReader(a.NPY))
		if err != nil {
			t.Fatal(err)
		}
		stored := chunked.Stored{Header: h, Reader: bytes.NewReader(a.NPY)}
		if rng.IntN(2) == 0 {
			stored = inPlace(stored)
		}
		chunks := []string{`"auto"`, "1", "2", "3"}[rng.IntN(4)]
		array, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":`+chunks+`}`),
			chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return stored, nil }})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for _, c := range a.Cases {
			cases++
			name := fmt.Sprintf("array %d, %s %v, chunks %s, axis %s, ddof %d", i, array.DType(), h.Shape, chunks, c.Axis, c.DDOF)
			statistics += testReduction(t, name, w, array, c, rng)
		}
	}
	if cases < 2000 {
		t.Errorf("got %d cases of %d statistics, want at least 2000", cases, statistics)
	}
}

// testReduction computes all statistics of a case together, and those without a value alone.
func testReduction(t *testing.T, name string, w *chunked.Worker, array *chunked.Array, c reductionCase, rng *rand.Rand) int {
	t.Helper()
	var ops []string
	for op := chunked.Sum; op <= chunked.Norm; op++ {
		if c.Want[op.String()] != nil {
			ops = append(ops, op.String())
			continue
		}
		// NumPy takes positions over all axes only if none is named.
		all := strings.HasPrefix(string(c.Axis), "[") && len(array.Shape()) == 2 && array.Elements() > 0
		if _, err := parseOps(array, c, op.String()); err == nil && !all {
			t.Errorf("%s: %s is accepted, want an error", name, op)
		}
	}
	rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	ops = ops[:1+rng.IntN(len(ops))] // also few, which need less
	r, err := parseOps(array, c, ops...)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	p, err := chunked.NewFinePlan(array, r, int64(1+rng.IntN(20)), chunked.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	reducer := p.NewReducer()
	items := 0
	item := func(chunked.Item) error { items++; return nil }
	for _, task := range rng.Perm(p.Tasks()) {
		partial, err := p.Run(t.Context(), w, task, nil, item)
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := reducer.EachLateItem(item); err != nil || int64(items) != p.Items() {
		t.Errorf("%s: %d of %d items, %v", name, items, p.Items(), err)
	}
	results, err := reducer.Results()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i, op := range p.Ops() {
		want := c.Want[op.String()]
		if got := results[i].DType().String(); got != c.DTypes[op.String()] {
			t.Errorf("%s: %s is %s, want %s", name, op, got, c.DTypes[op.String()])
		}
		if got := fmt.Sprint([]int64(results[i].Shape())); got != fmt.Sprint(c.Shape) || results[i].Len() != int64(len(want)) {
			t.Errorf("%s: %s has shape %s and %d elements, want %v and %d", name, op, got, results[i].Len(), c.Shape, len(want))
			continue
		}
		for k, w := range want {
			if got := results[i].At(int64(k)); !sameStatistic(got, w) {
				t.Errorf("%s: %s, element %d: got %s, want %v", name, op, k, got.AppendJSON(nil), w)
			}
		}
	}
	return len(ops)
}

func parseOps(array *chunked.Array, c reductionCase, ops ...string) (chunked.Reduction, error) {
	var errs fields.Errors
	list, _ := json.Marshal(ops)
	spec, _ := fields.Read(fmt.Appendf(nil, `{"ops":%s,"axis":%s,"keepdims":%t,"ddof":%d}`, list, c.Axis, c.KeepDims, c.DDOF), &errs)
	r, _ := chunked.ParseReduction(spec, array)
	chunked.ParseOps(spec, array, &r)
	return r, errors.Join(errs.Err())
}

// sameStatistic compares a number with a boolean, the digits of an integer, or a hexadecimal float. Zeros are equal.
func sameStatistic(n chunked.Number, want any) bool {
	got := string(n.AppendJSON(nil))
	text, isText := want.(string)
	if !isText {
		return got == fmt.Sprint(want)
	}
	if !n.DType().IsFloat() {
		return got == text
	}
	v, err := strconv.ParseFloat(strings.TrimPrefix(text, "+"), 64)
	return err == nil && (n.Float64() == v || math.IsNaN(v) && math.IsNaN(n.Float64()))
}

// The statistics of larger arrays, whose elements are scanned in blocks and copied in pieces, are the same in every order
// of memory, for all chunks, and with copies.
func TestReductionsOfLargeArrays(t *testing.T) {
	const rows, columns = 1100, 191
	rng := rand.New(rand.NewPCG(32, 0))
	w := chunked.NewWorker()
	for _, source := range []string{
		`"source":"random","distribution":"normal","loc":1e9`,
		`"source":"random","distribution":"integers","low":-3,"high":4,"dtype":"int8"`,
		`"source":"random","distribution":"normal","dtype":"float32"`,
		`"source":"full","fill_value":2.5`,
	} {
		a := parse(t, fmt.Sprintf(`{%s,"shape":[%d,%d],"chunks":[-1,-1]}`, source, rows, columns))
		for _, axis := range []string{"null", "0", "1"} {
			want := map[string]string{}
			for _, chunks := range []string{"[-1,-1]", "[100,100]", "[7,-1]", "[-1,3]"} {
				for _, variant := range []string{"generated", "C", "Fortran", "C in place", "Fortran in place"} {
					v := a
					if variant != "generated" {
						s := stored(t, a, strings.HasPrefix(variant, "F"), false)
						if strings.HasSuffix(variant, "in place") {
							s = inPlace(s)
						}
						var errs []fields.Error
						v, errs = parseArray([]byte(`{"source":"npy","name":"a","chunks":`+chunks+`}`),
							chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }})
						if len(errs) > 0 {
							t.Fatal(errs)
						}
					}
					lists := [][]string{{"sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count", "any", "all", "nanvar", "norm"}}
					if strings.HasPrefix(variant, "C") { // fewer have other kernels
						lists = append(lists, []string{"sum", "mean", "var", "min", "max"}, []string{"argmin", "argmax", "norm"})
					}
					for _, ops := range lists {
						for op, got := range reduce(t, w, v, axis, rng, ops) {
							if want[op] == "" {
								want[op] = got
							} else if got != want[op] {
								t.Errorf("%s, axis %s, chunks %s, %s, one of %q: %s differs:\n got %.300s\nwant %.300s",
									source, axis, chunks, variant, ops, op, got, want[op])
							}
						}
					}
				}
			}
		}
	}
}

// reduce returns the statistics of a, with a ddof of 1, as JSON.
func reduce(t *testing.T, w *chunked.Worker, a *chunked.Array, axis string, rng *rand.Rand, ops []string) map[string]string {
	t.Helper()
	r, err := parseOps(a, reductionCase{Axis: json.RawMessage(axis), DDOF: 1}, ops...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := chunked.NewFinePlan(a, r, 20_000, chunked.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	reducer := p.NewReducer()
	for _, task := range rng.Perm(p.Tasks()) {
		partial, err := p.Run(t.Context(), w, task, nil, nil)
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	results, err := reducer.Results()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i, op := range p.Ops() {
		got[op.String()] = string(results[i].AppendJSON(nil))
	}
	return got
}

// Extremes are the first of equal elements, also of zeros of both signs, wherever NaNs are.
func TestExtremesOfColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 0))
	w := chunked.NewWorker()
	for _, dtype := range []string{"float16", "float32", "float64"} {
		for name, choice := range map[string][]string{
			"zeros": {"0.0", "-0.0"}, "positive": {"0.0", "-0.0", "1.0"}, "negative": {"-2.0", "-0.0", "0.0"}, "NaNs": {`"NaN"`, "1.0", "-3.0", "-0.0"},
		} {
			for _, cols := range []int{1, 5, 70} {
				const rows = 1500
				elements := make([][]string, cols) // of each column
				var list []string
				for range rows {
					var row []string
					for j := range cols {
						v := choice[rng.IntN(len(choice))]
						if name == "NaNs" && j%3 > 0 {
							v = choice[1+rng.IntN(len(choice)-1)]
						}
						row, elements[j] = append(row, v), append(elements[j], v)
					}
					list = append(list, "["+strings.Join(row, ",")+"]")
				}
				a := parse(t, fmt.Sprintf(`{"dtype":%q,"values":[%s]}`, dtype, strings.Join(list, ",")))
				var want [4][]string
				for _, column := range elements {
					lo, hi := first(column, func(a, b float64) bool { return a < b }), first(column, func(a, b float64) bool { return a > b })
					for i, v := range []string{column[lo], column[hi], strconv.Itoa(lo), strconv.Itoa(hi)} {
						want[i] = append(want[i], v)
					}
				}
				for _, ops := range [][]string{{"min", "max"}, {"min", "max", "argmin", "argmax"}, {"min", "max", "argmin", "argmax", "var", "count"}} {
					got := reduce(t, w, a, "0", rng, ops)
					for i, op := range []string{"min", "max", "argmin", "argmax"} {
						if w := "[" + strings.Join(want[i], ",") + "]"; got[op] != "" && got[op] != w {
							t.Errorf("%s, %s, %d columns, %q: %s differs:\n got %.300s\nwant %.300s", dtype, name, cols, ops, op, got[op], w)
						}
					}
				}
			}
		}
	}
}

// first returns the index of the first NaN, or of the first element before all others.
func first(column []string, before func(a, b float64) bool) (best int) {
	value := func(i int) float64 {
		v, _ := strconv.ParseFloat(strings.Trim(column[i], `"`), 64)
		return v
	}
	for i := range column {
		switch v := value(i); {
		case math.IsNaN(v):
			return i
		case before(v, value(best)):
			best = i
		}
	}
	return best
}
