package outbound_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"gather/internal/outbound"
)

// one sends one request, and returns its outcome as list.Result encodes it.
func one(t *testing.T, s *outbound.Sender, l *list, change ...func(*outbound.Options)) (value, failure string) {
	t.Helper()
	o := options(l)
	for _, f := range change {
		f(&o)
	}
	results, _ := collect(t, s.Start(t.Context(), o))
	return string(results[0].Value), results[0].Failure
}

func TestRedirects(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	var body atomic.Pointer[string]
	var other *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/to/{status}/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.PathValue("status"), &status)
		location := "/" + r.PathValue("rest")
		switch r.PathValue("rest") {
		case "other":
			location = other.URL + "/end"
		case "private":
			location = "http://10.0.0.1/"
		case "ftp":
			location = "ftp://127.0.0.1/"
		case "user":
			location = "http://a:b@127.0.0.1/"
		case "http":
			location = strings.Replace(other.URL, "https", "http", 1)
		}
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	})
	end := func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		text := make([]byte, 100)
		n, _ := r.Body.Read(text)
		got := string(text[:n])
		body.Store(&got)
		_, _ = fmt.Fprint(w, "end")
	}
	mux.HandleFunc("/end", end)
	first := httptest.NewServer(mux)
	defer first.Close()
	other = httptest.NewServer(http.HandlerFunc(end))
	defer other.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	s := sender(t, nil, func(c *outbound.Config) { c.Policy, c.RootCAs = policy(t, "127.0.0.1"), roots })

	for _, tt := range []struct {
		method, link string
		value        string // with how many attempts
		failure      string // a part
		as, body     string // how the last request came
		credentials  bool
	}{
		{"GET", first.URL + "/end", "200 end 1", "", "GET", "", true},
		{"GET", first.URL + "/to/302/end", "200 end 1", "", "GET", "", true},
		{"POST", first.URL + "/to/302/end", "200 end 1", "", "GET", "", true},
		{"POST", first.URL + "/to/303/end", "200 end 1", "", "GET", "", true},
		{"PUT", first.URL + "/to/303/end", "200 end 1", "", "GET", "", true},
		{"PUT", first.URL + "/to/302/end", "200 end 1", "", "PUT", "data", true},
		{"POST", first.URL + "/to/307/end", "200 end 1", "", "POST", "data", true},
		{"POST", first.URL + "/to/308/to/307/end", "200 end 1", "", "POST", "data", true},
		{"POST", first.URL + "/to/307/other", "200 end 1", "", "POST", "data", false},
		{"GET", first.URL + "/to/302/to/302/to/302/to/302/to/302/end", "200 end 1", "", "GET", "", true},
		{"GET", first.URL + "/to/302/to/302/to/302/to/302/to/302/to/302/end", "0  1", "more than 5 redirects", "", "", false},
		{"GET", first.URL + "/to/302/private", "0  1", "does not allow requests to this host", "", "", false},
		{"GET", first.URL + "/to/302/ftp", "0  1", "not a valid URL", "", "", false},
		{"GET", first.URL + "/to/302/user", "0  1", "not a valid URL", "", "", false},
		{"GET", secure.URL + "/to/302/end", "200 end 1", "", "GET", "", true},
		{"GET", secure.URL + "/to/302/http", "0  1", "from https to http", "", "", false},
		{"GET", first.URL + "/to/304/end", "304  1", "", "", "", false},
	} {
		seen.Store(nil)
		l := repeat(tt.link, 1)
		l.method = tt.method
		l.header = []outbound.Header{
			{Name: "Authorization", Value: "Bearer x"},
			{Name: "Cookie", Value: "a=b"},
			{Name: "X-Key", Value: "k"},
			{Name: "Accept", Value: "text/plain"},
		}
		if tt.method != "GET" {
			l.body = "data"
		}
		value, failure := one(t, s, l)
		if value != tt.value || !strings.Contains(failure, tt.failure) || (failure == "") != (tt.failure == "") {
			t.Errorf("%s %s: got %q, %q; want %q, %q", tt.method, tt.link, value, failure, tt.value, tt.failure)
		}
		r := seen.Load()
		if (r != nil) != (tt.as != "") {
			t.Errorf("%s %s: the end was requested: %v, want %q", tt.method, tt.link, r != nil, tt.as)
		}
		if r == nil {
			continue
		}
		has := r.Header.Get("Authorization") != "" && r.Header.Get("Cookie") != "" && r.Header.Get("X-Key") != ""
		if r.Method != tt.as || *body.Load() != tt.body || has != tt.credentials || r.Header.Get("Accept") != "text/plain" {
			t.Errorf("%s %s: came as %s with %q and %v, want %s with %q, credentials %v", tt.method, tt.link, r.Method, *body.Load(), r.Header, tt.as, tt.body, tt.credentials)
		}
	}
}

