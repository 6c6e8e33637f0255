package api_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"gather/internal/api"
)

// console are the files of a console.
var console = fstest.MapFS{
	"index.html": {Data: []byte("<!doctype html>\n")}, "console.js": {Data: []byte("0;\n")},
	"console.css": {Data: []byte("p{}\n")}, "icon.svg": {Data: []byte("<svg/>\n")}, "licenses.txt": {Data: []byte("MIT\n")},
}

func withConsole(_ *service, c *api.Config) { c.Console = console }

// The console needs no key, is cached by its content, and may run its own scripts only.
func TestConsole(t *testing.T) {
	s := newService(t, withConsole, withKeys(nil))
	s.key = ""
	for path, want := range map[string]struct{ media, body string }{
		"/ui/":             {"text/html; charset=utf-8", "<!doctype html>\n"},
		"/ui":              {"text/html; charset=utf-8", "<!doctype html>\n"},
		"/ui/index.html":   {"text/html; charset=utf-8", "<!doctype html>\n"},
		"/ui/console.js":   {"text/javascript; charset=utf-8", "0;\n"},
		"/ui/console.css":  {"text/css; charset=utf-8", "p{}\n"},
		"/ui/icon.svg":     {"image/svg+xml", "<svg/>\n"},
		"/ui/licenses.txt": {"text/plain; charset=utf-8", "MIT\n"},
	} {
		a := s.do("GET", path, "")
		if media := a.Header.Get("Content-Type"); a.status != 200 || media != want.media || string(a.body) != want.body || !a.Uncompressed {
			t.Errorf("%s: got %d %s %q, compressed %t; want 200 %s %q, compressed", path, a.status, media, a.body, a.Uncompressed, want.media, want.body)
		}
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: got the policy %q, want a strict one", path, policy)
		}
		if a := s.do("HEAD", path, ""); a.status != 200 || a.Header.Get("Content-Type") != want.media {
			t.Errorf("HEAD %s: got %d %v, want 200", path, a.status, a.Header)
		}
		if a := s.do("GET", path, "", "If-None-Match: "+a.Header.Get("ETag")); a.status != http.StatusNotModified {
			t.Errorf("%s with its ETag: got %d, want 304", path, a.status)
		}
		if a := s.do("GET", path, "", `If-None-Match: "other"`); a.status != 200 {
			t.Errorf("%s with another ETag: got %d, want 200", path, a.status)
		}
	}
	for _, path := range []string{"/ui/none", "/ui/../go.mod", "/ui/%2e%2e%2fgo.mod", "/ui/a/b", "/UI/"} {
		if a := s.do("GET", path, ""); a.status != 404 && a.status != 401 {
			t.Errorf("%s: got %d, want 404", path, a.status)
		}
	}
	index := s.do("GET", "/", "", "Accept: text/html")
	if at := index.Request.URL.Path; index.status != 200 || at != "/ui/" {
		t.Errorf("/ in a browser: got %d at %s, want the console", index.status, at)
	}
	if a := s.do("GET", "/", ""); a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("/ for a program: got %v, want JSON", a.Header)
	}
}

// Without files there is no console.
func TestNoConsole(t *testing.T) {
	s := newService(t)
	for _, path := range []string{"/ui/", "/ui/console.js"} {
		if a := s.do("GET", path, ""); a.status != 404 {
			t.Errorf("%s: got %d, want 404", path, a.status)
		}
	}
	c := api.Config{}
	newService(t, func(_ *service, full *api.Config) { c = *full })
	c.Console = fstest.MapFS{"console.js": {}}
	if _, err := api.New(c); err == nil {
		t.Error("a console without a page: got no error")
	}
}
