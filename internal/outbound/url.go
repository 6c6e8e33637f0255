package outbound

import (
	"fmt"
	"net/url"
	"strings"
)

// MaxURL bounds a URL, in bytes.
const MaxURL = 8 << 10

// ParseURL parses the URL of a request.
func ParseURL(text string) (*url.URL, error) {
	if len(text) > MaxURL {
		return nil, fmt.Errorf("must have at most %d bytes", MaxURL)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
			return nil, fmt.Errorf("has a character that must be percent-encoded, or of which a host name has none")
		}
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("is not a valid URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("must begin with http:// or https:// and a host")
	case u.User != nil:
		return nil, fmt.Errorf(`must have no user and password: use the header Authorization, with a secret`)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}
