package zarrstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/bucket"
	"gather/internal/bucket/buckettest"
	"gather/internal/chunked"
	"gather/internal/zarr"
	"gather/internal/zarrstore"
)

const document = `{"zarr_format":2,"shape":[4,4],"chunks":[2,2],"dtype":"<f8","compressor":null,"fill_value":7.0,"order":"C","filters":null}`

func chunk(v float64) []byte {
	var p []byte
	for range 4 {
		p = binary.LittleEndian.AppendUint64(p, math.Float64bits(v))
	}
	return p
}

// files returns an array of ones, twos, threes and fours, without metadata.
func files() map[string][]byte {
	return map[string][]byte{"0.0": chunk(1), "0.1": chunk(2), "1.0": chunk(3), "1.1": chunk(4)}
}

// at opens a store of files.
func at(tb testing.TB, files map[string][]byte) (stores *zarrstore.Stores, dir string) {
	tb.Helper()
	root := tb.TempDir()
	dir = filepath.Join(root, "a.zarr", "x")
	write(tb, dir, files)
	return zarrstore.New(openBucket(tb, "file://"+root)), dir
}

func with(files map[string][]byte, name, text string) map[string][]byte {
	files[name] = []byte(text)
	return files
}

func tile(tb testing.TB, a *zarrstore.Array, i int64) (float64, error) {
	tb.Helper()
	dst := make([]byte, a.ChunkBytes())
	err := a.ReadTile(tb.Context(), i, dst)
	return math.Float64frombits(binary.NativeEndian.Uint64(dst)), err
}

// An array that changed after it was opened is not read, by the process that opened it or another.
func TestChanges(t *testing.T) {
	rewrite := func(name string, data []byte) func(dir string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			later := time.Now().Add(time.Minute) // whatever the resolution of the clock
			return errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, later, later))
		}
	}
	for name, tt := range map[string]struct {
		change         func(dir string) error
		here, reopened error // of reading chunk 3
	}{
		"nothing":             {func(string) error { return nil }, nil, nil},
		"a rewritten chunk":   {rewrite("1.1", chunk(5)), bucket.ErrChanged, bucket.ErrChanged},
		"the same again":      {rewrite("1.1", chunk(4)), bucket.ErrChanged, bucket.ErrChanged},
		"a deleted chunk":     {func(dir string) error { return os.Remove(filepath.Join(dir, "1.1")) }, bucket.ErrNotFound, bucket.ErrChanged},
		"another chunk":       {rewrite("0.0", chunk(5)), nil, bucket.ErrChanged},
		"a new chunk":         {rewrite("1.0", chunk(5)), nil, bucket.ErrChanged},
		"the metadata":        {rewrite(".zarray", []byte(document+" ")), nil, bucket.ErrChanged},
		"attributes":          {rewrite(".zattrs", []byte("{}")), nil, nil},
		"all of it":           {os.RemoveAll, bucket.ErrNotFound, bucket.ErrNotFound},
		"one that it has not": {rewrite("2.0", chunk(5)), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := with(files(), ".zarray", document)
			delete(f, "1.0") // missing
			stores, dir := at(t, f)
			a, pin, err := stores.Open(t.Context(), "file://"+dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if v, err := tile(t, a, 3); !errors.Is(err, tt.here) || err == nil && v != 4 {
				t.Errorf("got %v, %v, want %v", v, err, tt.here)
			}
			if v, err := tile(t, a, 2); err != nil || v != 7 {
				t.Errorf("a missing chunk: got %v, %v, want the fill value", v, err)
			}
			b, err := stores.Reopen("file://"+dir, pin)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if v, err := tile(t, b, 3); !errors.Is(err, tt.reopened) || err == nil && v != 4 {
						t.Errorf("reopened: got %v, %v, want %v", v, err, tt.reopened)
					}
				})
			}
			wg.Wait()
		})
	}
}

