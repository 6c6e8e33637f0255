package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/tenant"
)

const (
	asNPY  = "Content-Type: application/x-npy"
	asFile = "Accept: application/x-npy"
)

// stored uploads an array and returns its ETag.
func (s *service) stored(name, file string) string {
	s.t.Helper()
	a := s.do("PUT", "/v1/arrays/"+name, file, asNPY)
	etag := a.Header.Get("ETag")
	if want := `"` + decode[api.StoredArray](s.t, a.body).Sha256 + `"`; etag != want {
		s.t.Fatalf("ETag: got %s, want %s", etag, want)
	}
	return etag
}

// Preconditions (RFC 9110, section 13) on all requests of an array: a rejected request changes nothing.
func TestArrayPreconditions(t *testing.T) {
	s := newService(t)
	file, other := npyFile(t, 10), npyFile(t, 20)
	etag := s.stored("x", file)
	for _, tt := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "x", "If-Match: *", 200},
		{"GET", "x", "If-Match: " + etag, 200},
		{"GET", "x", `If-Match: "a", ` + etag + `,"b"`, 200},
		{"GET", "x", `If-Match: "a"`, 412},
		{"GET", "x", "If-Match: W/" + etag, 412}, // weak tags never match strongly
		{"GET", "none", "If-Match: *", 404},
		{"GET", "x", "If-None-Match: *", 304},
		{"GET", "x", "If-None-Match: " + etag, 304},
		{"GET", "x", "If-None-Match: W/" + etag, 304},
		{"GET", "x", `If-None-Match: "a"`, 200},
		{"HEAD", "x", "If-None-Match: " + etag, 304},
		{"GET", "x", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", 200}, // there is no date to compare
		{"PUT", "x", "If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT", 200},
		{"PUT", "x", "If-None-Match: *", 412},
		{"PUT", "x", "If-None-Match: " + etag, 412},
		{"PUT", "x", `If-Match: "a"`, 412},
		{"PUT", "x", "If-Match: W/" + etag, 412},
		{"PUT", "new", "If-Match: *", 412},
		{"PUT", "x", "If-Match: " + etag[1:], 400},
		{"PUT", "x", "If-Match: a", 400},
		{"PUT", "x", `If-Match: "a`, 400},
		{"PUT", "x", `If-Match: "`, 400},
		{"PUT", "x", "If-Match: \"a\tb\"", 400},
		{"PUT", "x", `If-Match: "a" "b"`, 400},
		{"PUT", "x", "If-Match: ,", 400},
		{"PUT", "x", `If-None-Match: *, "a"`, 400},
		{"PUT", "x", "Content-Range: bytes 0-9/100", 400},
		{"DELETE", "x", `If-Match: "a"`, 412},
		{"DELETE", "x", "If-None-Match: " + etag, 412},
		{"DELETE", "x", "If-Match: a", 400},
		{"DELETE", "none", "If-Match: *", 404},
		{"PUT", "x", "If-Match: " + etag, 200},
		{"PUT", "x", "If-Match: *", 200},
		{"PUT", "new", "If-None-Match: *", 201},
		{"DELETE", "new", "If-Match: *", 204},
		{"DELETE", "x", "If-Match: " + etag, 204},
	} {
		body := ""
		if tt.method == "PUT" {
			if body = file; tt.status >= 400 {
				body = other
			}
		}
		a := s.do(tt.method, "/v1/arrays/"+tt.path, body, asNPY, tt.header)
		if a.status != tt.status {
			t.Errorf("%s %s with %s: got %d %s, want %d", tt.method, tt.path, tt.header, a.status, a.body, tt.status)
		}
		if tag := a.Header.Get("ETag"); (tt.status < 204 || tt.status == 304) && tag != etag {
			t.Errorf("%s %s with %s: got ETag %s, want %s", tt.method, tt.path, tt.header, tag, etag)
		}
		if got := s.do("GET", "/v1/arrays/x", ""); tt.status >= 300 && got.Header.Get("ETag") != etag {
			t.Errorf("%s %s with %s: the array is now %s", tt.method, tt.path, tt.header, got.body)
		}
	}
}

