package outbound_test

import (
	"net/http"
	"testing"
	"time"

	"gather/internal/outbound"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "86400": 24 * time.Hour,
		"99999999999999999999":          1 << 32 * time.Second,
		"Fri, 27 Nov 2026 12:01:00 GMT": time.Minute, "Friday, 27-Nov-26 12:01:00 GMT": time.Minute, "Fri Nov 27 12:01:00 2026": time.Minute,
		"Fri, 27 Nov 2026 11:00:00 GMT": 0,
		"":                              -1, "-1": -1, "1.5": -1, "soon": -1, "7s": -1, "Fri, 27 Nov 2026": -1,
	} {
		got, ok := outbound.RetryAfter(text, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, ok, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("Fri, 27 Nov 2026 12:01:00 GMT")
	f.Fuzz(func(t *testing.T, text string) {
		if d, ok := outbound.RetryAfter(text, time.Now()); ok && d < 0 {
			t.Errorf("%q: got %v, want no negative wait", text, d)
		}
	})
}

func TestHeaders(t *testing.T) {
	for name, want := range map[string]bool{
		"Accept": true, "x-key": true, "Host": false, "HOST": false, "content-length": false, "Connection": false, "Transfer-Encoding": false,
		"Upgrade": false, "TE": false, "Trailer": false, "Keep-Alive": false, "Proxy-Authorization": false, "": false, "a b": false, "a\r\nb": false,
		"a:b": false, "ä": false,
	} {
		if got := outbound.CheckHeaderName(name) == nil; got != want {
			t.Errorf("name %q: got %v, want %v", name, got, want)
		}
	}
	for value, want := range map[string]bool{
		"": true, "a b": true, "ä": true, "a\tb": true, "a\r\nX: y": false, "a\n": false, "a\x00": false, " a": false, "a ": false, "\x7f": false,
	} {
		if got := outbound.CheckHeaderValue(value) == nil; got != want {
			t.Errorf("value %q: got %v, want %v", value, got, want)
		}
	}
}

// No header that is accepted can add a line to a request.
func FuzzHeader(f *testing.F) {
	f.Add("Accept", "a\r\nb")
	f.Fuzz(func(t *testing.T, name, value string) {
		if outbound.CheckHeaderName(name) != nil || outbound.CheckHeaderValue(value) != nil {
			return
		}
		for _, text := range []string{http.CanonicalHeaderKey(name), value} {
			for i := range len(text) {
				if text[i] == '\r' || text[i] == '\n' || text[i] == 0 {
					t.Errorf("%q: %q is accepted", name, value)
				}
			}
		}
	})
}
