package zarr_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gather/internal/zarr"
)

const v2 = `{"zarr_format":2,"shape":[6,5],"chunks":[2,3],"dtype":"<f8","compressor":null,"fill_value":0.0,"order":"C","filters":null}`

const v3 = `{"zarr_format":3,"node_type":"array","shape":[6,5],"data_type":"float64","chunk_grid":{"name":"regular",` +
	`"configuration":{"chunk_shape":[2,3]}},"chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},` +
	`"fill_value":0,"codecs":[{"name":"bytes","configuration":{"endian":"little"}}],"attributes":{},"dimension_names":["y","x"]}`

const sharded = `{"name":"sharding_indexed","configuration":{"chunk_shape":[1,3],"codecs":[{"name":"bytes","configuration":` +
	`{"endian":"little"}}],"index_codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}]}}`

// edit replaces old by new, which must be there.
func edit(doc, old, to string) string {
	if !strings.Contains(doc, old) {
		panic(old)
	}
	return strings.Replace(doc, old, to, 1)
}

const codecs3 = `[{"name":"bytes","configuration":{"endian":"little"}}]`

// What is not read is an error that names it.
func TestUnsupported(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{`{"zarr_format":1}`, "zarr_format 1"},
		{`{`, "JSON"},
		{`[]`, "JSON"},
		{edit(v2, `null,"fill`, `{"id":"bz2","level":1},"fill`), `codec "bz2"; gzip`},
		{edit(v2, `null,"fill`, `{"id":"blosc","cname":"snappy"},"fill`), `blosc with "snappy"`},
		{edit(v2, `"filters":null`, `"filters":[{"id":"delta","dtype":"<f8"}]`), `filter "delta"`},
		{edit(v2, `"<f8"`, `"<c16"`), `dtype "<c16"`},
		{edit(v2, `"<f8"`, `"<M8[ns]"`), `dtype "<M8[ns]"`},
		{edit(v2, `"<f8"`, `"|O"`), `dtype "|O"`},
		{edit(v2, `"<f8"`, `[["a","<f8"]]`), `dtype [["a","<f8"]]`},
		{edit(v2, `"C"`, `"K"`), `order "K"`},
		{edit(v2, `"C"`, `"C","dimension_separator":":"`), `dimension_separator ":"`},
		{edit(v2, `0.0`, `"abc"`), `fill_value "abc"`},
		{edit(edit(v2, `<f8`, `|i1`), `0.0`, `200`), `fill_value 200`},
		{edit(v2, `[2,3]`, `[2]`), "2 dimensions with chunks of 1"},
		{edit(v2, `[2,3]`, `[0,3]`), "chunks of 0 along axis 0"},
		{edit(v2, `[6,5]`, `[-6,5]`), "length -6"},
		{edit(v2, `[6,5]`, `[4611686018427387904,5]`), "2^62 bytes"},
		{edit(v2, `[2,3]`, `[20000,3000]`), "128 MiB"},
		{edit(v2, `[2,3]`, `[4611686018427387904,4611686018427387904]`), "128 MiB"},
		{edit(v3, `"array"`, `"group"`), `node_type "group"`},
		{edit(v3, `"float64"`, `"complex64"`), `data_type "complex64"`},
		{edit(v3, `"float64"`, `{"name":"numpy.datetime64"}`), `data_type {"name":"numpy.datetime64"}`},
		{edit(v3, `"regular"`, `"rectilinear"`), `grid "rectilinear"`},
		{edit(v3, `"default"`, `"suffix"`), `encoding "suffix"`},
		{edit(v3, `"/"`, `"_"`), `separator "_"`},
		{edit(v3, `"attributes":{}`, `"extra":{"name":"x"}`), `member "extra"`},
		{edit(v3, `"attributes":{}`, `"storage_transformers":[{"name":"t"}]`), `transformer "t"`},
		{edit(v3, codecs3, `[]`), "no codec bytes"},
		{edit(v3, codecs3, `[{"name":"gzip"}]`), `"gzip" before the codec bytes`},
		{edit(v3, codecs3, `[{"name":"vlen-utf8"}]`), `codec "vlen-utf8"`},
		{edit(v3, codecs3, `[{"name":"bytes"}]`), `endian ""`},
		{edit(v3, codecs3, `[{"name":"transpose","configuration":{"order":[0,0]}},{"name":"bytes"}]`), "no permutation"},
		{edit(v3, codecs3, `[{"name":"transpose","configuration":{"order":[0]}},{"name":"bytes"}]`), "1 axes for 2"},
		{edit(v3, codecs3, `[`+sharded+`,{"name":"gzip"}]`), "sharding_indexed among others"},
		{edit(v3, codecs3, `[`+edit(sharded, `[1,3]`, `[1,2]`)+`]`), "shards of length 3 in chunks of 2"},
		{edit(v3, codecs3, `[`+edit(sharded, `,{"name":"crc32c"}`, `,{"name":"zstd"}`)+`]`), `"zstd" of a shard index`},
		{edit(v3, codecs3, `[`+edit(sharded, codecs3, `[`+sharded+`]`)+`]`), "in a shard"},
		{edit(v3, `"fill_value":0,`, ``), "no fill_value"},
		{strings.Repeat(" ", zarr.MaxMetadata) + v3, "65536"},
	} {
		if _, err := zarr.Parse([]byte(tt.doc)); !errors.Is(err, zarr.ErrFormat) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.200s: got %v, want ErrFormat with %q", tt.doc, err, tt.want)
		}
	}
	for _, doc := range []string{
		v2, v3, edit(v3, codecs3, `[`+sharded+`]`), edit(v3, `"attributes":{}`, `"extra":{"must_understand":false}`), edit(v2, `"fill`, `"more":1,"fill`),
		edit(edit(v3, codecs3, `["bytes"]`), "float64", "uint8"),
	} {
		if _, err := zarr.Parse([]byte(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

// Keys and numbers of objects are each other's inverse.
func TestKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		doc  string
		keys []string
	}{
		"version 2":       {v2, []string{"0.0", "0.1", "1.0", "1.1", "2.0", "2.1"}},
		"with a slash":    {edit(v2, `"C"`, `"C","dimension_separator":"/"`), []string{"0/0", "0/1", "1/0", "1/1", "2/0", "2/1"}},
		"version 3":       {v3, []string{"c/0/0", "c/0/1", "c/1/0", "c/1/1", "c/2/0", "c/2/1"}},
		"v2 keys":         {edit(edit(v3, `"default"`, `"v2"`), `,"configuration":{"separator":"/"}`, ``), []string{"0.0", "0.1", "1.0", "1.1", "2.0", "2.1"}},
		"no axes":         {edit(edit(v3, `[6,5]`, `[]`), `[2,3]`, `[]`), []string{"c"}},
		"no axes, v2":     {edit(edit(v2, `[6,5]`, `[]`), `[2,3]`, `[]`), []string{"0"}},
		"shards of whole": {edit(edit(v3, codecs3, `[`+sharded+`]`), `[2,3]`, `[6,6]`), []string{"c/0/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := zarr.Parse([]byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := a.Objects(); !ok || n != int64(len(tt.keys)) {
				t.Errorf("got %d objects, want %d", n, len(tt.keys))
			}
			for i, key := range tt.keys {
				if got := a.Key(int64(i)); got != key {
					t.Errorf("object %d: got key %q, want %q", i, got, key)
				}
				if got, ok := a.Object(key); !ok || got != int64(i) {
					t.Errorf("key %q: got object %d, %v, want %d", key, got, ok, i)
				}
			}
			for _, key := range []string{"", "c", "0", "zarr.json", ".zarray", "c/", "c/0", "c/3/0", "c/0/2", "c/00/0", "c/-1/0", "3.0", "0.2", "0.0.0", "c/0/0/0", "+0.0", "c.0.0"} {
				if got, ok := a.Object(key); ok && !slices.Contains(tt.keys, key) {
					t.Errorf("key %q: got object %d, want none", key, got)
				}
			}
		})
	}
}

