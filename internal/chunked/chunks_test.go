package chunked_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gather/internal/chunked"
)

// parse parses an array that must be valid.
func parse(tb testing.TB, description string) *chunked.Array {
	tb.Helper()
	a, errs := parseArray([]byte(description), chunked.Options{})
	if len(errs) > 0 {
		tb.Fatalf("%s: %v", description, errs)
	}
	return a
}

func golden(tb testing.TB, name string, into any) {
	tb.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		tb.Fatal(err)
	}
}

// TestChunksAreDasks compares with dask.array.core.normalize_chunks; see testdata/golden.py.
func TestChunksAreDasks(t *testing.T) {
	var cases []struct {
		Shape  json.RawMessage
		DType  string
		Chunks json.RawMessage
		Want   [][]int64
	}
	golden(t, "chunks.json", &cases)
	for _, c := range cases {
		description := fmt.Sprintf(`{"source":"ones","shape":%s,"dtype":%q,"chunks":%s}`, c.Shape, c.DType, c.Chunks)
		a, errs := parseArray([]byte(description), chunked.Options{Limits: chunked.Limits{Elements: 1 << 60, Chunks: 1 << 40}})
		if c.Want == nil {
			if len(errs) == 0 {
				t.Errorf("%s: no error, but Dask rejects it", description)
			}
			continue
		}
		if len(errs) > 0 {
			t.Errorf("%s: %v", description, errs)
			continue
		}
		got := [][]int64{}
		for i := range a.Shape() {
			got = append(got, a.Grid().Lengths(i))
		}
		if !reflect.DeepEqual(got, c.Want) {
			t.Errorf("%s: got %v, want %v", description, got, c.Want)
		}
	}
}

func TestChunkFaults(t *testing.T) {
	tests := []struct{ shape, chunks, pointer, detail string }{
		{`[10,10]`, `[5]`, "/chunks", "has 1 entries, but the array has 2 axes"},
		{`[10,10]`, `[5,5,5]`, "/chunks", "one for each axis"},
		{`[10,10]`, `[[5,5],[5,4]]`, "/chunks", "along axis 1: make their lengths add up to 10"},
		{`[10,10]`, `[[9223372036854775807,9223372036854775807,12],-1]`, "/chunks", "do not add up along axis 0"},
		{`[10,10]`, `[5,-2]`, "/chunks/1", "is -2"},
		{`[10,10]`, `[5,0]`, "/chunks/1", "is 0"},
		{`[10]`, `0`, "/chunks", "is 0 along axis 0"},
		{`[10]`, `[11,-1]`, "/chunks/1", "is negative"},
		{`[10,10]`, `[[],5]`, "/chunks/0", "is empty"},
		{`[10,10]`, `[[5,-5,10],5]`, "/chunks/0/1", "is not a length"},
		{`[10,10]`, `[[5,null,5],5]`, "/chunks/0/1", "is not a length"},
		{`[10,10]`, `[2.5,5]`, "/chunks/0", "is not an integer"},
		{`[10]`, `[5,null]`, "/chunks", "has 2 entries, but the array has 1 axes"},
		{`[10,10]`, `[nul,5]`, "/chunks/0", "is not a chunk size"},
		{`[10,10]`, `"much"`, "/chunks", `"16MiB"`},
		{`[10,10]`, `"-5MB"`, "/chunks", `"16MiB"`},
		{`[10,10]`, `"infMB"`, "/chunks", `"16MiB"`},
		{`[10,10]`, `["1MB","2MB"]`, "/chunks/1", "another axis has 1000000"},
		{`[10,10]`, `{"2":5}`, "/chunks/2", "is not an axis"},
		{`[10,10]`, `{"-1":5}`, "/chunks/-1", "is not an axis"},
		{`[10,10]`, `{"0":5,"0":5}`, "/chunks/0", "twice"},
		{`[10,10]`, `true`, "/chunks", "is not a chunk size"},
		{`[1000000000]`, `1`, "/chunks", "makes 1000000000 chunks; the limit is 1000000 chunks"},
		{`[1000000000]`, `"8 B"`, "/chunks", "the limit is 1000000 chunks"},
		{`[100000,100000]`, `[1,1]`, "/chunks", "makes 10000000000 chunks"},
	}
	for _, test := range tests {
		description := fmt.Sprintf(`{"source":"ones","shape":%s,"chunks":%s}`, test.shape, test.chunks)
		_, errs := parseArray([]byte(description), chunked.Options{})
		if len(errs) != 1 || errs[0].Pointer != test.pointer || !strings.Contains(errs[0].Detail, test.detail) {
			t.Errorf("%s: got %q, want one at %s with %q", description, errs, test.pointer, test.detail)
		}
	}
}

// As in Dask, null (None) in chunks is a whole axis; a number without a fractional part is an integer, as in JSON
// Schema.
func TestChunksWithoutNumbers(t *testing.T) {
	for chunks, want := range map[string][][]int64{
		`null`:                {{10}, {10}},
		`[null,5]`:            {{10}, {5, 5}},
		`[null,null]`:         {{10}, {10}},
		`[[5,5],null]`:        {{5, 5}, {10}},
		`{"1":null}`:          {{10}, {10}},
		`{"0":null,"1":5}`:    {{10}, {5, 5}},
		`5.0`:                 {{5, 5}, {5, 5}},
		`[5e0,-1.0]`:          {{5, 5}, {10}},
		`[[4.0,60e-1],0.1e2]`: {{4, 6}, {10}},
	} {
		g := parse(t, `{"source":"ones","shape":[10.0,1e1],"chunks":`+chunks+`}`).Grid()
		if got := [][]int64{g.Lengths(0), g.Lengths(1)}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", chunks, got, want)
		}
	}
}

func TestGridNumbersChunksInCOrder(t *testing.T) {
	g := parse(t, `{"source":"ones","shape":[5,6],"chunks":[2,[1,2,3]]}`).Grid()
	if g.Chunks() != 9 || !reflect.DeepEqual(g.NumBlocks(), []int64{3, 3}) {
		t.Errorf("got %d chunks, %v blocks", g.Chunks(), g.NumBlocks())
	}
	for k, want := range map[int64][2][]int64{
		0: {{0, 0}, {2, 1}},
		1: {{0, 1}, {2, 2}},
		5: {{2, 3}, {2, 3}},
		8: {{4, 3}, {1, 3}},
	} {
		offset, extent := g.Chunk(k)
		if !reflect.DeepEqual(offset, want[0]) || !reflect.DeepEqual(extent, want[1]) {
			t.Errorf("chunk %d: got %v, %v, want %v", k, offset, extent, want)
		}
	}
}

// FuzzChunks tests that no chunks panic, and that accepted ones cover each axis exactly.
func FuzzChunks(f *testing.F) {
	for _, c := range []string{`100`, `"auto"`, `[[5,5],-1]`, `["16MiB","auto"]`, `{"0":3}`, `[]`, `"5.4 kB"`, `[4,3,3]`, `[[0,10],10]`, `[`, `"\`} {
		f.Add([]byte(c), int64(10), int64(20))
	}
	f.Fuzz(func(t *testing.T, form []byte, rows, columns int64) {
		for _, shape := range []string{fmt.Sprint("[", rows, "]"), fmt.Sprint("[", rows, ",", columns, "]"), "[]"} {
			description := append([]byte(`{"source":"zeros","dtype":"int16","shape":`+shape+`,"chunks":`), form...)
			opts := chunked.Options{Limits: chunked.Limits{Chunks: 1000}}
			a, errs := parseArray(append(description, '}'), opts)
			if len(errs) > 0 {
				if a != nil {
					t.Fatal("an array in addition to errors")
				}
				continue
			}
			chunks := int64(1)
			for i, size := range a.Shape() {
				lengths := a.Grid().Lengths(i)
				chunks *= int64(len(lengths))
				for _, l := range lengths {
					if l < 0 {
						t.Fatalf("%v has a negative length", lengths)
					}
					size -= l
				}
				if size != 0 || len(lengths) == 0 {
					t.Fatalf("%v differs from the axis by %d", lengths, size)
				}
			}
			if chunks != a.Grid().Chunks() || chunks > 1000 {
				t.Fatalf("counted %d chunks, Chunks returned %d", chunks, a.Grid().Chunks())
			}
		}
	})
}
