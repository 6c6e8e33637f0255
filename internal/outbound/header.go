package outbound

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// reserved are the headers that a request cannot set: the transport sets them, or they are of one connection.
var reserved = []string{
	"Host", "Content-Length", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Http2-Settings",
}

// CheckHeaderName returns why a request cannot set a header, or nil.
func CheckHeaderName(name string) error {
	switch {
	case len(name) > maxText || !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is not a header name", clip(name))
	case slices.Contains(reserved, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("%s cannot be set", http.CanonicalHeaderKey(name))
	}
	return nil
}

// CheckHeaderValue returns why a text cannot be the value of a header, such as a line break, or nil.
func CheckHeaderValue(value string) error {
	if !validHeaderValue(value) {
		return fmt.Errorf("has a character that a header value cannot have")
	}
	return nil
}

func validHeaderValue(value string) bool {
	return httpguts.ValidHeaderFieldValue(value) && strings.Trim(value, " \t") == value
}

// A Header is a header of a request.
type Header struct {
	// Name is in canonical form.
	Name string
	// Value is the value, or the name of a secret.
	Value  string
	Secret bool
}

// crossHost are the headers that are kept when a redirect leads to another host. All others may be credentials.
var crossHost = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding", "User-Agent", "Idempotency-Key", "Traceparent",
}

// CheckResponseHeader returns why a text cannot be the name of a header, or nil.
func CheckResponseHeader(name string) error {
	if len(name) > maxText || !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is not a header name", clip(name))
	}
	return nil
}
