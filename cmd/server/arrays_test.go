package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/npy"
)

// float64s returns an .npy file of the numbers 0.1, 1.1, 2.1, ...
func float64s(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, npy.Type{Kind: 'f', Size: 8}, []int64{int64(n)}); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	for i := range n {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(float64(i)+0.1))
	}
	return data
}

// Stored arrays are summed by name and by URL. They cannot be deleted while a job uses them, not even after a restart,
// and a job detects that its object was changed.
func TestStoredArrays(t *testing.T) {
	dir := t.TempDir()
	bucket := filepath.Join(dir, "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	const n = 300_000
	file := float64s(t, n)
	if err := os.WriteFile(filepath.Join(bucket, "x.npy"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bucket, "cut.npy"), file[:len(file)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(f func(api string)) {
		srv, stop := launch(t, "--data-dir", filepath.Join(dir, "data"), "--array-bucket", "file://"+bucket)
		defer stop()
		f("http://" + srv.apiListener.Addr().String())
	}
	sum := func(api, source, more string, header ...string) (int, map[string]any) {
		return call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"npy",%s}%s}`, source, more), header...)
	}
	var byName, byURL string
	serve(func(api string) {
		if status, v := call(t, "PUT", api+"/v1/arrays/x", "application/x-npy", file); status != http.StatusCreated {
			t.Fatalf("%d %v", status, v)
		}
		const want = n*(n-1)/2 + 0.1*n
		for _, source := range []string{`"name":"x"`, `"name":"x","chunks":1000`, `"url":"file://` + bucket + `/x.npy","chunks":"1MiB"`} {
			status, v := sum(api, source, "", "Prefer", "wait=20")
			if got, ok := v["result"].(float64); status != http.StatusOK || !ok || math.Abs(got-want) > 1e-3 {
				t.Errorf("%s: %d %v", source, status, v)
			}
		}
		for source, detail := range map[string]string{
			`"name":"none"`: "does not name one of your arrays", `"url":"file://` + bucket + `/none.npy"`: "no such object",
			`"url":"file:///etc/passwd"`: "not in a bucket", `"url":"file://` + bucket + `/cut.npy"`: "bytes",
		} {
			if status, v := sum(api, source, ""); status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(v), detail) {
				t.Errorf("%s: %d %v", source, status, v)
			}
		}
		_, v := sum(api, `"name":"x"`, `,"start_after":"1h"`)
		byName = fmt.Sprint(v["id"])
		_, v = sum(api, `"url":"file://`+bucket+`/x.npy"`, `,"start_after":"2s"`)
		byURL = fmt.Sprint(v["id"])
		if status, _ := call(t, "DELETE", api+"/v1/arrays/x", "", nil); status != http.StatusConflict {
			t.Errorf("delete in use: %d", status)
		}
	})
	file[len(file)-1]++
	if err := os.WriteFile(filepath.Join(bucket, "x.npy"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(func(api string) {
		if status, _ := call(t, "DELETE", api+"/v1/arrays/x", "", nil); status != http.StatusConflict {
			t.Errorf("delete in use, after the restart: %d", status)
		}
		// The job was running before the restart, so its cancel may return before it has ended.
		if status, v := call(t, "POST", api+"/v1/jobs/"+byName+"/cancel", "", nil); status != http.StatusOK && status != http.StatusAccepted {
			t.Errorf("cancel: got %d %v, want 200 or 202", status, v)
		}
		if _, v := call(t, "GET", api+"/v1/jobs/"+byName, "", nil, "Prefer", "wait=30"); v["state"] != "cancelled" {
			t.Errorf("after the cancel the job is %v, want cancelled", v["state"])
		}
		if status, _ := call(t, "DELETE", api+"/v1/arrays/x", "", nil); status != http.StatusNoContent {
			t.Errorf("delete after the cancel: %d", status)
		}
		_, v := call(t, "GET", api+"/v1/jobs/"+byURL, "", nil, "Prefer", "wait=20")
		if v["state"] != "failed" || !strings.Contains(fmt.Sprint(v["error"]), "changed") {
			t.Errorf("the changed object: %v", v)
		}
	})
}

// A failing bucket is not a client error, and the response does not contain its hosts.
func TestStoredArraysThatCannotBeRead(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer store.Close()
	srv, stop := launch(t, "--data-dir", t.TempDir(), "--array-bucket", "s3://data?region=r&endpoint="+store.URL)
	defer stop()
	status, v := call(t, "POST", "http://"+srv.apiListener.Addr().String()+"/v1/jobs", "application/json",
		[]byte(`{"kind":"array_sum","array":{"source":"npy","url":"s3://data/x.npy"}}`))
	if text := fmt.Sprint(v); status != http.StatusServiceUnavailable || !strings.Contains(text, "Reading the array failed") ||
		strings.Contains(text, strings.TrimPrefix(store.URL, "http://")) {
		t.Errorf("%d %v", status, v)
	}
}

// A probe reads little of an object.
func TestStoredArraysProbe(t *testing.T) {
	file := float64s(t, 1_000_000)
	var largest atomic.Int64
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v"`)
		if r.Method == http.MethodGet {
			var lo, hi int64
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi); err != nil {
				t.Errorf("range %q: %v", r.Header.Get("Range"), err)
			}
			largest.Store(max(largest.Load(), hi-lo+1))
		}
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(file))
	}))
	defer store.Close()
	srv, stop := launch(t, "--data-dir", t.TempDir(), "--array-bucket", "s3://data?region=r&endpoint="+store.URL)
	defer stop()
	status, v := call(t, "POST", "http://"+srv.apiListener.Addr().String()+"/v1/jobs", "application/json",
		[]byte(`{"kind":"array_sum","array":{"source":"npy","url":"s3://data/x.npy"},"start_after":"1h"}`))
	if status != http.StatusAccepted || largest.Load() != headPiece {
		t.Errorf("%d %v, %d bytes were requested", status, v, largest.Load())
	}
}
