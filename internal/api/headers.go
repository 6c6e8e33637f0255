package api

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest wait of Prefer: wait.
const maxWait = 30 * time.Second

// preferredWait returns the wait of a Prefer header (RFC 7240), or 0. Preferences that cannot be parsed are ignored.
func preferredWait(h http.Header) time.Duration {
	for _, line := range h["Prefer"] {
		for line != "" {
			var pref string
			pref, line = cutUnquoted(line, ',')
			pref, _ = cutUnquoted(pref, ';')
			name, value, _ := strings.Cut(pref, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0
			}
			return min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	return 0
}

// cutUnquoted cuts at the first sep outside of a quoted string.
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// idempotencyKey returns the Idempotency-Key header, or "": 1 to 255 printable ASCII characters, bare or as a quoted
// string (RFC 8941). The quotes are not part of the key.
func idempotencyKey(h http.Header) (string, error) {
	lines := h["Idempotency-Key"]
	if len(lines) == 0 {
		return "", nil
	}
	const want = `must be 1 to 255 printable ASCII characters, bare or as a quoted string, once`
	wrong := func() (string, error) { return "", malformed("header", "Idempotency-Key", want) }
	raw := strings.TrimSpace(lines[0])
	if len(lines) > 1 || raw == "" {
		return wrong()
	}
	key := raw
	if raw[0] == '"' {
		var ok bool
		if key, ok = unquote(raw); !ok {
			return wrong()
		}
	}
	if key == "" || len(key) > 255 {
		return wrong()
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return wrong()
		}
	}
	return key, nil
}

// unquote parses s as an RFC 8941 string.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

// matches reports whether an If-None-Match header contains the tag, compared weakly (RFC 9110).
func matches(header []string, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for _, line := range header {
		for line != "" {
			var one string
			one, line = cutUnquoted(line, ',')
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// traceParent returns the request's W3C traceparent, or "" if it is missing or invalid.
func traceParent(h http.Header) string {
	lines := h["Traceparent"]
	if len(lines) != 1 || len(lines[0]) != 55 {
		return ""
	}
	t := lines[0]
	for i := range len(t) {
		c, dash := t[i], i == 2 || i == 35 || i == 52
		if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	zero := func(s string) bool { return strings.Trim(s, "0") == "" }
	if t[:2] == "ff" || zero(t[3:35]) || zero(t[36:52]) {
		return ""
	}
	return t
}

const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
	mediaSSE    = "text/event-stream"
	mediaHTML   = "text/html"
)

// negotiate returns the offer that the Accept header prefers, the first of several with the same quality. A header
// without a media range is ignored.
func negotiate(h http.Header, offers ...string) (string, error) {
	lines := h["Accept"]
	if strings.Trim(strings.Join(lines, ""), ", \t") == "" || len(lines) == 1 && (lines[0] == "*/*" || lines[0] == offers[0]) {
		return offers[0], nil
	}
	best, bestQ := "", 0.0
	for _, offer := range offers {
		if q := quality(lines, offer); q > bestQ {
			best, bestQ = offer, q
		}
	}
	if best == "" {
		return "", &problem{entry: notAcceptable, detail: "Supported media types: " + strings.Join(offers, ", ") + "."}
	}
	return best, nil
}

// quality returns the q of the most specific media range that includes the offer.
func quality(lines []string, offer string) float64 {
	major, _, _ := strings.Cut(offer, "/")
	q, specific := 0.0, 0
	for _, line := range lines {
		for line != "" {
			var one string
			one, line = cutUnquoted(line, ',')
			media, params, _ := mime.ParseMediaType(one) // after an invalid parameter media is set nevertheless
			rank := 0
			switch media {
			case offer:
				rank = 3
			case major + "/*":
				rank = 2
			case "*/*":
				rank = 1
			}
			if rank > specific {
				q, specific = qOf(params["q"]), rank
			}
		}
	}
	return q
}

func qOf(text string) float64 {
	if text == "" {
		return 1
	}
	if q, err := strconv.ParseFloat(text, 64); err == nil && q >= 0 && q <= 1 {
		return q
	}
	return 0
}

// byteSize formats a size for people.
func byteSize(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