// A list of entity tags may come in several lines (RFC 9110, section 5.3).
func TestPreconditionsInLines(t *testing.T) {
	s := newService(t)
	etag := s.stored("x", npyFile(t, 10))
	job := path(s.finished(`{"kind":"squares","numbers":[1]}`), "")
	state := s.do("GET", job, "").Header.Get("ETag")
	for _, tt := range []struct {
		method, path, header string
		lines                []string
		status               int
	}{
		{"GET", "/v1/arrays/x", "If-Match", []string{`"a"`, etag}, 200},
		{"GET", "/v1/arrays/x", "If-Match", []string{`"a"`, `"b"`}, 412},
		{"GET", "/v1/arrays/x", "If-None-Match", []string{`"a"`, etag}, 304},
		{"PUT", "/v1/arrays/x", "If-None-Match", []string{`"a"`, etag}, 412},
		{"DELETE", "/v1/arrays/x", "If-Match", []string{`"a"`, `"b", "c"`}, 412},
		{"GET", job, "If-None-Match", []string{`"a"`, state}, 304},
		{"GET", job, "If-Match", []string{`"a"`, `"b"`}, 412},
		{"POST", job + "/cancel", "If-Match", []string{`"a"`, `"b"`}, 412},
		{"DELETE", job, "If-Match", []string{`"a"`, `"b"`}, 412},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL+tt.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-npy")
		r.Header[tt.header] = tt.lines
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s with %s %q: got %d, want %d", tt.method, tt.path, tt.header, tt.lines, resp.StatusCode, tt.status)
		}
	}
}

// Conditions on a job, whose entity tags are weak.
func TestJobPreconditions(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","numbers":[1]}`)
	etag := s.do("GET", path(j, ""), "").Header.Get("ETag")
	strong := strings.TrimPrefix(etag, "W/") // a strong tag, which no job has
	for _, tt := range []struct {
		method, tail, header string
		status               int
	}{
		{"GET", "", "If-Match: *", 200},
		{"GET", "", "If-Match: " + etag, 412},
		{"GET", "", "If-Match: " + strong, 412},
		{"POST", "/cancel", "If-Match: " + strong, 412},
		{"DELETE", "", "If-Match: " + strong, 412},
		{"GET", "", "If-Match: x", 400},
		{"POST", "/cancel", "If-Match: " + etag, 412},
		{"POST", "/cancel", "If-None-Match: " + etag, 412},
		{"POST", "/cancel", `If-None-Match: "other"`, 200},
		{"DELETE", "", "If-Match: " + etag, 412},
		{"DELETE", "", "If-None-Match: *", 412},
		{"DELETE", "", "If-None-Match: x", 400},
		{"DELETE", "", "If-Match: *", 204},
		{"DELETE", "", "If-Match: *", 410},
	} {
		if a := s.do(tt.method, path(j, tt.tail), "", tt.header); a.status != tt.status {
			t.Errorf("%s %s with %s: got %d %s, want %d", tt.method, tt.tail, tt.header, a.status, a.body, tt.status)
		}
	}
}

// The file of an array is returned as it was uploaded, whole or in part.
func TestArrayFile(t *testing.T) {
	s := newService(t)
	file := npyFile(t, 100)
	etag, size := s.stored("x", file), len(file)
	whole := fmt.Sprint(size)
	for _, tt := range []struct {
		method       string
		headers      []string
		status       int
		body         string
		length, span string
	}{
		{"GET", nil, 200, file, whole, ""},
		{"HEAD", nil, 200, "", whole, ""},
		{"GET", []string{"Range: bytes=0-0"}, 206, file[:1], "1", fmt.Sprintf("bytes 0-0/%d", size)},
		{"GET", []string{"Range: bytes=100-199"}, 206, file[100:200], "100", fmt.Sprintf("bytes 100-199/%d", size)},
		{"GET", []string{"Range: bytes=900-"}, 206, file[900:], fmt.Sprint(size - 900), fmt.Sprintf("bytes 900-%d/%d", size-1, size)},
		{"GET", []string{"Range: bytes=-10"}, 206, file[size-10:], "10", fmt.Sprintf("bytes %d-%d/%d", size-10, size-1, size)},
		{"HEAD", []string{"Range: bytes=-10"}, 206, "", "10", fmt.Sprintf("bytes %d-%d/%d", size-10, size-1, size)},
		{"GET", []string{"Range: bytes=10-19", "If-Range: " + etag}, 206, file[10:20], "10", fmt.Sprintf("bytes 10-19/%d", size)},
		{"GET", []string{"Range: bytes=10-19", `If-Range: "other"`}, 200, file, whole, ""},
		{"GET", []string{"Range: items=10-19"}, 200, file, whole, ""},
		{"GET", []string{"Range: bytes=x"}, 416, "", "", fmt.Sprintf("bytes */%d", size)},
		{"GET", []string{"Range: bytes=99999-"}, 416, "", "", fmt.Sprintf("bytes */%d", size)},
		{"GET", []string{"Range: bytes=10-19", "If-None-Match: " + etag}, 304, "", "", ""},
		{"GET", []string{"Range: bytes=10-19", `If-Match: "other"`}, 412, "", "", ""},
	} {
		a := s.do(tt.method, "/v1/arrays/x", "", append([]string{asFile}, tt.headers...)...)
		if a.status != tt.status || a.Header.Get("Content-Range") != tt.span ||
			tt.length != "" && a.Header.Get("Content-Length") != tt.length ||
			tt.status < 300 && (string(a.body) != tt.body || a.Header.Get("ETag") != etag || a.Header.Get("Content-Type") != "application/x-npy") {
			t.Errorf("%s with %q: got %d %v, %d bytes, want %d, %q, %d bytes", tt.method, tt.headers, a.status, a.Header, len(a.body), tt.status, tt.span, len(tt.body))
		}
		if problem := a.Header.Get("Content-Type"); tt.status >= 400 && problem != "application/problem+json" {
			t.Errorf("%s with %q: got %s, want a problem", tt.method, tt.headers, problem)
		}
	}
	if a := s.do("GET", "/v1/arrays/none", "", asFile); a.status != 404 {
		t.Errorf("got %d, want 404", a.status)
	}
	if a := s.do("GET", "/v1/arrays/x", ""); a.Header.Get("Content-Type") != "application/json" || a.Header.Get("ETag") != etag || a.Header.Get("Vary") != "Accept" {
		t.Errorf("the description: got %v", a.Header)
	}
}

