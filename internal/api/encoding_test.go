package api_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather/internal/api"
)

// decompressed returns the body of a response without its content coding.
func decompressed(t *testing.T, a response) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(a.body)
	switch c := a.Header.Get("Content-Encoding"); c {
	case "":
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	default:
		t.Fatalf("got Content-Encoding %q", c)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestCompression tests which responses are compressed, and that they decompress to the uncompressed response.
func TestCompression(t *testing.T) {
	s := newService(t)
	large := s.finished(`{"kind":"squares","range":{"stop":5000}}`)
	small := s.finished(`{"kind":"squares","numbers":[3]}`)
	sums := s.finished(`{"kind":"array_sum","array":{"source":"ones","shape":[10,1000]},"axis":0}`)
	const npy = "Accept: application/x-npy"
	for _, c := range []struct {
		name, path, accept, encoding, want, vary string
	}{
		{"gzip", path(large, "/results?limit=5000"), "", "gzip", "gzip", "Accept, Accept-Encoding"},
		{"zstd before gzip", path(large, "/results"), "", "gzip, deflate, br, zstd", "zstd", "Accept, Accept-Encoding"},
		{"by quality", path(large, "/results"), "", "zstd;q=0.5, gzip;q=0.8, *;q=0.1", "gzip", "Accept, Accept-Encoding"},
		{"capitals and spaces", path(large, "/results"), "", "GZIP ; Q=1", "gzip", "Accept, Accept-Encoding"},
		{"lines", path(large, "/results"), "Accept: application/x-ndjson", "gzip", "gzip", "Accept, Accept-Encoding"},
		{"npy", path(sums, "/results"), npy, "gzip", "gzip", "Accept, Accept-Encoding"},
		{"npy, not requested", path(sums, "/results"), npy, "identity", "", "Accept, Accept-Encoding"},
		{"any coding", path(sums, "/results"), npy, "*", "", "Accept, Accept-Encoding"},
		{"excluded", path(large, "/results"), "", "gzip;q=0, zstd;q=0", "", "Accept, Accept-Encoding"},
		{"invalid quality", path(large, "/results"), "", "gzip;q=2", "", "Accept, Accept-Encoding"},
		{"no header", path(large, "/results"), "", "identity", "", "Accept, Accept-Encoding"},
		{"small", path(small, "/results"), "", "gzip", "", "Accept, Accept-Encoding"},
		{"job", path(small, ""), "", "gzip", "", "Prefer, Accept-Encoding"},
		{"contract", "/openapi.yaml", "", "gzip", "gzip", "Accept-Encoding"},
		{"kinds", "/v1/kinds", "", "zstd", "zstd", "Accept-Encoding"},
		{"missing", "/v1/jobs/none", "", "gzip", "", "Accept-Encoding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := s.do("GET", c.path, "", "Accept-Encoding: identity", c.accept)
			a := s.do("GET", c.path, "", "Accept-Encoding: "+c.encoding, c.accept)
			if got := a.Header.Get("Content-Encoding"); got != c.want {
				t.Errorf("got Content-Encoding %q, want %q", got, c.want)
			}
			if got := a.Header.Get("Vary"); got != c.vary || plain.Header.Get("Vary") != c.vary {
				t.Errorf("got Vary %q, uncompressed %q, want %q", got, plain.Header.Get("Vary"), c.vary)
			}
			if a.status != plain.status || a.Header.Get("Content-Type") != plain.Header.Get("Content-Type") || a.Header.Get("Etag") != plain.Header.Get("Etag") {
				t.Errorf("got %d %v, uncompressed %d %v", a.status, a.Header, plain.status, plain.Header)
			}
			if body := decompressed(t, a); c.path != "/v1/jobs/none" && !bytes.Equal(body, plain.body) {
				t.Errorf("got %d bytes after decompression, want the %d of the uncompressed response", len(body), len(plain.body))
			}
			if c.want != "" && len(a.body) >= len(plain.body)/2 {
				t.Errorf("got %d bytes, uncompressed %d", len(a.body), len(plain.body))
			}
			head := s.do("HEAD", c.path, "", "Accept-Encoding: "+c.encoding, c.accept)
			length := head.Header.Get("Content-Length")
			if head.status != a.status || len(head.body) > 0 || length != "" && length != a.Header.Get("Content-Length") {
				t.Errorf("HEAD: got %d, %d bytes, Content-Length %q, want %d, 0, as for GET %q", head.status, len(head.body), length, a.status, a.Header.Get("Content-Length"))
			}
		})
	}
	if got := testutil.CollectAndCount(s.registry, "gather_http_responses_compressed_total"); got != 2 {
		t.Errorf("got %d series of gather_http_responses_compressed_total, want 2", got)
	}
}