// Chunks of shards are at the place that the grids determine.
func TestLocate(t *testing.T) {
	a, err := zarr.Parse([]byte(edit(edit(v3, codecs3, `[`+sharded+`]`), `[2,3]`, `[4,6]`))) // chunks (1, 3) in shards (4, 6) of (6, 5)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range int64(12) {
		object, within := a.Locate(i)
		got = append(got, fmt.Sprint(object, within))
	}
	want := []string{"0 0", "0 1", "0 2", "0 3", "0 4", "0 5", "0 6", "0 7", "1 0", "1 1", "1 2", "1 3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIndex(t *testing.T) {
	a, err := zarr.Parse([]byte(edit(v3, codecs3, `[`+edit(sharded, `,{"name":"crc32c"}`, ``)+`]`))) // two chunks
	if err != nil {
		t.Fatal(err)
	}
	if off, n, err := a.IndexRange(100); off != 68 || n != 32 || err != nil {
		t.Errorf("got %d, %d, %v, want the last 32 bytes", off, n, err)
	}
	if _, _, err := a.IndexRange(31); !errors.Is(err, zarr.ErrCorrupt) {
		t.Errorf("a shard that is too short: got %v, want ErrCorrupt", err)
	}
	index := func(v ...uint64) (p []byte) {
		for _, v := range v {
			for k := range 8 {
				p = append(p, byte(v>>(8*k)))
			}
		}
		return p
	}
	const missing = math.MaxUint64
	got, err := a.DecodeIndex(index(3, 20, missing, missing), 100)
	if want := []zarr.Range{{Off: 3, N: 20}, {Off: 0, N: -1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, p := range [][]byte{
		index(90, 11, 0, 0), index(101, 0, 0, 0), index(missing, 5, 0, 0), index(5, missing, 0, 0), index(1<<63, 1<<63, 0, 0), index(0, 0), index(0, 0, 0, 0, 0),
	} {
		if got, err := a.DecodeIndex(p, 100); !errors.Is(err, zarr.ErrCorrupt) {
			t.Errorf("%x: got %v, %v, want ErrCorrupt", p, got, err)
		}
	}
}

func TestGroups(t *testing.T) {
	for doc, want := range map[string]string{
		`{"zarr_format":3,"node_type":"group"}`: "[] true",
		`{"zarr_format":3,"node_type":"group","consolidated_metadata":{"metadata":{"x":{"node_type":"array"},"g":{"node_type":"group"}}}}`: "[x] true",
		`{"zarr_consolidated_format":1,"metadata":{".zgroup":{},"t/.zarray":{},"t/.zattrs":{}}}`:                                           "[t] true",
		v3: "[] false", `{}`: "[] false", `nonsense`: "[] false",
	} {
		arrays, group := zarr.ArraysOfGroup([]byte(doc))
		if got := fmt.Sprint(arrays, group); got != want {
			t.Errorf("%s: got %s, want %s", doc, got, want)
		}
	}
}

// FuzzArray parses documents, and decodes a chunk and an index: errors are ErrFormat and ErrCorrupt, and sizes are bounded.
func FuzzArray(f *testing.F) {
	for _, doc := range []string{
		v2, v3, edit(v3, codecs3, `[`+sharded+`]`), edit(v2, `null,"fill`, `{"id":"zlib"},"fill`), edit(v2, `"C"`, `"F"`),
		edit(v3, codecs3, `[{"name":"transpose","configuration":{"order":[1,0]}},{"name":"bytes","configuration":{"endian":"big"}},{"name":"gzip"},{"name":"crc32c"}]`),
	} {
		f.Add([]byte(doc), make([]byte, 48))
		f.Add([]byte(doc), make([]byte, 36))
	}
	var s zarr.Scratch
	f.Fuzz(func(t *testing.T, doc, data []byte) {
		a, err := zarr.Parse(doc)
		if err != nil {
			if !errors.Is(err, zarr.ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		size := a.ChunkBytes()
		if size < 1 || size > zarr.MaxChunk {
			t.Fatalf("got chunks of %d bytes", size)
		}
		if n, ok := a.Objects(); ok && n > 0 {
			for _, i := range []int64{0, n - 1} {
				if got, ok := a.Object(a.Key(i)); !ok || got != i {
					t.Errorf("object %d: its key has number %d, %v", i, got, ok)
				}
			}
		}
		if size > 1<<16 {
			return
		}
		dst := make([]byte, size)
		a.FillChunk(dst)
		if err := a.Decode(dst, data, &s); err != nil && !errors.Is(err, zarr.ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
		if !a.Sharded() {
			return
		}
		if _, n, err := a.IndexRange(int64(len(data))); err == nil && n > 1<<16 {
			t.Errorf("got an index of %d bytes in a shard of %d", n, len(data))
		}
		if ranges, err := a.DecodeIndex(data, 1000); err == nil {
			for _, r := range ranges {
				if r.Off < 0 || r.N < -1 || r.Off+r.N > 1000 {
					t.Errorf("got %v of 1000 bytes", r)
				}
			}
		}
	})
}
