package zarrstore_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/npy"
	"gather/internal/zarrstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")) // idle connections of the S3 client
}

// storeCase is a store and what it contains: testdata/stores.py and write.mjs.
type storeCase struct {
	Name  string
	Files map[string][]byte
	NPY   []byte
	Sum   string
}

func readCases(tb testing.TB) (cases []storeCase) {
	tb.Helper()
	for _, name := range []string{"stores", "zarrita"} {
		data, err := os.ReadFile("testdata/" + name + ".json.gz")
		if err != nil {
			tb.Fatal(err)
		}
		var list []storeCase
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err == nil {
			err = json.NewDecoder(z).Decode(&list)
		}
		if err != nil {
			tb.Fatal(err)
		}
		cases = append(cases, list...)
	}
	return cases
}

// slicesOf returns a random selection of an array, and the axes that it leaves.
func slicesOf(rng *rand.Rand, shape []int64) (selection string, left int) {
	var list []string
	for _, n := range shape {
		switch rng.IntN(4) {
		case 0:
			list = append(list, "null")
			left++
		case 1:
			if n > 0 {
				list = append(list, strconv.FormatInt(rng.Int64N(2*n)-n, 10))
				continue
			}
			fallthrough
		default:
			step := 1 + rng.IntN(3)
			if rng.IntN(3) == 0 {
				step = -step
			}
			list = append(list, fmt.Sprintf(`{"start":%d,"stop":%d,"step":%d}`, rng.Int64N(n+3)-2, rng.Int64N(n+3)-2, step))
			left++
		}
	}
	return `,"select":[` + strings.Join(list, ",") + `]`, left
}

func write(tb testing.TB, dir string, files map[string][]byte) {
	tb.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func openBucket(tb testing.TB, url string) *bucket.Set {
	tb.Helper()
	set, err := bucket.Open([]string{url}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = set.Close() })
	return set
}

// parse returns the array of a stored one.
func parse(tb testing.TB, source string, s chunked.Stored, chunks string) *chunked.Array {
	tb.Helper()
	var errs fields.Errors
	a := chunked.ParseArray(fmt.Appendf(nil, `{"source":%q,"url":"u"%s}`, source, chunks),
		chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }}, &errs)
	if err := errs.Err(); err != nil {
		tb.Fatal(err)
	}
	return a
}

