package chunked_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
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

	// Of testdata/filters.py: fields of the spec, and .npy files for arrays in others.
	Fields     map[string]json.RawMessage
	Companions map[string][]byte
}

type reducedArray struct {
	NPY   []byte
	Cases []reductionCase
}

func readReductions(t *testing.T, name string) (arrays []reducedArray) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
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
	for i, a := range readReductions(t, "reductions.json.gz") {
		array, chunks := openReduced(t, a.NPY, rng)
		for _, c := range a.Cases {
			cases++
			name := fmt.Sprintf("array %d, %s %v, chunks %s, axis %s, ddof %d", i, array.DType(), array.Shape(), chunks, c.Axis, c.DDOF)
			statistics += testReduction(t, name, w, array, c, rng)
		}
	}
	if cases < 2000 {
		t.Errorf("got %d cases of %d statistics, want at least 2000", cases, statistics)
	}
}

// TestFilters tests statistics of some of the elements, with weights and initial values.
func TestFilters(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 0))
	w := chunked.NewWorker()
	cases := 0
	for i, a := range readReductions(t, "filters.json.gz") {
		array, chunks := openReduced(t, a.NPY, rng)
		for _, c := range a.Cases {
			cases++
			name := fmt.Sprintf("array %d, %s %v, chunks %s, axis %s, ddof %d, %s", i, array.DType(), array.Shape(), chunks, c.Axis, c.DDOF, c.Fields)
			testReduction(t, name, w, array, c, rng)
		}
	}
	if cases < 1000 {
		t.Errorf("got %d cases, want at least 1000", cases)
	}
}

// openReduced returns a stored array, and its chunks.
func openReduced(t *testing.T, file []byte, rng *rand.Rand) (*chunked.Array, string) {
	t.Helper()
	stored, source := storedFile(t, file), "npy"
	switch rng.IntN(3) {
	case 0:
		stored = inPlace(stored)
	case 1:
		source = "zarr"
		tile := make([]int64, len(stored.Header.Shape))
		for k := range tile {
			tile[k] = 1 + rng.Int64N(4)
		}
		stored, _ = inTiles(stored.Header, file, tile)
	}
	chunks := []string{`"auto"`, "1", "2", "3"}[rng.IntN(4)]
	array, errs := parseArray([]byte(`{"source":"`+source+`","url":"a","chunks":`+chunks+`}`),
		chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return stored, nil }})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return array, chunks
}

func storedFile(t testing.TB, file []byte) chunked.Stored {
	t.Helper()
	h, err := npy.ParseHeader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return chunked.Stored{Header: h, Reader: bytes.NewReader(file)}
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
		r, err := parseOps(t, array, c, op.String())
		if err == nil {
			_, err = reduce(t, name, w, array, r, int64(1+rng.IntN(20)), rng)
		}
		if err == nil && !all {
			t.Errorf("%s: %s has a result, want an error", name, op)
		}
	}
	rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	ops = ops[:1+rng.IntN(len(ops))] // also few, which need less
	r, err := parseOps(t, array, c, ops...)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	results, err := reduce(t, name, w, array, r, int64(1+rng.IntN(20)), rng)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i, op := range ops {
		want := c.Want[op]
		if got := results[i].DType().String(); got != c.DTypes[op] {
			t.Errorf("%s: %s is %s, want %s", name, op, got, c.DTypes[op])
		}
		if got := fmt.Sprint([]int64(results[i].Shape())); got != fmt.Sprint(c.Shape) || results[i].Len() != int64(len(want)) {
			t.Errorf("%s: %s has shape %s and %d elements, want %v and %d", name, op, got, results[i].Len(), c.Shape, len(want))
			continue
		}
		for k, w := range want {
			if got := results[i].At(int64(k)); !sameStatistic(got, w) {
				t.Errorf("%s, of %q: %s, element %d: got %s, want %v", name, ops, op, k, got.AppendJSON(nil), w)
			}
		}
	}
	return len(ops)
}