// What cannot be read is an error at the opening, or a damaged chunk.
func TestUnreadable(t *testing.T) {
	group := `{"zarr_format":2}`
	for name, tt := range map[string]struct {
		files map[string][]byte
		want  error
		text  string
	}{
		"nothing":               {map[string][]byte{"0.0": chunk(1)}, bucket.ErrNotFound, "zarr.json"},
		"a group":               {map[string][]byte{".zgroup": []byte(group)}, zarr.ErrFormat, "a group"},
		"a group with arrays":   {with(map[string][]byte{".zgroup": []byte(group)}, ".zmetadata", `{"metadata":{"t/.zarray":{},".zgroup":{}}}`), zarr.ErrFormat, "arrays: t"},
		"a group of version 3":  {with(nil2(), "zarr.json", `{"zarr_format":3,"node_type":"group"}`), zarr.ErrFormat, "a group"},
		"a codec":               {with(files(), ".zarray", strings.Replace(document, `"compressor":null`, `"compressor":{"id":"lzma"}`, 1)), zarr.ErrFormat, "lzma"},
		"no fill value":         {with(files(), ".zarray", strings.Replace(document, `7.0`, `null`, 1)), nil, ""},
		"no fill value, a hole": {with(without(files(), "0.1"), ".zarray", strings.Replace(document, `7.0`, `null`, 1)), zarr.ErrFormat, "fill_value is null"},
		"large metadata":        {with(files(), ".zarray", document+strings.Repeat(" ", zarr.MaxMetadata)), zarr.ErrFormat, "65536"},
		"large groups":          {with(nil2(), ".zmetadata", strings.Repeat(" ", 5<<20)), zarr.ErrFormat, "metadata of 5242880 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			stores, dir := at(t, tt.files)
			_, _, err := stores.Open(t.Context(), "file://"+dir)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
	for name, data := range map[string][]byte{"short": chunk(1)[1:], "long": append(chunk(1), 0), "empty": nil, "huge": make([]byte, 1<<20)} {
		t.Run("a chunk that is "+name, func(t *testing.T) {
			f := with(files(), ".zarray", document)
			f["0.0"] = data
			stores, dir := at(t, f)
			a, _, err := stores.Open(t.Context(), "file://"+dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tile(t, a, 0); !errors.Is(err, zarr.ErrCorrupt) || !strings.Contains(err.Error(), "0.0") {
				t.Errorf("got %v, want ErrCorrupt with the key", err)
			}
			if v, err := tile(t, a, 1); err != nil || v != 2 {
				t.Errorf("the next chunk: got %v, %v, want 2", v, err)
			}
		})
	}
}

func nil2() map[string][]byte { return map[string][]byte{} }

func without(files map[string][]byte, name string) map[string][]byte {
	delete(files, name)
	return files
}

// Every flipped bit of a shard with checksums is detected, or changes nothing but where chunks are.
func TestDamagedShards(t *testing.T) {
	var c storeCase
	for _, x := range readCases(t) {
		if strings.HasPrefix(x.Name, "v3 int32") && strings.Contains(x.Name, "['crc32c']") && bytes.Contains(x.Files["zarr.json"], []byte(`}}, {"name": "crc32c"}], "index_location"`)) {
			c = x
		}
	}
	if c.Files == nil {
		t.Fatal("no case of shards with checksums")
	}
	for name, data := range c.Files {
		if name == "zarr.json" {
			continue
		}
		for i := 0; i < len(data); i += 5 {
			damaged := bytes.Clone(data)
			damaged[i] ^= 0x10
			f := maps.Clone(c.Files)
			f[name] = damaged
			stores, dir := at(t, f)
			a, _, err := stores.Open(t.Context(), "file://"+dir)
			if err != nil {
				t.Fatal(err)
			}
			array := parse(t, "zarr", chunked.Stored{Header: a.Header, Tile: a.Chunk, Tiles: a}, "")
			got := make([]byte, array.Bytes()+8)[:array.Bytes()]
			if err := array.Source().Fill(t.Context(), got, 0); !errors.Is(err, zarr.ErrCorrupt) {
				t.Errorf("%s: byte %d flipped: got %v, want ErrCorrupt", name, i, err)
			}
		}
		break
	}
}

// A store of S3 gives the elements that a directory gives.
func TestObjects(t *testing.T) {
	st := buckettest.Server(t)
	stores := zarrstore.New(openBucket(t, st.Allow))
	w := chunked.NewWorker()
	for i, c := range readCases(t) {
		if i%30 != 0 {
			continue
		}
		base := fmt.Sprintf("%d.zarr/x", i)
		for name, data := range c.Files {
			st.Write(t, base+"/"+name, data)
		}
		a, _, err := stores.Open(t.Context(), st.URL(base))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if !a.Remote() {
			t.Fatal("got a local array")
		}
		array := parse(t, "zarr", chunked.Stored{Header: a.Header, Tile: a.Chunk, Tiles: a, Remote: true}, "")
		if sum, _ := reduce(t, w, array, `{}`); !sameNumber(sum, c.Sum) {
			t.Errorf("%s: got sum %s, want %s", c.Name, sum, c.Sum)
		}
	}
	st.Write(t, "g/x/.zarray", []byte(document))
	for name, data := range files() {
		st.Write(t, "g/x/"+name, data)
	}
	a, pin, err := stores.Open(t.Context(), st.URL("g/x"))
	if err != nil {
		t.Fatal(err)
	}
	st.Write(t, "g/x/1.1", chunk(9))
	if v, err := tile(t, a, 3); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("a rewritten chunk: got %v, %v, want ErrChanged", v, err)
	}
	if a, err = stores.Reopen(st.URL("g/x"), pin); err != nil {
		t.Fatal(err)
	}
	if v, err := tile(t, a, 0); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("reopened: got %v, %v, want ErrChanged", v, err)
	}
}