// A damaged array has its own problem and state, and does not affect others.
func TestDamagedArrays(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, "t-"+tenant.Default, name) }
	withDir := func(s *service, c *api.Config) {
		var err error
		if s.arrays, err = array.Open(array.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		c.Arrays = s.arrays
	}
	s := newService(t, withDir)
	for _, name := range []string{"bit", "good", "record"} {
		s.stored(name, npyFile(t, 20_000))
	}
	if err := os.WriteFile(at("record.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(at("*.npy"))
	if err != nil || len(files) != 3 {
		t.Fatalf("got %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0]) // the first one that was stored
	if err != nil {
		t.Fatal(err)
	}
	data[100_000] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = newService(t, withDir)
	if a := s.do("GET", "/v1/arrays/bit", "", asFile, "Range: bytes=100000-100009"); a.status != 500 || !bytes.Contains(a.body, []byte("/problems/array-damaged")) ||
		a.Header.Get("Content-Range")+a.Header.Get("ETag") != "" {
		t.Errorf("a damaged range: got %d %v %s, want 500 array-damaged", a.status, a.Header, a.body)
	}
	list := decode[api.ArrayList](t, s.do("GET", "/v1/arrays", "").body)
	if len(list.Arrays) != 2 || list.Arrays[0].State != api.StoredArrayStateDamaged || list.Arrays[1].State != api.StoredArrayStateReady ||
		list.Unreadable == nil || len(*list.Unreadable) != 1 || (*list.Unreadable)[0] != "record" {
		t.Errorf("got %+v, want bit damaged, good ready, record unreadable", list)
	}
	for _, accept := range []string{asFile, "Accept: application/json"} {
		if a := s.do("GET", "/v1/arrays/record", "", accept); a.status != 500 || !bytes.Contains(a.body, []byte("/problems/array-damaged")) {
			t.Errorf("got %d %s, want 500 array-damaged", a.status, a.body)
		}
	}
	if a := s.do("GET", "/v1/arrays/good", "", asFile); a.status != 200 {
		t.Errorf("the good one: got %d", a.status)
	}
	if a := s.do("DELETE", "/v1/arrays/record", ""); a.status != http.StatusNoContent {
		t.Errorf("delete: got %d %s", a.status, a.body)
	}
	s.stored("bit", npyFile(t, 30))
	if a := s.do("GET", "/v1/arrays/bit", "", asFile); a.status != 200 {
		t.Errorf("replaced: got %d %s", a.status, a.body)
	}
}

// A file that turns out to be damaged after a part of it was sent aborts the connection.
func TestDamageInTheMiddleOfADownload(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, func(s *service, c *api.Config) {
		var err error
		if s.arrays, err = array.Open(array.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		c.Arrays = s.arrays
	})
	s.stored("x", npyFile(t, 100_000))
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.npy"))
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[700_000] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/arrays/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-npy")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got bytes.Buffer
	if _, err := got.ReadFrom(resp.Body); err == nil || resp.StatusCode != 200 || got.Len() > 700_000 {
		t.Errorf("got %d, %d bytes, %v, want a response that ends early", resp.StatusCode, got.Len(), err)
	}
}
