package outbound

import (
	"net/http"
	"net/netip"
)

// SetTransport replaces the connections of a Sender.
func (s *Sender) SetTransport(t http.RoundTripper) {
	s.newTransport = func(*Policy) http.RoundTripper { return t }
}

// Connects reports whether a policy allows a connection to a resolved address.
func (p *Policy) Connects(to netip.AddrPort) bool { return p.control("tcp", to.String(), nil) == nil }
