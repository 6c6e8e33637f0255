package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gather/internal/npy"
)

// serveBucket starts a server on a bucket and returns its API and a function that submits the sum of a URL.
func serveBucket(t *testing.T, bucket string) (api string, sum func(url, more string) (int, map[string]any)) {
	t.Helper()
	srv, stop := launch(t, "--data-dir", t.TempDir(), "--array-bucket", bucket, "--drain-timeout", "1s", "--workers", "1")
	t.Cleanup(stop)
	api = "http://" + srv.apiListener.Addr().String()
	return api, func(url, more string) (int, map[string]any) {
		t.Helper()
		return call(t, "POST", api+"/v1/jobs", "application/json",
			fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"npy","url":%q}%s}`, url, more), "Prefer", "wait=30")
	}
}

// ended waits for a job to end.
func ended(t *testing.T, api string, v map[string]any) map[string]any {
	t.Helper()
	status, v := call(t, "GET", fmt.Sprint(api, "/v1/jobs/", v["id"]), "", nil, "Prefer", "wait=30")
	if status != http.StatusOK {
		t.Fatalf("got %d %v", status, v)
	}
	return v
}

// failedAs reports whether a job failed with a problem type.
func failedAs(v map[string]any, problem string) bool {
	e, _ := v["error"].(map[string]any)
	return v["state"] == "failed" && e["type"] == "/problems/"+problem
}

// The elements of an object without a header are where the description has them.
func TestRawObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "data.bin")
	// Two bytes of something else, and [[1, 2, 3], [4, 5, 6]] in Fortran order, big-endian.
	if err := os.WriteFile(path, []byte{9, 9, 0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6, 7}, 0o600); err != nil {
		t.Fatal(err)
	}
	api, _ := serveBucket(t, "file://"+dir)
	for _, tt := range []struct {
		fields string
		status int
		want   string
	}{
		{`"offset":2,"shape":[2,3],"order":"F","byte_order":"big"`, http.StatusOK, "[5 7 9]"},
		{`"offset":2,"shape":[3,2],"byte_order":"big"`, http.StatusOK, "[6 15]"},
		{`"shape":[1,1]`, http.StatusOK, "[2313]"},
		{`"offset":4,"shape":[3,2]`, http.StatusUnprocessableEntity, "/array/url: ends before the array that shape, dtype and offset describe: it has 15 bytes, the array needs 16"},
		{`"offset":-1,"shape":[3,2]`, http.StatusUnprocessableEntity, "/array/offset: is -1: an offset is 0 or more bytes"},
		{`"offset":9223372036854775807,"shape":[3,2]`, http.StatusUnprocessableEntity, "/array/offset: is 9223372036854775807: the array would end beyond 2^63 bytes"},
		{`"order":"fortran","shape":[3,2]`, http.StatusUnprocessableEntity, `/array/order: is "fortran": use C or F`},
		{`"offset":0`, http.StatusUnprocessableEntity, "/array/shape: is missing: write " + wantShape},
	} {
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil,
			`{"kind":"array_sum","array":{"source":"raw","url":"file://%s","dtype":"int16",%s},"axis":0}`, path, tt.fields), "Prefer", "wait=30")
		got := fmt.Sprint(v["result"])
		if e, ok := v["errors"].([]any); ok {
			fault := e[0].(map[string]any)
			got = fmt.Sprint(fault["pointer"], ": ", fault["detail"])
		}
		if status != tt.status || got != tt.want {
			t.Errorf("%s: got %d %s, want %d %s", tt.fields, status, got, tt.status, tt.want)
		}
	}
}

// wantShape is the advice for a missing shape.
const wantShape = "the length along each axis, such as [1000, 1000]"

// Replacing an object after the submission fails the job, even if the new file can never be read; the worker is free
// for the next job, and the server stops.
func TestReplacedObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := float64s(t, 1000)
	api, _ := serveBucket(t, "file://"+dir)
	replacements := map[string]func(path string) error{
		"fifo":    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"deleted": func(string) error { return nil },
		"other":   func(path string) error { return os.WriteFile(path, append(bytes.Clone(file), 1), 0o600) },
	}
	jobs := make(map[string]map[string]any)
	for name := range replacements {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		status, v := call(t, "POST", api+"/v1/jobs", "application/json",
			fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"npy","url":"file://%s"},"start_after":"20s"}`, path))
		if status != http.StatusAccepted {
			t.Fatalf("%s: got %d %v", name, status, v)
		}
		jobs[name] = v
	}
	for name, replace := range replacements {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Remove(path), replace(path)); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range jobs {
		if v = ended(t, api, v); !failedAs(v, "source-changed") {
			t.Errorf("%s: got %v, want source-changed", name, v)
		}
	}
}

// A URL that cannot name an object is a client error.
func TestHostileURLs(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ok.npy"), float64s(t, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	_, sum := serveBucket(t, "file://"+dir)
	for _, name := range []string{"ok.npy/x", "a%00", strings.Repeat("n", 5000), "loop", "../x", "ok.npy%0a", strings.Repeat("n", 300)} {
		status, v := sum("file://"+dir+"/"+name, "")
		text := fmt.Sprint(v["errors"])
		if status != http.StatusUnprocessableEntity || !strings.Contains(text, "/array/url") || len(text) > 500 {
			t.Errorf("%.20q: got %d %.600s, want 422 that names /array/url", name, status, text)
		}
	}
}

