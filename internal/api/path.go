package api

import (
	"net/url"
	"strings"
)

// routePath returns the path of a request in the form of the routes, percent-encoded only where a segment requires it,
// so that "/v1/jobs%3Abatch" is "/v1/jobs:batch" (RFC 3986, section 6.2.2). An encoded slash stays encoded, because it
// is part of a segment.
func routePath(u *url.URL) string {
	// These characters are never percent-encoded.
	if u.RawPath == "" && onlyLetters(u.Path, "/-._~:") {
		return u.Path
	}
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		if text, err := url.PathUnescape(s); err == nil { // net/http has checked it
			segments[i] = url.PathEscape(text)
		}
	}
	return strings.Join(segments, "/")
}

// onlyLetters reports whether a text has only ASCII letters, digits and the characters in more.
func onlyLetters(text, more string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}
