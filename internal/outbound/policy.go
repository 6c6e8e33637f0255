package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// A Policy is a list of the hosts and networks that requests may be sent to. The zero value allows none.
type Policy struct {
	entries []entry
	text    string // the entries as they were parsed
}

// An entry allows a host name, the subdomains of a domain, any name, or a network; at one port, or at every port.
type entry struct {
	host    string // in lower case; "" for a network, "*" for any
	suffix  string // of the allowed subdomains, such as ".internal.example"
	network netip.Prefix
	port    uint16 // 0 for any
}

// hostPattern matches a host name, and *.DOMAIN for its subdomains.
var hostPattern = regexp.MustCompile(`^(\*|(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$`)

// ParsePolicy parses a list of entries: HOST, *.DOMAIN for all its subdomains, * for any host that has a public address,
// ADDRESS or NETWORK/BITS. Each allows one port if it ends with :PORT (IPv6 in brackets), otherwise every port. The error
// joins the errors of all entries.
func ParsePolicy(list []string) (*Policy, error) {
	p := &Policy{text: strings.Join(list, ",")}
	var errs []error
	for _, text := range list {
		e, err := parseEntry(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.entries = append(p.entries, e)
	}
	return p, errors.Join(errs...)
}

func parseEntry(text string) (e entry, err error) {
	fault := fmt.Errorf("%q is not a host such as api.example, *.internal.example:8443, or a network such as 10.1.0.0/16", text)
	body := text
	network, ok := parseNetwork(body)
	if !ok {
		if i := strings.LastIndexByte(text, ':'); i >= 0 {
			port, err := strconv.ParseUint(text[i+1:], 10, 16)
			if err != nil || port == 0 {
				return e, fault
			}
			body, e.port = text[:i], uint16(port)
		}
		if strings.HasPrefix(body, "[") && strings.HasSuffix(body, "]") {
			if body = body[1 : len(body)-1]; !strings.Contains(body, ":") {
				return e, fault
			}
		}
		network, ok = parseNetwork(body)
	}
	if ok {
		e.network = network
		return e, nil
	}
	body = strings.ToLower(body)
	if len(body) > 253 || !hostPattern.MatchString(body) || numeric(body) {
		return e, fault
	}
	e.host = body
	if strings.HasPrefix(body, "*.") {
		e.suffix = body[1:]
	}
	return e, nil
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	n, err := netip.ParsePrefix(text)
	if err != nil || n.Addr().Is4In6() || n != n.Masked() {
		return netip.Prefix{}, false
	}
	return n, true
}

// numeric reports whether the last label of a host name is a number: resolvers take such names for addresses.
func numeric(host string) bool {
	label := host[strings.LastIndexByte(host, '.')+1:]
	if label == "" {
		return false
	}
	_, err := strconv.ParseUint(label, 0, 64)
	return err == nil || strings.HasPrefix(label, "0x")
}

// Empty reports whether the policy allows nothing.
func (p *Policy) Empty() bool { return len(p.entries) == 0 }

// Allow reports whether a request may be sent to a URL: with an error that wraps ErrNotAllowed if it may not. The address
// of the host is checked when a connection is made.
func (p *Policy) Allow(u *url.URL) error {
	var port uint16
	switch {
	case u.Port() != "":
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%w: port %q", ErrNotAllowed, u.Port())
		}
		port = uint16(n)
	case u.Scheme == "https":
		port = 443
	case u.Scheme == "http":
		port = 80
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	address, err := netip.ParseAddr(host)
	literal := err == nil
	address = address.Unmap()
	for i := range p.entries {
		e := &p.entries[i]
		switch {
		case e.port != 0 && e.port != port:
		case e.host == "*",
			literal && e.host == "" && e.network.Contains(address),
			!literal && e.host != "" && (e.host == host || e.suffix != "" && len(host) > len(e.suffix) && strings.HasSuffix(host, e.suffix)):
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrNotAllowed, clip(u.Host))
}

// public refuses the addresses of the special-purpose registries of IANA: loopback, link-local, private, multicast, the
// metadata services of clouds and more.
var public = ssrf.New(ssrf.WithAnyPort())

// control is net.Dialer.Control: it refuses a resolved address that is not public, unless a network of the policy has it.
func (p *Policy) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	a := to.Addr().Unmap() // an IPv4-mapped address is the IPv4 address
	for i := range p.entries {
		if e := &p.entries[i]; e.host == "" && e.network.Contains(a) && (e.port == 0 || e.port == to.Port()) {
			return nil
		}
	}
	network := "tcp6"
	if a.Is4() {
		network = "tcp4"
	}
	if err := public.Safe(network, netip.AddrPortFrom(a, to.Port()).String(), nil); err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	return nil
}
