package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gather/internal/api"
)

// hosts restricts Host and Origin on a service without keys.
func hosts(h api.Hosts) func(*service, *api.Config) {
	return func(_ *service, c *api.Config) { c.Hosts = &h }
}

// sendTo sends a request with a Host other than its address.
func (s *service) sendTo(host, method, target, origin string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// Without keys a web page can neither submit to a server nor read from it: a foreign Host gets 421, a foreign Origin
// 403.
func TestHosts(t *testing.T) {
	const misdirected, forbidden = http.StatusMisdirectedRequest, http.StatusForbidden
	local := newService(t, hosts(api.Hosts{Loopback: true, Allowed: []string{"Gather.example.com", ".example.org"}}))
	network := newService(t, hosts(api.Hosts{}))
	anyHost := newService(t, hosts(api.Hosts{Loopback: true, Allowed: []string{"*"}}))
	keyed := newService(t, withKeys(nil), hosts(api.Hosts{Loopback: true}))
	for _, c := range []struct {
		service      *service
		host, origin string
		want         int
	}{
		{local, "localhost:8080", "", 200},
		{local, "LOCALHOST.", "", 200},
		{local, "a.localhost:8080", "", 200},
		{local, "127.0.0.1:8080", "", 200},
		{local, "127.8.8.8", "", 200},
		{local, "[::1]:8080", "", 200},
		{local, "[::ffff:127.0.0.1]", "", 200},
		{local, "", "", 200},
		{local, "gather.example.com", "", 200},
		{local, "example.org", "", 200},
		{local, "a.b.example.org:80", "", 200},
		{local, "evil.example", "", misdirected},
		{local, "evilexample.org", "", misdirected},
		{local, "localhost.evil.example:8080", "", misdirected},
		{local, "gather.example.com.evil.example", "", misdirected},
		{local, "gather", "", misdirected},
		{local, "10.1.2.3:8080", "", misdirected},
		{local, "localhost:8080", "http://localhost:8080", 200},
		{local, "127.0.0.1:8080", "https://gather.example.com", 200},
		{local, "localhost:8080", "http://localhost:3000", forbidden},
		{local, "localhost:8080", "http://127.0.0.1:8080", forbidden},
		{local, "localhost:8080", "https://evil.example", forbidden},
		{local, "localhost:8080", "null", forbidden},
		{local, "evil.example", "http://evil.example", misdirected},

		{network, "localhost:8080", "", 200},
		{network, "10.1.2.3:8080", "", 200},
		{network, "[fd00::1]", "", 200},
		{network, "gather:8080", "", 200},
		{network, "gather.default.svc:8080", "", 200},
		{network, "gather.default.svc.cluster.local", "", 200},
		{network, "printer.local", "", 200},
		{network, "evil.example", "", misdirected},
		{network, "10.1.2.3.evil.example", "", misdirected},
		{network, "gather.svc.evil.example", "", misdirected},
		{network, "a.localhost.evil.example", "", misdirected},
		{network, "10.1.2.3:8080", "http://10.1.2.3:8080", 200},
		{network, "10.1.2.3:8080", "http://10.1.2.3", forbidden},

		{anyHost, "evil.example", "http://other.example", 200},
		{anyHost, "evil.example", "null", forbidden},
		{keyed, "evil.example", "http://other.example", 401},
	} {
		for _, op := range []string{
			"GET /v1/jobs", "POST /v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/cancel", "PUT /v1/arrays/x", "GET /nowhere",
		} {
			method, target, _ := strings.Cut(op, " ")
			w := c.service.sendTo(c.host, method, target, c.origin)
			// Accepted requests get the status of their operation.
			if got := w.Code; got != c.want && (c.want != 200 || got == misdirected || got == forbidden) {
				t.Errorf("%s with Host %q, Origin %q: %d, want %d: %s", op, c.host, c.origin, got, c.want, w.Body)
			}
		}
	}
}

// The problem has a type and names the setting that allows the request. Probes of load balancers have any Host.
func TestHostProblems(t *testing.T) {
	s := newService(t, hosts(api.Hosts{Loopback: true}))
	for _, c := range []struct{ host, origin, problem, hint string }{
		{"gather.example.com:8080", "", "/problems/host-not-allowed", "--allowed-hosts=gather.example.com,"},
		{"localhost", "https://gather.example.com", "/problems/origin-not-allowed", "--allowed-hosts"},
	} {
		w := s.sendTo(c.host, "GET", "/v1/jobs", c.origin)
		p := decode[api.Problem](t, w.Body.Bytes())
		if p.Type != c.problem || p.Detail == nil || !strings.Contains(*p.Detail, c.hint) || p.RequestId == "" {
			t.Errorf("Host %s, Origin %s: %s, want %s with %s", c.host, c.origin, w.Body, c.problem, c.hint)
		}
	}
	r := httptest.NewRequest("GET", "/v1/jobs", nil)
	r.Host, r.Header["Origin"] = "localhost", []string{"http://localhost", "https://evil.example"}
	w := httptest.NewRecorder()
	if s.handler.ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("a second Origin that is foreign: %d, want 403: %s", w.Code, w.Body)
	}
	for _, probe := range []string{"/livez", "/readyz"} {
		if w := s.sendTo("lb.example.com", "GET", probe, ""); w.Code != 200 {
			t.Errorf("%s: %d, want 200", probe, w.Code)
		}
	}
}