// reduce runs a reduction and returns its result and its items as JSON.
func reduce(tb testing.TB, w *chunked.Worker, a *chunked.Array, spec string) (result string, items []string) {
	tb.Helper()
	var errs fields.Errors
	o, _ := fields.Read(jsontext.Value(spec), &errs)
	r, _ := chunked.ParseReduction(o, a)
	if o.Has("ops") {
		chunked.ParseOps(o, a, &r, func(string) chunked.Options { return chunked.Options{} })
	}
	if err := errs.Err(); err != nil {
		tb.Fatal(err)
	}
	p, err := chunked.NewPlan(a, r, chunked.Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	items = make([]string, p.Items())
	item := func(i chunked.Item) error {
		for _, v := range i.Values {
			items[i.Index] += " " + string(v.AppendJSON(nil))
		}
		return nil
	}
	reducer := p.NewReducer()
	for task := range p.Tasks() {
		partial, err := p.Run(tb.Context(), w, task, nil, item)
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := reducer.EachLateItem(item); err != nil {
		tb.Fatal(err)
	}
	results, err := reducer.Results()
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range results {
		result += string(r.AppendJSON(nil)) + "\n"
	}
	return result, items
}

// Every array that zarr-python and zarrita wrote, and those of the specification, and slices of them, have the elements and sums that NumPy has.
func TestStores(t *testing.T) {
	dir := t.TempDir()
	stores := zarrstore.New(openBucket(t, "file://"+dir))
	rng := rand.New(rand.NewPCG(3, 1))
	w := chunked.NewWorker()
	cases := readCases(t)
	for i, c := range cases {
		where := filepath.Join(dir, strconv.Itoa(i), "a.zarr", "x")
		write(t, where, c.Files)
		array, pin, err := stores.Open(t.Context(), "file://"+where)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if rng.IntN(2) == 0 {
			if array, err = stores.Reopen("file://"+where, pin); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
		}
		h, err := npy.ParseHeader(bytes.NewReader(c.NPY))
		if err != nil {
			t.Fatal(err)
		}
		inTiles := chunked.Stored{Header: array.Header, Tile: array.Chunk, Tiles: array}
		want := parse(t, "npy", chunked.Stored{Header: h, Reader: bytes.NewReader(c.NPY)}, `,"chunks":3`)
		byTile, cut := parse(t, "zarr", inTiles, ""), parse(t, "zarr", inTiles, `,"chunks":3`)
		if sum, _ := reduce(t, w, byTile, `{}`); !sameNumber(sum, c.Sum) {
			t.Errorf("%s: got sum %s, want %s", c.Name, sum, c.Sum)
		}
		checkElements(t, c.Name, want, cut)
		selection, left := slicesOf(rng, h.Shape)
		part, partOf := parse(t, "zarr", inTiles, selection), parse(t, "npy", chunked.Stored{Header: h, Reader: bytes.NewReader(c.NPY)}, selection)
		checkElements(t, c.Name+selection, partOf, part)
		for _, spec := range []string{`{}`, fmt.Sprintf(`{"axis":%d,"ops":["sum","max","argmin"]}`, max(left-1, 0))} {
			if elements := partOf.Elements(); spec != `{}` && (left == 0 || elements == 0) {
				continue // extremes of nothing are an error
			}
			r1, i1 := reduce(t, w, partOf, spec)
			if r2, i2 := reduce(t, w, part, spec); r1 != r2 || len(i1) == len(i2) && spec != `{}` && !slices.Equal(i1, i2) {
				t.Errorf("%s%s: %s: got %s, want %s", c.Name, selection, spec, r2, r1)
			}
		}
		axes := rng.IntN(1 << len(h.Shape))
		var axis []string
		for k := range h.Shape {
			if axes>>k&1 != 0 {
				axis = append(axis, strconv.Itoa(k))
			}
		}
		along := `{"axis":[` + strings.Join(axis, ",") + `]`
		for _, spec := range []string{along + `}`, `{"ops":["sum","std"]}`, along + `,"ops":["mean","nansum","count"]}`} {
			r1, i1 := reduce(t, w, want, spec)
			r2, i2 := reduce(t, w, cut, spec)
			r3, _ := reduce(t, w, byTile, spec)
			if r1 != r2 || r1 != r3 || !slices.Equal(i1, i2) {
				t.Errorf("%s: %s: got %s and %s, want %s", c.Name, spec, r2, r3, r1)
			}
		}
	}
	if len(cases) < 1000 {
		t.Errorf("got %d cases, want at least 1000", len(cases))
	}
}

// sameNumber compares a result as JSON with a number of Python.
func sameNumber(got, want string) bool {
	special := map[string]string{"nan": `"NaN"`, "inf": `"Infinity"`, "-inf": `"-Infinity"`}
	got = strings.TrimSpace(got)
	if s, ok := special[want]; ok {
		return got == s
	}
	if got == want {
		return true
	}
	x, err1 := strconv.ParseFloat(got, 64)
	y, err2 := strconv.ParseFloat(want, 64)
	return err1 == nil && err2 == nil && x == y && strings.ContainsAny(got+want, ".e")
}

// checkElements compares all bits.
func checkElements(t *testing.T, name string, want, got *chunked.Array) {
	t.Helper()
	if want.DType() != got.DType() || !slices.Equal(want.Shape(), got.Shape()) {
		t.Errorf("%s: got %s %s, want %s %s", name, got.DType(), got.Shape(), want.DType(), want.Shape())
		return
	}
	var data [2][]byte
	for i, a := range []*chunked.Array{want, got} {
		data[i] = make([]byte, a.Bytes()+8)[:a.Bytes()]
		if err := a.Source().Fill(t.Context(), data[i], 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if got.Fortran() != want.Fortran() { // numpy.save has C order
		data[1] = toCOrder(data[1], got.Shape(), got.DType().Size())
	}
	if !bytes.Equal(data[0], data[1]) {
		t.Errorf("%s: got elements %x, want %x", name, data[1], data[0])
	}
}

func toCOrder(p []byte, shape []int64, size int) []byte {
	out := make([]byte, 0, len(p))
	at := make([]int64, len(shape))
	for range len(p) / size {
		off, weight := int64(0), int64(1)
		for k, x := range at {
			off += x * weight
			weight *= shape[k]
		}
		out = append(out, p[off*int64(size):][:size]...)
		for k := len(at) - 1; k >= 0; k-- {
			if at[k]++; at[k] < shape[k] {
				break
			}
			at[k] = 0
		}
	}
	return out
}
