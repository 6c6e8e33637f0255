package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzhttp/writer/gzkp"
	"github.com/klauspost/compress/gzhttp/writer/zstdkp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// minEncoded is the size of a response's first write from which the response is compressed.
	minEncoded = 4 << 10
	// maxEncoders bounds the compressed responses that are being written, each with up to a megabyte of buffers. Further
	// responses are sent uncompressed.
	maxEncoders = 64
)

// codings are the content codings of responses, the preferred first.
var codings = [...]string{"zstd", "gzip"}

// coding returns the content coding that an Accept-Encoding header prefers, or "" for none. It ignores "*", because
// clients that do not name a coding may be unable to decode any.
func coding(h http.Header) string {
	best, bestQ := "", 0.0
	for _, line := range h["Accept-Encoding"] {
		for one := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(one, ";")
			key, value, _ := strings.Cut(strings.TrimSpace(params), "=")
			q := 1.0
			if strings.EqualFold(strings.TrimSpace(key), "q") {
				q = qOf(strings.TrimSpace(value))
			}
			for i, c := range codings {
				if strings.EqualFold(strings.TrimSpace(name), c) && (q > bestQ || q == bestQ && q > 0 && i == 0) {
					best, bestQ = c, q
				}
			}
		}
	}
	return best
}

// vary adds the request headers on which the response depends.
func (x *requestState) vary(names []string) {
	h := x.w.Header()
	if old := h["Vary"]; len(old) > 0 && &old[0] != &varyEncoding[0] {
		names = slices.Concat(old, names)
	}
	h["Vary"] = names
}

// begin sends the header that WriteHeader held back. n is the size of the first write, which decides whether the
// response is compressed.
func (x *requestState) begin(n int) {
	status := x.held
	x.held = 0
	h := x.w.Header()
	if n >= minEncoded && h["Content-Encoding"] == nil && x.srv.openEncoder() {
		h["Content-Encoding"] = []string{x.coding}
		delete(h, "Content-Length")
		switch {
		case x.req.Method == http.MethodHead:
			x.encoder = discard{} // net/http omits the body
		case x.coding == "zstd":
			x.encoder = zstdkp.NewWriter(x.w, int(zstd.SpeedFastest))
		default:
			x.encoder = gzkp.NewWriter(x.w, gzip.BestSpeed)
		}
		x.srv.metrics.compressed[x.coding].Inc()
	}
	x.w.WriteHeader(status)
}

// endEncoding sends what is left of a response, unless it was aborted.
func (x *requestState) endEncoding(aborted bool) {
	if x.held != 0 && !aborted {
		x.begin(0)
	}
	if x.encoder == nil {
		return
	}
	if !aborted {
		x.setWriteDeadline()
		_ = x.encoder.Close() // it fails only if the client has disconnected
	}
	x.encoder = nil
	x.srv.encoders.Add(-1)
}

// openEncoder counts a compressed response if maxEncoders allows one more.
func (s *server) openEncoder() bool {
	if s.encoders.Add(1) > maxEncoders {
		s.encoders.Add(-1)
		return false
	}
	return true
}

// discard is the encoder of a response without a body.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }
