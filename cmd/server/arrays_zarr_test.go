package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// weather copies the Zarr store of the documentation, which xarray wrote, and returns its path.
func weather(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "weather.zarr")
	if err := os.CopyFS(dir, os.DirFS("testdata/weather.zarr")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sumZarr(t *testing.T, api, url, more string) (int, map[string]any) {
	t.Helper()
	return call(t, "POST", api+"/v1/jobs", "application/json",
		fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"zarr","url":%q}%s}`, url, more), "Prefer", "wait=30")
}

// What cannot be read is a client error that names it.
func TestZarrErrors(t *testing.T) {
	t.Parallel()
	dir := weather(t)
	array := filepath.Join(dir, "temperature", ".zarray")
	text, err := os.ReadFile(array)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m["filters"] = []any{map[string]any{"id": "fixedscaleoffset"}}
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(array, text, 0o600); err != nil {
		t.Fatal(err)
	}
	api, _ := serveBucket(t, "file://"+filepath.Dir(dir))
	url := "file://" + dir
	for _, tt := range []struct{ url, want string }{
		{url + "/temperature", `fixedscaleoffset`},
		{url, "lat, lon, temperature, time"},
		{url + "/lat/0", "zarr.json"},
		{url + "/pressure", "zarr.json"},
		{"file:///etc/zarr", "bucket"},
		{url + "/../../x", "bucket"},
	} {
		status, v := sumZarr(t, api, tt.url, "")
		text := fmt.Sprint(v["errors"])
		if status != http.StatusUnprocessableEntity || !strings.Contains(text, tt.want) || !strings.Contains(text, "/array/url") {
			t.Errorf("%s: got %d %s, want 422 with %q", tt.url, status, text, tt.want)
		}
	}
}

// A chunk that is replaced, deleted or damaged fails the job with its problem type.
func TestZarrChanges(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	api, _ := serveBucket(t, "file://"+root)
	whole, err := os.ReadFile("testdata/weather.zarr/temperature/2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) func(chunk string) error {
		later := time.Now().Add(time.Minute)
		return func(chunk string) error {
			return errors.Join(os.WriteFile(chunk, data, 0o600), os.Chtimes(chunk, later, later))
		}
	}
	tests := map[string]struct {
		before, after func(chunk string) error
		want          string
	}{
		"replaced": {nil, write(whole), "source-changed"},
		"deleted":  {nil, os.Remove, "source-changed"},
		"damaged":  {write(append([]byte{9}, whole[1:]...)), nil, "source-corrupt"},
		"cut off":  {write(whole[:100]), nil, "source-corrupt"},
	}
	jobs := make(map[string]map[string]any)
	for name, tt := range tests {
		dir := filepath.Join(root, name)
		chunk := filepath.Join(dir, "temperature", "2.0.0")
		if err := os.CopyFS(dir, os.DirFS("testdata/weather.zarr")); err != nil {
			t.Fatal(err)
		}
		more := ""
		if tt.before == nil {
			more = `,"start_after":"10s"`
		} else if err := tt.before(chunk); err != nil {
			t.Fatal(err)
		}
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", fmt.Appendf(nil,
			`{"kind":"array_sum","array":{"source":"zarr","url":"file://%s/temperature"}%s}`, strings.ReplaceAll(dir, " ", "%20"), more))
		if status != http.StatusAccepted {
			t.Fatalf("%s: got %d %v", name, status, v)
		}
		jobs[name] = v
		if tt.after != nil {
			if err := tt.after(chunk); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, v := range jobs {
		if v = ended(t, api, v); !failedAs(v, tests[name].want) {
			t.Errorf("%s: got %v, want %s", name, v, tests[name].want)
		}
	}
}