// reduce computes a reduction of an array in tasks of a size, in any order.
func reduce(t *testing.T, name string, w *chunked.Worker, array *chunked.Array, r chunked.Reduction, size int64, rng *rand.Rand) ([]*chunked.Result, error) {
	t.Helper()
	p, err := chunked.NewFinePlan(array, r, size, chunked.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	reducer := p.NewReducer()
	items := 0
	item := func(chunked.Item) error { items++; return nil }
	for _, task := range rng.Perm(p.Tasks()) {
		partial, err := p.Run(t.Context(), w, task, nil, item)
		if errors.Is(err, chunked.ErrNothing) {
			return nil, err
		}
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	results, err := reducer.Results()
	if err != nil {
		return nil, err
	}
	if err := reducer.EachLateItem(item); err != nil || int64(items) != p.Items() {
		t.Errorf("%s: got %d of %d items, %v", name, items, p.Items(), err)
	}
	return results, nil
}

func parseOps(t testing.TB, array *chunked.Array, c reductionCase, ops ...string) (chunked.Reduction, error) {
	t.Helper()
	var errs fields.Errors
	list, _ := json.Marshal(ops)
	text := map[string]any{"ops": json.RawMessage(list), "axis": c.Axis, "keepdims": c.KeepDims, "ddof": c.DDOF}
	for k, v := range c.Fields {
		text[k] = v
	}
	if raw, ok := c.Fields["initial"]; ok { // only of these statistics
		initial := map[string]json.RawMessage{}
		if err := json.Unmarshal(raw, &initial); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(initial, func(op string, _ json.RawMessage) bool { return !slices.Contains(ops, op) })
		text["initial"] = initial
	}
	for k := range c.Companions {
		text[k] = json.RawMessage(`{"source":"npy","name":"` + k + `"}`)
	}
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := fields.Read(raw, &errs)
	r, _ := chunked.ParseReduction(spec, array)
	chunked.ParseOps(spec, array, &r, func(field string) chunked.Options {
		return chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return storedFile(t, c.Companions[field]), nil }}
	})
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
// of memory, for all chunks, and with copies. So they are of some elements, and with weights.
func TestReductionsOfLargeArrays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector")
	}
	const rows, columns = 1100, 191
	rng := rand.New(rand.NewPCG(32, 0))
	w := chunked.NewWorker()
	all := []string{"sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count", "any", "all", "nanvar", "norm"}
	shape := fmt.Sprintf(`"shape":[%d,%d]`, rows, columns)
	weights := parse(t, `{"source":"random","distribution":"integers","low":-9,"high":100,"dtype":"int64",`+shape+`}`)
	mask := parse(t, `{"values":`+randomBools(rng, rows, columns)+`}`)
	for _, tt := range []struct {
		source, fields string
		companions     map[string]*chunked.Array
		ops            []string
	}{
		{`"source":"random","distribution":"normal","loc":1e9`, `{}`, nil, all},
		{`"source":"random","distribution":"integers","low":-3,"high":4,"dtype":"int8"`, `{}`, nil, all},
		{`"source":"random","distribution":"normal","dtype":"float32"`, `{"where":{"op":">","value":0.5}}`, nil, all},
		{`"source":"full","fill_value":2.5`, `{}`, nil, all},
		{`"source":"random","distribution":"normal"`, `{"missing":{"valid_min":-2}}`, map[string]*chunked.Array{"where": mask}, all},
		{`"source":"random","distribution":"normal"`, `{"where":{"op":"<","value":0}}`, map[string]*chunked.Array{"weights": weights}, []string{"sum", "nanmean"}},
		{`"source":"full","fill_value":2.5`, `{}`, map[string]*chunked.Array{"where": mask, "weights": weights}, []string{"sum", "mean"}},
	} {
		a := parse(t, `{`+tt.source+`,`+shape+`,"chunks":[-1,-1]}`)
		c := reductionCase{DDOF: 1, Companions: map[string][]byte{}}
		if err := json.Unmarshal([]byte(tt.fields), &c.Fields); err != nil {
			t.Fatal(err)
		}
		grids := []string{"[-1,-1]", "[100,100]", "[7,-1]", "[-1,3]"}
		if tt.companions != nil {
			grids = grids[1:3]
		}
		for _, axis := range []string{"null", "0", "1"} {
			c.Axis = json.RawMessage(axis)
			want := map[string]string{}
			for _, chunks := range grids {
				for _, variant := range []string{"generated", "C", "Fortran", "C in place", "Fortran in place"} {
					fortran := strings.HasPrefix(variant, "F")
					for field, b := range tt.companions {
						s := stored(t, b, fortran, false)
						file := make([]byte, s.Header.FileSize())
						if _, err := s.Reader.ReadAt(file, 0); err != nil {
							t.Fatal(err)
						}
						var header bytes.Buffer
						_, err := npy.WriteHeader(&header, s.Header.Type, s.Header.Shape)
						if err != nil {
							t.Fatal(err)
						}
						text := bytes.Replace(header.Bytes(), []byte("False"), []byte(map[bool]string{true: "True ", false: "False"}[fortran]), 1)
						c.Companions[field] = append(text, file[s.Header.Offset:]...)
					}
					v := a
					if variant != "generated" {
						s := stored(t, a, fortran, false)
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
					name := fmt.Sprintf("%s, %s, axis %s, chunks %s, %s", tt.source, tt.fields, axis, chunks, variant)
					lists := [][]string{tt.ops}
					if strings.HasPrefix(variant, "C") && tt.companions == nil { // fewer have other kernels
						lists = append(lists, []string{"sum", "mean", "var", "min", "max"}, []string{"argmin", "argmax", "norm"})
					}
					for _, ops := range lists {
						for op, got := range statisticsOf(t, name, w, v, c, rng, ops) {
							if want[op] == "" {
								want[op] = got
							} else if got != want[op] {
								t.Errorf("%s, one of %q: %s differs:\n got %.300s\nwant %.300s", name, ops, op, got, want[op])
							}
						}
					}
				}
			}
		}
	}
}

// statisticsOf returns the statistics of a case as JSON.
func statisticsOf(
	t *testing.T, name string, w *chunked.Worker, a *chunked.Array, c reductionCase, rng *rand.Rand, ops []string,
) map[string]string {
	t.Helper()
	r, err := parseOps(t, a, c, ops...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	results, err := reduce(t, name, w, a, r, 20_000, rng)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got := map[string]string{}
	for i, op := range ops {
		got[op] = string(results[i].AppendJSON(nil))
	}
	return got
}

// randomBools returns nested lists, of which rows 100 to 199 are true and rows 200 to 299 are false but for the first
// three columns.
func randomBools(rng *rand.Rand, rows, columns int) string {
	list := make([][]bool, rows)
	for i := range list {
		list[i] = make([]bool, columns)
		for j := range list[i] {
			list[i][j] = rng.IntN(3) > 0 && i/100 != 2 || i/100 == 1 || j < 3
		}
	}
	text, _ := json.Marshal(list) // never fails
	return string(text)
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
					got := statisticsOf(t, dtype+", "+name, w, a, reductionCase{Axis: json.RawMessage("0")}, rng, ops)
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