func TestBodies(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 8 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("cut"))
		case "/head":
			w.Header().Set("X-Large", strings.Repeat("x", 100<<10))
		default:
			var n int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
			_, _ = w.Write(bytes.Repeat([]byte("x"), n))
		}
	}))
	defer srv.Close()
	s := sender(t, nil)
	outcomes := make(chan outbound.Outcome, 1)
	for path, want := range map[string]string{
		"/0": "200 0 0 false", "/1": "200 1 1 false", "/1023": "200 1023 1023 false", "/1024": "200 1024 1024 false", "/1025": "200 1024 1024 true",
		"/1000000": "200 1024 1024 true", "/bomb": "200 1024 1024 true", "/cut": "0 0 0 false connection", "/head": "0 0 0 false connection",
	} {
		for _, discard := range []bool{false, true} {
			l := &recorder{list: repeat(srv.URL+path, 1), outcomes: outcomes}
			o := options(l.list)
			o.Source, o.Discard = l, discard
			collect(t, s.Start(t.Context(), o))
			got := <-outcomes
			kept := len(got.Body)
			if discard {
				kept = int(got.Bytes)
			}
			if text := strings.TrimSpace(fmt.Sprint(got.Status, got.Bytes, kept, got.Truncated, " ", got.Class)); strings.Join(strings.Fields(text), " ") != want {
				t.Errorf("%s, discarded %v: got %q, want %q", path, discard, text, want)
			}
		}
	}
}

// recorder keeps the outcomes.
type recorder struct {
	*list
	outcomes chan outbound.Outcome
}

func (r *recorder) Result(i int64, o *outbound.Outcome) ([]byte, string) {
	r.outcomes <- *o
	return r.list.Result(i, o)
}

// The address is checked when the connection is made: a name that resolves to the loopback interface is refused, unless
// that is listed, and so is an address that is not the host's.
func TestResolvedAddresses(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	for _, tt := range []struct{ list, link, failure string }{
		{"localhost", "http://localhost" + port, "refused: the address"},
		{"*", "http://localhost" + port, "refused: the address"},
		{"*", "http://127.0.0.1" + port, "refused: the address"},
		{"*", "http://[::ffff:127.0.0.1]" + port, "refused: the address"},
		{"127.0.0.0/8", "http://localhost" + port, "refused: the operator"},
		{"localhost,127.0.0.0/8,::1", "http://localhost" + port, ""},
		{"127.0.0.1" + port, "http://127.0.0.1" + port, ""},
		{"127.0.0.1:1", "http://127.0.0.1" + port, "refused: the operator"},
		{"127.0.0.1", "http://127.0.0.1:1/", "connect: no connection: connection refused"},
		{"127.0.0.1", "https://127.0.0.1" + port, "tls: "},
	} {
		s := sender(t, nil, func(c *outbound.Config) { c.Policy = policy(t, tt.list) })
		_, failure := one(t, s, repeat(tt.link, 1))
		if !strings.HasPrefix(failure, tt.failure) || (failure == "") != (tt.failure == "") {
			t.Errorf("%s with %s: got %q, want %q", tt.link, tt.list, failure, tt.failure)
		}
	}
}

// Errors have a class, and a text without addresses of the network of the server.
func TestErrors(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 80}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Server: "10.1.2.3:53"}}, "dns: the host name cannot be resolved"},
		{&net.OpError{Op: "dial", Addr: at, Err: syscall.ECONNREFUSED}, "connect: no connection: connection refused"},
		{&net.OpError{Op: "read", Source: at, Addr: at, Err: syscall.ECONNRESET}, "connection: connection reset by peer"},
		{&net.OpError{Op: "read", Source: at, Addr: at, Err: errors.New("odd")}, "connection: the connection was closed before the response was complete"},
		{io.ErrUnexpectedEOF, "connection: the connection was closed before the response was complete"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"}}, "tls: TLS: "},
		{errors.New(strings.Repeat("x", 1000)), "connection: " + strings.Repeat("x", 200) + "..."},
	} {
		fails := &world{respond: func(*http.Request, int) (*http.Response, error) { return nil, tt.err }}
		_, got := one(t, sender(t, fails), repeat("http://api.example/", 1))
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"key": "open sesame\n", "acme/key": "of acme\r\n", "bad": "a\nb", "../outside": "x", ".hidden": "x"} {
		file := filepath.Join(dir, "secrets", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(dir, "secrets", "link")); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("X-Key"), r.Header.Get("User-Agent"), r.Header.Get("Traceparent"))
	}))
	defer srv.Close()
	for _, tt := range []struct {
		tenants      bool
		tenant, name string
		value        string
	}{
		{false, "acme", "key", "200 open sesamegather/test00-trace 1"},
		{true, "acme", "key", "200 of acmegather/test00-trace 1"},
		{true, "other", "key", ""},
		{true, "..", "outside", ""},
		{false, "acme", "none", ""},
		{false, "acme", "bad", ""},
		{false, "acme", "link", ""},
		{false, "acme", ".hidden", ""},
		{false, "acme", "../outside", ""},
		{false, "acme", "acme", ""},
	} {
		s := sender(t, nil, func(c *outbound.Config) { c.SecretsDir, c.TenantSecrets = filepath.Join(dir, "secrets"), tt.tenants })
		l := repeat(srv.URL, 1)
		l.header = []outbound.Header{{Name: "X-Key", Value: tt.name, Secret: true}}
		value, failure := one(t, s, l, func(o *outbound.Options) { o.Tenant, o.TraceParent = tt.tenant, "00-trace" })
		if tt.value != "" && value != tt.value || (failure == "") != (tt.value != "") || strings.Contains(failure, "sesame") {
			t.Errorf("secret %s of %s: got %q, %q; want %q", tt.name, tt.tenant, value, failure, tt.value)
		}
	}
}
