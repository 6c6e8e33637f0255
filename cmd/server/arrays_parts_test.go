package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gather/internal/bucket/buckettest"
	"gather/internal/npy"
)

// int32s returns an .npy file of an array of shape (rows, columns) whose elements are all v.
func int32s(t *testing.T, rows, columns, v int) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, npy.Type{Kind: 'i', Size: 4}, []int64{int64(rows), int64(columns)}); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	for range rows * columns {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return data
}

// Files of a directory and of a store are one array along any axis, and what does not fit together is a client error.
func TestConcatenatedFiles(t *testing.T) {
	for name, start := range map[string]func(*testing.T) buckettest.Store{"directory": buckettest.Directory, "s3": buckettest.Server} {
		t.Run(name, func(t *testing.T) {
			st := start(t)
			for i, columns := range []int{2, 1, 4} {
				st.Write(t, fmt.Sprintf("wide/part-%d.npy", i), int32s(t, 3, columns, 1+i))
			}
			for i, rows := range []int{20_000, 1, 40_000} {
				st.Write(t, fmt.Sprintf("tall/part-%d.npy", i), int32s(t, rows, 3, 1+i))
			}
			st.Write(t, "wide/text.npy", []byte("not an array"))
			api, _ := serveBucket(t, st.Allow)
			for _, tt := range []struct {
				urls   []string
				fields string
				axis   string
				status int
				want   string
			}{
				{[]string{"wide/part-*.npy"}, `"concatenate":1`, "0", http.StatusOK, "[3 3 6 9 9 9 9]"},
				{[]string{"wide/part-2.npy", "wide/part-0.npy"}, `"concatenate":-1`, "0", http.StatusOK, "[9 9 9 9 3 3]"},
				{[]string{"wide/part-*.npy"}, `"concatenate":1,"select":[0,{"step":-3}]`, "0", http.StatusOK, "7"},
				{[]string{"wide/part-*.npy"}, `"concatenate":1`, "1", http.StatusOK, "[16 16 16]"},
				{[]string{"tall/part-*.npy"}, `"concatenate":0`, "0", http.StatusOK, "[140002 140002 140002]"},
				{[]string{"tall/part-*.npy", "tall/part-1.npy"}, `"chunks":"100KiB"`, "null", http.StatusOK, "420012"},
				{[]string{"wide/part-*.npy"}, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "/array/urls: the files cannot be concatenated: " + st.URL("wide/part-1.npy") + " has length 1 along axis 1, but " + st.URL("wide/part-0.npy") + " has 2"},
				{[]string{"wide/part-*.npy"}, `"concatenate":2`, "null", http.StatusUnprocessableEntity, "/array/urls: the files cannot be concatenated: there is no axis 2 in 2 dimensions"},
				{[]string{"wide/text.npy"}, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "/array/urls: " + st.URL("wide/text.npy") + ": npy: not an acceptable .npy file"},
				{[]string{"wide/none-*.npy"}, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "/array/urls: " + st.URL("wide/none-*.npy") + ": there is no such object"},
				{[]string{"wide/part-0.npy", "wide/none.npy"}, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "/array/urls: " + st.URL("wide/none.npy") + ": there is no such object"},
				{[]string{"../*.npy"}, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "is not in a bucket that this server may read"},
				{nil, `"concatenate":0`, "null", http.StatusUnprocessableEntity, "/array/urls: is empty: write the URL of at least one file"},
				{[]string{"wide/part-0.npy"}, `"url":"x"`, "null", http.StatusUnprocessableEntity, "/array/urls: is set in addition to url: omit one"},
				{[]string{"wide/part-0.npy"}, `"concatenate":0.5`, "null", http.StatusUnprocessableEntity, "/array/concatenate: is not an integer below 2^63"},
			} {
				urls := make([]string, len(tt.urls))
				for i, u := range tt.urls {
					urls[i] = fmt.Sprintf("%q", st.URL(u))
				}
				status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil,
					`{"kind":"array_sum","array":{"source":"npy","urls":[%s],%s},"axis":%s}`, strings.Join(urls, ","), tt.fields, tt.axis), "Prefer", "wait=30")
				got := fmt.Sprint(v["result"])
				if e, ok := v["errors"].([]any); ok {
					fault := e[0].(map[string]any)
					got = fmt.Sprint(fault["pointer"], ": ", fault["detail"])
				}
				if status != tt.status || status == http.StatusOK && got != tt.want || !strings.Contains(got, tt.want) {
					t.Errorf("%v, %s, axis %s: got %d %s %v, want %d %s", tt.urls, tt.fields, tt.axis, status, got, v["detail"], tt.status, tt.want)
				}
			}
		})
	}
}

// A job reads the files that it was submitted with, also after a restart: a new one that matches is ignored, and a changed
// one fails it.
func TestConcatenatedFilesChange(t *testing.T) {
	t.Parallel()
	dir, bucket := t.TempDir(), t.TempDir()
	write := func(name string, v int) {
		if err := os.WriteFile(filepath.Join(bucket, name), int32s(t, 3, 2, v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a-1.npy", "a-2.npy", "b-1.npy", "b-2.npy", "c-1.npy", "c-2.npy"} {
		write(name, 1)
	}
	serve := func(f func(api string)) {
		srv, stop := launch(t, "--data-dir", dir, "--array-bucket", "file://"+bucket)
		defer stop()
		f("http://" + srv.apiListener.Addr().String())
	}
	jobs := make(map[string]map[string]any)
	serve(func(api string) {
		for _, name := range []string{"a", "b", "c"} {
			status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil,
				`{"kind":"array_sum","array":{"source":"npy","urls":["file://%s/%s-*.npy"]},"start_after":"10s"}`, bucket, name))
			if status != http.StatusAccepted {
				t.Fatalf("%s: got %d %v", name, status, v)
			}
			jobs[name] = v
		}
	})
	write("a-3.npy", 1)
	later := time.Now().Add(time.Minute)
	write("b-2.npy", 2)
	if err := os.Chtimes(filepath.Join(bucket, "b-2.npy"), later, later); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(bucket, "c-1.npy")); err != nil {
		t.Fatal(err)
	}
	serve(func(api string) {
		if v := ended(t, api, jobs["a"]); fmt.Sprint(v["result"]) != "12" {
			t.Errorf("a new file: got %v, want 12", v)
		}
		for name, part := range map[string]string{"b": "b-2.npy: the object was changed", "c": "c-1.npy: the object was deleted"} {
			if v := ended(t, api, jobs[name]); !failedAs(v, "source-changed") || !strings.Contains(fmt.Sprint(v["error"]), part) {
				t.Errorf("%s: got %v, want source-changed that names %s", name, v, part)
			}
		}
	})
}