// TestCompressedCondition tests that a job has one entity tag for all codings, and that an unchanged job is a 304.
func TestCompressedCondition(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","range":{"stop":100},"labels":{"a":"` + strings.Repeat("x", 60) + `"}}`)
	plain, zipped := s.do("GET", path(j, ""), ""), s.do("GET", path(j, ""), "", "Accept-Encoding: gzip")
	tag := zipped.Header.Get("Etag")
	if !strings.HasPrefix(tag, `W/"`) || tag != plain.Header.Get("Etag") {
		t.Errorf("got ETag %q compressed and %q uncompressed, want the same weak one", tag, plain.Header.Get("Etag"))
	}
	if a := s.do("GET", path(j, ""), "", "Accept-Encoding: gzip", "If-None-Match: "+tag); a.status != http.StatusNotModified || len(a.body) > 0 || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("got %d with %d bytes, %v; want 304 without a body", a.status, len(a.body), a.Header)
	}
}

// TestUncompressed tests that files keep ranges and strong tags, and that events arrive one by one, whatever the client
// accepts.
func TestUncompressed(t *testing.T) {
	s := newService(t)
	file := []byte(npyFile(t, 100))
	if a := s.do("PUT", "/v1/arrays/x", string(file), "Content-Type: application/x-npy"); a.status != http.StatusCreated {
		t.Fatalf("%d: %s", a.status, a.body)
	}
	const npy, zip = "Accept: application/x-npy", "Accept-Encoding: gzip, zstd"
	if a := s.do("GET", "/v1/arrays/x", "", npy, zip); !bytes.Equal(a.body, file) || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("a file: got %d bytes, Content-Encoding %q, want the file", len(a.body), a.Header.Get("Content-Encoding"))
	}
	if a := s.do("GET", "/v1/arrays/x", "", npy, zip, "Range: bytes=10-19"); a.status != http.StatusPartialContent || !bytes.Equal(a.body, file[10:20]) {
		t.Errorf("a range: got %d, %q, want 206, %q", a.status, a.body, file[10:20])
	}
	j := s.running()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path(j, "/events"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	req.Header.Set("Accept-Encoding", "gzip, zstd")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The job still runs, so the line must have been flushed.
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, `"state":"queued"`) {
		t.Errorf("the first event: got %q, %v, want the state queued", line, err)
	}
}

// TestManyCompressed tests that a server that compresses as much as it may sends further responses uncompressed.
func TestManyCompressed(t *testing.T) {
	s := newService(t)
	release := api.OccupyEncoders(s.handler)
	a := s.do("GET", "/openapi.yaml", "", "Accept-Encoding: gzip")
	release()
	if got := a.Header.Get("Content-Encoding"); got != "" || a.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("with all encoders in use: got Content-Encoding %q, Vary %q, want none, Accept-Encoding", got, a.Header.Get("Vary"))
	}
	for range 200 { // an encoder that is not returned would count
		if a := s.do("GET", "/openapi.yaml", "", "Accept-Encoding: gzip"); a.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("with free encoders: got Content-Encoding %q, want gzip", a.Header.Get("Content-Encoding"))
		}
	}
}
