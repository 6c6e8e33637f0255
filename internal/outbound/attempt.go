package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Request is one request of a batch.
type Request struct {
	Method string
	URL    *url.URL
	// Header is sent with the defaults of the batch, which it overrides.
	Header []Header
	// Body is the body; "" for none.
	Body string
}

// An Outcome is a response, or the reason for which there is none.
type Outcome struct {
	Status int
	Header http.Header
	// Body is the body, decompressed, up to the bound of the batch. Bytes is its length, also if it is not kept.
	Body      []byte
	Bytes     int64
	Truncated bool
	// Class and Error are "" for a response.
	Class Class
	Error string
	// Attempts counts this attempt and the attempts before it, Duration is of this attempt.
	Attempts int
	Duration time.Duration
}

// maxRedirects is how many redirects of a request are followed.
const maxRedirects = 5

// attempt sends a request once, following redirects.
func (b *Batch) attempt(r *Request) *Outcome {
	ctx, cancel := context.WithTimeoutCause(b.ctx, b.Timeout, errTimeout)
	defer cancel()
	start := time.Now()
	o := &Outcome{}
	err := b.exchange(ctx, r, o)
	if err != nil {
		o.Class, o.Error = describe(ctx, err)
		o.Status, o.Header, o.Body, o.Bytes, o.Truncated = 0, nil, nil, 0, false
	}
	o.Duration = time.Since(start)
	return o
}

// exchange sends a request, and fills the outcome from the response at the end of its redirects.
func (b *Batch) exchange(ctx context.Context, r *Request, o *Outcome) error {
	header, err := b.header(r)
	if err != nil {
		return err
	}
	method, u, body := r.Method, r.URL, r.Body
	policy := b.sender.Policy(b.Tenant)
	for redirects := 0; ; redirects++ {
		if err := policy.Allow(u); err != nil {
			return err
		}
		resp, err := b.sender.transport(policy).RoundTrip(newRequest(ctx, method, u, header, body))
		if err != nil {
			return err
		}
		location := resp.Header.Get("Location")
		if b.NoRedirects || !isRedirect(resp.StatusCode) || location == "" {
			return b.read(resp, o)
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection is used again
		_ = resp.Body.Close()
		if redirects == maxRedirects {
			return fmt.Errorf("%w: more than %d redirects", errRedirects, maxRedirects)
		}
		next, err := u.Parse(location)
		switch {
		case err != nil || next.Host == "" || next.User != nil || next.Scheme != "http" && next.Scheme != "https" || !isASCII(next.Host):
			return fmt.Errorf("%w: its Location is not a valid URL", errRedirects)
		case u.Scheme == "https" && next.Scheme == "http":
			return fmt.Errorf("%w: from https to http", errRedirects)
		}
		if err := policy.Allow(next); err != nil {
			return fmt.Errorf("%w: %w", errRedirects, err)
		}
		if !strings.EqualFold(next.Host, u.Host) {
			header = withoutCredentials(header)
		}
		if s := resp.StatusCode; s == http.StatusSeeOther && method != http.MethodHead ||
			(s == http.StatusMovedPermanently || s == http.StatusFound) && method == http.MethodPost {
			method, body = http.MethodGet, ""
			header = header.Clone()
			header.Del("Content-Type")
			header.Del("Content-Encoding")
		}
		u = next
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func withoutCredentials(h http.Header) http.Header {
	kept := make(http.Header, len(crossHost))
	for _, name := range crossHost {
		if v, ok := h[name]; ok {
			kept[name] = v
		}
	}
	return kept
}

// header returns the headers of a request, with its secrets.
func (b *Batch) header(r *Request) (http.Header, error) {
	h := make(http.Header, len(r.Header)+3)
	h["User-Agent"] = []string{b.sender.cfg.UserAgent}
	if b.TraceParent != "" {
		h["Traceparent"] = []string{b.TraceParent}
	}
	for _, f := range r.Header {
		value := f.Value
		if f.Secret {
			var err error
			if value, err = b.sender.Secret(b.Tenant, f.Value); err != nil {
				return nil, err
			}
		}
		h[f.Name] = []string{value}
	}
	return h, nil
}

// newRequest returns a request that the transport does not send again by itself, unless its method is safe: it would,
// because of the Idempotency-Key, if it could read the body twice.
func newRequest(ctx context.Context, method string, u *url.URL, h http.Header, body string) *http.Request {
	r := &http.Request{
		Method: method, URL: u, Host: u.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
	}
	if body != "" || method == http.MethodPost || method == http.MethodPatch {
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	return r.WithContext(ctx)
}

// read reads the response into the outcome.
func (b *Batch) read(resp *http.Response, o *Outcome) error {
	defer resp.Body.Close()
	o.Status, o.Header = resp.StatusCode, resp.Header
	limited := io.LimitReader(resp.Body, b.MaxBody)
	var err error
	if b.Discard {
		o.Bytes, err = io.Copy(io.Discard, limited)
	} else {
		if n := resp.ContentLength; n > 0 {
			o.Body = make([]byte, 0, min(n, b.MaxBody)+1)
		}
		o.Body, err = appendAll(o.Body, limited)
		o.Bytes = int64(len(o.Body))
	}
	if err == nil && o.Bytes == b.MaxBody {
		var more [1]byte
		n, rest := io.ReadFull(resp.Body, more[:])
		o.Truncated = n > 0
		if rest != nil && !errors.Is(rest, io.EOF) {
			err = rest
		}
	}
	return err
}

// appendAll appends everything that r has.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