// Responses of S3 stores to ranged requests are checked: an invalid response never causes a wrong sum.
func TestStoresThatIgnoreHeaders(t *testing.T) {
	const n = 2 << 20 // 16 MiB: two blocks
	file := float64s(t, n)
	var gets atomic.Int64
	for name, tt := range map[string]struct {
		response func(w http.ResponseWriter, r *http.Request)
		want     string // the problem; "" for the correct sum
	}{
		"the whole object": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			w.Header().Set("ETag", `"v"`)
		}, ""},
		"another range": {func(w http.ResponseWriter, r *http.Request) {
			if gets.Load() > 2 {
				r.Header.Set("Range", "bytes=0-8388607")
			}
			w.Header().Set("ETag", `"v"`)
		}, "job-failed"},
		"another version": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Match")
			w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, gets.Load()/3))
		}, "source-changed"},
	} {
		t.Run(name, func(t *testing.T) {
			gets.Store(0)
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				gets.Add(1)
				tt.response(w, r)
				http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(file))
			}))
			defer store.Close()
			_, sum := serveBucket(t, "s3://data?region=r&endpoint="+store.URL)
			status, v := sum("s3://data/x.npy", "")
			_, right := v["result"].(float64)
			if status != http.StatusOK || right != (tt.want == "") || !right && !failedAs(v, tt.want) {
				t.Errorf("got %d %v, want %q", status, v, tt.want)
			}
		})
	}
}

// A flipped bit on disk fails the jobs that sum the array, and an unreadable record does not prevent the start.
func TestDamagedArrays(t *testing.T) {
	dir := t.TempDir()
	serve := func(f func(api string)) {
		srv, stop := launch(t, "--data-dir", dir)
		defer stop()
		f("http://" + srv.apiListener.Addr().String())
	}
	sum := func(api, name string) (int, map[string]any) {
		return call(t, "POST", api+"/v1/jobs", "application/json",
			fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"npy","name":%q}}`, name), "Prefer", "wait=30")
	}
	stored := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "arrays", "*", "*.npy"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	serve(func(api string) {
		for i, name := range []string{"bit", "record", "good"} {
			if status, v := call(t, "PUT", api+"/v1/arrays/"+name, "application/x-npy", float64s(t, 100_000+i)); status != http.StatusCreated {
				t.Fatalf("%s: got %d %v", name, status, v)
			}
		}
		files := stored() // in the order of storing
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		data[500_000] ^= 1
		if err := os.WriteFile(files[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		if status, v := sum(api, "bit"); status != http.StatusOK || !failedAs(v, "source-corrupt") {
			t.Errorf("got %d %v, want source-corrupt", status, v)
		}
		if status, v := sum(api, "bit"); status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(v), "damaged") {
			t.Errorf("once the damage is known: got %d %v, want 422", status, v)
		}
	})
	records, err := filepath.Glob(filepath.Join(dir, "arrays", "*", "record.json"))
	if err != nil || len(records) != 1 {
		t.Fatalf("got %v, %v, want one record", records, err)
	}
	if err := os.Truncate(records[0], 10); err != nil {
		t.Fatal(err)
	}
	serve(func(api string) {
		for name, want := range map[string]int{"good": http.StatusOK, "record": http.StatusUnprocessableEntity} {
			if status, v := sum(api, name); status != want || want == http.StatusOK && v["state"] != "succeeded" {
				t.Errorf("%s: got %d %v, want %d", name, status, v, want)
			}
		}
		if status, v := call(t, "DELETE", api+"/v1/arrays/record", "", nil); status != http.StatusNoContent {
			t.Errorf("delete: got %d %v", status, v)
		}
	})
}

// An array with the maximum number of dimensions can be summed over all axes and over some.
func TestManyDimensions(t *testing.T) {
	srv, stop := launch(t, "--data-dir", t.TempDir())
	defer stop()
	api := "http://" + srv.apiListener.Addr().String()
	shape := make([]int64, npy.MaxDims)
	for i := range shape {
		shape[i] = 1
	}
	shape[0], shape[40] = 3, 2
	var file bytes.Buffer
	if _, err := npy.WriteHeader(&file, npy.Type{Kind: 'u', Size: 1}, shape); err != nil {
		t.Fatal(err)
	}
	file.Write([]byte{1, 2, 3, 4, 5, 6})
	if status, v := call(t, "PUT", api+"/v1/arrays/x", "application/x-npy", file.Bytes()); status != http.StatusCreated {
		t.Fatalf("got %d %v", status, v)
	}
	for more, want := range map[string]string{"": "21", `,"axis":0`: "[9 12]", `,"axis":40`: "[3 7 11]"} {
		status, v := call(t, "POST", api+"/v1/jobs", "application/json",
			[]byte(`{"kind":"array_sum","array":{"source":"npy","name":"x"}`+more+`}`), "Prefer", "wait=30")
		if got := flat(v["result"]); status != http.StatusOK || got != want {
			t.Errorf("%s: got %d %s, want %s", more, status, got, want)
		}
	}
}

// flat formats a nested list as a flat one.
func flat(v any) string {
	text := fmt.Sprint(v)
	if !strings.HasPrefix(text, "[") {
		return text
	}
	return "[" + strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("[] ", r) }), " ") + "]"
}
