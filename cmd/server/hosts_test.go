package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// A request that net/http cannot parse gets a problem from the API's listener.
func TestUnparsableRequest(t *testing.T) {
	srv, stop := launch(t, "--data-dir", t.TempDir())
	defer stop()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.apiListener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if media := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusBadRequest || media != "application/problem+json" {
		t.Errorf("got %s, %q, want 400, application/problem+json", resp.Status, media)
	}
}

// Without keys both listeners reject pages whose domain resolves to this machine, and pages of other origins. The API
// of a server with keys accepts any Host, and so does /metrics beyond loopback.
func TestForeignHosts(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if code, _, stderr := cliRun(t, "keys", "create", "acme", "--api-keys", keys); code != exitOK {
		t.Fatal(stderr)
	}
	for _, c := range []struct {
		name string
		args []string
		want map[string]int // by "host path"
	}{
		{"loopback", nil, map[string]int{
			"localhost /v1/jobs": 200, "evil.example /v1/jobs": 421, "evil.example /livez": 200,
			"gather /v1/jobs": 421, "10.1.2.3 /v1/jobs": 421, "gather /metrics": 421, "10.1.2.3 /debug/pprof/cmdline": 421,
			"localhost /metrics": 200, "evil.example /metrics": 421,
			"localhost /debug/pprof/cmdline": 200, "evil.example /debug/pprof/cmdline": 421, "evil.example /debug/pprof/": 421,
		}},
		{"allowed", []string{"--allowed-hosts=gather.example.com,.example.org"}, map[string]int{
			"gather.example.com /v1/jobs": 200, "a.example.org /metrics": 200, "evil.example /v1/jobs": 421,
		}},
		{"beyond loopback", []string{"--listen=0.0.0.0:0", "--metrics-listen=0.0.0.0:0", "--insecure-no-auth"}, map[string]int{
			"gather /v1/jobs": 200, "10.1.2.3 /v1/jobs": 200, "evil.example /v1/jobs": 421,
			"vm1.example.com /metrics": 200, "evil.example /debug/pprof/cmdline": 421,
		}},
		{"keys", []string{"--api-keys", keys}, map[string]int{
			"evil.example /v1/jobs": 401, "evil.example /metrics": 421,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, stop := launch(t, append(c.args, "--data-dir", t.TempDir())...)
			defer stop()
			for request, want := range c.want {
				host, path, _ := strings.Cut(request, " ")
				handler := srv.api.Handler
				if path == "/metrics" || strings.HasPrefix(path, "/debug/") {
					handler = srv.ops.Handler
				}
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Host = net.JoinHostPort(host, "8080")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != want {
					t.Errorf("GET %s with Host %s: %d, want %d", path, r.Host, w.Code, want)
				}
				r.Host = net.JoinHostPort("localhost", "8080")
				r.Header.Set("Origin", "https://evil.example")
				if w = httptest.NewRecorder(); want != 200 || path == "/livez" || path == "/metrics" {
					continue
				}
				if handler.ServeHTTP(w, r); w.Code != http.StatusForbidden {
					t.Errorf("GET %s from %s: %d, want 403", path, r.Header.Get("Origin"), w.Code)
				}
			}
		})
	}
}

// Pages of the listed origins may use the API in a browser, with and without keys; others may not.
func TestCORS(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	command(t, exitOK, "keys", "create", "acme", "--api-keys", keys)
	for _, args := range [][]string{nil, {"--api-keys", keys}} {
		srv, stop := launch(t, append([]string{"--data-dir", t.TempDir(), "--cors-origins", "https://app.example,http://localhost:3000"}, args...)...)
		t.Cleanup(stop)
		api := "http://" + srv.apiListener.Addr().String()
		for origin, allowed := range map[string]bool{"https://app.example": true, "http://localhost:3000": true, "https://other.example": false, "http://app.example": false} {
			a := ask(t, "OPTIONS", api+"/v1/jobs", "", nil, "Origin", origin, "Access-Control-Request-Method", "POST",
				"Access-Control-Request-Headers", "authorization,content-type,idempotency-key,prefer")
			if got := a.header.Get("Access-Control-Allow-Origin"); a.status != http.StatusNoContent || (got == origin) != allowed {
				t.Errorf("%q: OPTIONS from %s: got %d, allowed origin %q, want 204, allowed %t", args, origin, a.status, got, allowed)
			}
			a = ask(t, "GET", api+"/v1/kinds", "", nil, "Origin", origin)
			want := http.StatusOK
			switch {
			case args != nil:
				want = http.StatusUnauthorized
			case !allowed:
				want = http.StatusForbidden
			}
			exposed := strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After")
			if got := a.header.Get("Access-Control-Allow-Origin"); a.status != want || (got == origin) != allowed || exposed != allowed {
				t.Errorf("%q: GET from %s: got %d, allowed origin %q, exposed %t, want %d, %t", args, origin, a.status, got, exposed, want, allowed)
			}
		}
	}
}
