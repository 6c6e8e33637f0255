package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answers is a store whose responses are changed: /data/RUN/KEY has the files of a format, and the run chooses the change.
type answers struct {
	files   map[string][]byte
	change  func(w http.ResponseWriter, r *http.Request, data []byte) bool // nil for none; false leaves the response to the store
	first   int64                                                          // the first GET of an object that is changed
	only    bool                                                           // no other is
	gets    atomic.Int64
	changed atomic.Int64 // responses
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("list-type") != "" {
		a.list(w, r)
		return
	}
	data, ok := a.files[strings.SplitN(r.URL.Path, "/", 4)[3]]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", `"v"`)
	if r.Method == http.MethodGet {
		n := a.gets.Add(1)
		if a.change != nil && (n == a.first || n > a.first && !a.only) && a.change(w, r, data) {
			a.changed.Add(1)
			return
		}
	}
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data))
}

// list lists the objects with a prefix.
func (a *answers) list(w http.ResponseWriter, r *http.Request) {
	prefix := r.URL.Query().Get("prefix")
	run, _, _ := strings.Cut(prefix, "/")
	w.Header().Set("Content-Type", "application/xml")
	_, _ = fmt.Fprintf(w, `<ListBucketResult><Name>data</Name><Prefix>%s</Prefix><IsTruncated>false</IsTruncated>`, prefix)
	for _, key := range slices.Sorted(maps.Keys(a.files)) {
		if full := run + "/" + key; strings.HasPrefix(full, prefix) {
			_, _ = fmt.Fprintf(w, `<Contents><Key>%s</Key><Size>%d</Size><ETag>"v"</ETag></Contents>`, full, len(a.files[key]))
		}
	}
	_, _ = io.WriteString(w, `</ListBucketResult>`)
}

// requested returns the range of a request.
func requested(r *http.Request, data []byte) (lo, hi int) {
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi); err != nil {
		return 0, len(data) - 1
	}
	return lo, min(hi, len(data)-1)
}

// partial sends a response to a request for a range.
func partial(w http.ResponseWriter, lo, hi, total int, body []byte) bool {
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", lo, hi, total))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body)
	return true
}

// changes are responses that are not what was requested.
var changes = map[string]func(w http.ResponseWriter, r *http.Request, data []byte) bool{
	"another entity tag": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		w.Header().Set("ETag", `"w"`)
		return partial(w, lo, hi, len(data), data[lo:hi+1])
	},
	"no entity tag": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		w.Header().Del("ETag")
		return partial(w, lo, hi, len(data), data[lo:hi+1])
	},
	"other bytes of the object": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		n := hi + 1 - lo
		lo = (lo + 1) % (len(data) - n + 1)
		return n < len(data) && partial(w, lo, lo+n-1, len(data), data[lo:lo+n])
	},
	"another length of the object": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		return partial(w, lo, hi, len(data)+1, data[lo:hi+1])
	},
	"fewer bytes": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		return hi > lo && partial(w, lo, hi-1, len(data), data[lo:hi])
	},
	"a body that is too short": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		return hi > lo && partial(w, lo, hi, len(data), data[lo:hi])
	},
	"a body that is too long": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		return partial(w, lo, hi, len(data), append(slices.Clone(data[lo:hi+1]), 0))
	},
	"no Content-Range": func(w http.ResponseWriter, r *http.Request, data []byte) bool {
		lo, hi := requested(r, data)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[lo : hi+1])
		return true
	},
	"a whole object of another length": func(w http.ResponseWriter, _ *http.Request, data []byte) bool {
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
		_, _ = w.Write(append(slices.Clone(data), 0))
		return true
	},
	"an error": func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	},
	"no content": func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusNoContent)
		return true
	},
}

// flipped sends the range with one bit changed.
func flipped(w http.ResponseWriter, r *http.Request, data []byte) bool {
	lo, hi := requested(r, data)
	body := slices.Clone(data[lo : hi+1])
	body[len(body)/2] ^= 4
	return partial(w, lo, hi, len(data), body)
}

// sharded returns a Zarr array of version 3: a shard of two chunks of four int32 with checksums.
func sharded() map[string][]byte {
	chunks := []byte{}
	index := []byte{}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	for i := range 2 {
		chunk := []byte{}
		for k := range 4 {
			chunk = binary.LittleEndian.AppendUint32(chunk, uint32(10*i+k))
		}
		chunk = binary.LittleEndian.AppendUint32(chunk, crc32.Checksum(chunk, castagnoli))
		index = binary.LittleEndian.AppendUint64(index, uint64(len(chunks)))
		index = binary.LittleEndian.AppendUint64(index, uint64(len(chunk)))
		chunks = append(chunks, chunk...)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.Checksum(index, castagnoli))
	const meta = `{"zarr_format":3,"node_type":"array","shape":[8],"data_type":"int32","fill_value":0,
		"chunk_grid":{"name":"regular","configuration":{"chunk_shape":[8]}},"chunk_key_encoding":{"name":"default"},
		"codecs":[{"name":"sharding_indexed","configuration":{"chunk_shape":[4],
			"codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}],
			"index_codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}]}}]}`
	return map[string][]byte{"a/zarr.json": []byte(meta), "a/c/0": append(chunks, index...)}
}

