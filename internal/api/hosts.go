package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gather/internal/fields"
)

// Hosts restricts a listener without API keys to the Host and Origin headers of its own clients. Any web page can make a
// browser send requests to a listener that only the browser's user should reach: from another origin, or from a domain
// that the page's owner resolves to the listener's address (DNS rebinding). A nil *Hosts accepts every request.
type Hosts struct {
	// Loopback restricts Host to the names and addresses of this machine's loopback interface, because the listener has
	// no other address. Otherwise every IP address and every name that cannot be in the public DNS is accepted too.
	Loopback bool
	// Allowed are further host names, for Host and Origin. ".example.com" is a domain and all its subdomains, "*" any
	// name.
	Allowed []string
}

// privateDomains are top-level domains for private networks, which the public DNS does not have.
var privateDomains = []string{".localhost", ".local", ".internal", ".home.arpa", ".svc"}

// check returns a *problem unless the request comes from a client of this listener.
func (h *Hosts) check(r *http.Request) error {
	if h == nil {
		return nil
	}
	// Browsers always send a Host; only a client of HTTP/1.0 may leave it out.
	if name := hostName(r.Host); r.Host != "" && !h.accepts(name) && !h.allows(name) {
		return &problem{row: hostNotAllowed, detail: "This server has no API keys and does not accept the Host " + fields.Clip(name) +
			". Use localhost, or start the server with --allowed-hosts=" + fields.Clip(name) + ", or with API keys."}
	}
	for _, origin := range r.Header["Origin"] {
		_, host, _ := strings.Cut(origin, "://")
		if !strings.EqualFold(host, r.Host) && !h.allows(hostName(host)) {
			return &problem{row: originNotAllowed, detail: "This server has no API keys and accepts no requests of pages of the origin " +
				fields.Clip(origin) + ". To allow them, start the server with --allowed-hosts and the host of the origin, or with API keys."}
		}
	}
	return nil
}

// accepts reports whether a host is accepted without being in Allowed.
func (h *Hosts) accepts(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return !h.Loopback || ip.IsLoopback() // a page of an address comes from that address
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	return !h.Loopback && (!strings.Contains(name, ".") ||
		slices.ContainsFunc(privateDomains, func(d string) bool { return strings.HasSuffix(name, d) }))
}

// allows reports whether a host is in Allowed.
func (h *Hosts) allows(name string) bool {
	return name != "" && slices.ContainsFunc(h.Allowed, func(a string) bool {
		a = strings.ToLower(a)
		return a == "*" || a == name || strings.HasPrefix(a, ".") && strings.HasSuffix("."+name, a)
	})
}

// hostName returns the host of "host:port" in lower case, without brackets and the dot of a rooted name.
func hostName(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Protect returns a handler that answers 421 or 403 in plain text to requests of other hosts and origins.
func (h *Hosts) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.check(r); err != nil {
			p := problemOf(err)
			http.Error(w, p.detail, p.row.status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
