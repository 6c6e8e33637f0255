package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gather/internal/fields"
)

// Hosts restricts a listener without API keys to the Host and Origin headers of its own clients. Otherwise any web page
// could make a browser send requests to the listener: from another origin, or from a domain that the page's owner
// resolves to the listener's address (DNS rebinding). A nil *Hosts accepts every request.
type Hosts struct {
	// Loopback restricts Host to the names and addresses of the loopback interface, for a listener that has no other
	// address. Otherwise every IP address and every name that cannot be in the public DNS is accepted too.
	Loopback bool
	// Allowed lists further hosts for Host and Origin. ".example.com" is a domain with all its subdomains, "*" any
	// name.
	Allowed []string
	// Origins lists further origins, such as "https://app.example", or "*" for any.
	Origins []string
}

// privateDomains are the top-level domains for private networks, which do not exist in the public DNS.
var privateDomains = []string{".localhost", ".local", ".internal", ".home.arpa", ".svc"}

// check returns a *problem for a request that Hosts does not allow.
func (h *Hosts) check(r *http.Request) error {
	if h == nil {
		return nil
	}
	// Browsers always send Host; only HTTP/1.0 clients may omit it.
	if name := hostName(r.Host); r.Host != "" && !h.accepts(name) && !h.allows(name) {
		return &problem{entry: hostNotAllowed, detail: "This server has no API keys and does not accept the Host " + fields.Clip(name) +
			". Use localhost, or start the server with --allowed-hosts=" + fields.Clip(name) + ", or with API keys."}
	}
	for _, origin := range r.Header["Origin"] {
		_, host, _ := strings.Cut(origin, "://")
		listed := slices.Contains(h.Origins, strings.ToLower(origin)) || slices.Contains(h.Origins, "*")
		if !listed && !strings.EqualFold(host, r.Host) && !h.allows(hostName(host)) {
			return &problem{entry: originNotAllowed, detail: "This server has no API keys and does not accept requests from pages of the origin " +
				fields.Clip(origin) + ". To allow them, start the server with --cors-origins and the origin (or with --allowed-hosts and its host, if that is a name of this server), or with API keys."}
		}
	}
	return nil
}

// accepts reports whether a host is accepted without being in Allowed.
func (h *Hosts) accepts(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return !h.Loopback || ip.IsLoopback() // a page loaded from an address is served by that address
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

// hostName returns the host of "host:port" in lower case, without brackets and trailing dot.
func hostName(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Protect returns a handler that responds 421 or 403 in plain text to requests that Hosts does not allow.
func (h *Hosts) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.check(r); err != nil {
			p := problemOf(err)
			http.Error(w, p.detail, p.entry.status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