// format is a way to store an array, whose sum is known.
type format struct {
	name, array string // the array has %s for the URL of the run
	files       map[string][]byte
	checked     bool // the elements have a checksum
}

func formats(t *testing.T) []format {
	t.Helper()
	table := int32s(t, 50, 3, 7)
	weather := make(map[string][]byte)
	for _, name := range []string{".zarray", "0.0.0", "1.0.0", "2.0.0", "3.0.0", "4.0.0"} {
		data, err := os.ReadFile("testdata/weather.zarr/temperature/" + name)
		if err != nil {
			t.Fatal(err)
		}
		weather["t/"+name] = data
	}
	parts := map[string][]byte{"part-1.npy": table, "part-2.npy": int32s(t, 50, 3, 9)}
	return []format{
		{"npy", `{"source":"npy","url":"%s/x.npy"}`, map[string][]byte{"x.npy": table}, false},
		{"raw", `{"source":"raw","url":"%s/x","dtype":"int32","shape":[50,3],"offset":128}`, map[string][]byte{"x": table}, false},
		{"several, one after the other", `{"source":"npy","urls":["%s/part-*.npy"]}`, parts, false},
		{"several, side by side", `{"source":"npy","urls":["%[1]s/part-1.npy","%[1]s/part-2.npy"],"concatenate":1}`, parts, false},
		{"npz, stored", `{"source":"npz","url":"%s/x.npz","member":"x"}`, map[string][]byte{"x.npz": npzOf(t, false, map[string][]byte{"x": table})}, false},
		{"npz, deflated", `{"source":"npz","url":"%s/x.npz"}`, map[string][]byte{"x.npz": npzOf(t, true, map[string][]byte{"x": table})}, true},
		{"zarr, version 2", `{"source":"zarr","url":"%s/t"}`, weather, false},
		{"zarr, version 3, shards", `{"source":"zarr","url":"%s/a"}`, sharded(), true},
	}
}

// A response that is not what was requested fails the submission or the job, or the request is repeated. It never makes a
// wrong sum, whatever the format and whichever response it is.
func TestAnswersOfStores(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute, most of which is the waits of retries")
	}
	t.Parallel()
	var runs sync.Map // of *answers, by name
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		run := r.URL.Query().Get("prefix")
		if r.URL.Query().Get("list-type") == "" {
			run = strings.SplitN(r.URL.Path, "/", 4)[2]
		}
		run, _, _ = strings.Cut(run, "/")
		a, _ := runs.Load(run)
		a.(*answers).ServeHTTP(w, r)
	}))
	defer store.Close()
	srv, stop := launch(t, "--data-dir", t.TempDir(), "--array-bucket", "s3://data?region=r&endpoint="+store.URL, "--workers", "32")
	defer stop()
	api := "http://" + srv.apiListener.Addr().String()
	var number atomic.Int64
	sum := func(f *format, a *answers) (status int, state, result string) {
		a.files = f.files
		run := fmt.Sprint("run", number.Add(1))
		runs.Store(run, a)
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil, `{"kind":"array_sum","array":`+f.array+`}`, "s3://data/"+run), "Prefer", "wait=30")
		return status, fmt.Sprint(v["state"]), fmt.Sprint(v["result"], v["error"])
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 12) // fewer than probes, which wait for retries
	for _, f := range formats(t) {
		var clean answers
		status, state, want := sum(&f, &clean)
		if status != http.StatusOK || state != "succeeded" {
			t.Fatalf("%s: got %d %s %s, want a sum", f.name, status, state, want)
		}
		try := func(name string, change func(http.ResponseWriter, *http.Request, []byte) bool, first int64, only bool) {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				a := &answers{change: change, first: first, only: only}
				status, state, got := sum(&f, a)
				if state == "succeeded" && got != want {
					t.Errorf("%s, %s, request %d: got %s, want %s or an error", f.name, name, first, got, want)
				}
				if state == "succeeded" && !only && a.changed.Load() > 0 {
					t.Errorf("%s, %s from request %d on: got %s, want an error", f.name, name, first, got)
				}
				if status >= 500 && status != http.StatusServiceUnavailable {
					t.Errorf("%s, %s, request %d: got status %d", f.name, name, first, status)
				}
			})
		}
		for first := range clean.gets.Load() {
			for name, change := range changes {
				try(name, change, first+1, true)
				try(name, change, first+1, false)
			}
			if f.checked {
				try("a bit", flipped, first+1, true)
			}
		}
	}
}
