package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"gather/internal/job"
)

// A requestBody decodes a JSON body and may keep references to data.
type requestBody interface {
	decode(data []byte) error
}

// decodeBody reads and decodes a JSON body.
func decodeBody(x *requestState, into requestBody) error {
	r := x.req
	if err := checkMedia(r); err != nil {
		return err
	}
	data, err := x.srv.readBody(x, r)
	if err != nil {
		return err
	}
	if err := checkMembers(data); err != nil {
		return err
	}
	return into.decode(data)
}

func checkMedia(r *http.Request) error {
	x := requestStateOf(r.Context())
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		x.set("Accept-Encoding", "identity")
		return &problem{entry: unsupportedMedia, detail: "Content-Encoding is not supported. Send the body uncompressed."}
	}
	media := r.Header.Get("Content-Type")
	if media == "application/json" {
		return nil
	}
	if base, params, err := mime.ParseMediaType(media); err == nil && base == "application/json" {
		if charset := params["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
			return nil
		}
	}
	x.set("Accept", "application/json")
	return &problem{entry: unsupportedMedia, detail: "Send the body as Content-Type: application/json; with curl: --json, or before curl 7.82 -H 'Content-Type: application/json' -d."}
}

const (
	// firstRead is the initial size of a body's buffer, which doubles as the body arrives.
	firstRead = 4 << 10
	// maxDiscard bounds how much of an unused body is read so that the connection can be reused.
	maxDiscard = 256 << 10
	// lingerTimeout bounds how long a response waits for the rest of an unread body.
	lingerTimeout = 5 * time.Second
)

// awaitBody sets the read deadline of the request's body, whether or not the operation reads it. net/http removes the
// deadline after the body's last byte.
func (x *requestState) awaitBody() {
	x.unread = true
	_ = http.NewResponseController(x.w).SetReadDeadline(x.started.Add(x.srv.BodyTimeout))
}

// linger bounds how long net/http reads the rest of the body before it writes the response.
func (x *requestState) linger() {
	if x.w.Header().Get("Connection") == "" {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(min(lingerTimeout, x.srv.BodyTimeout)))
	}
}

// takesBody reports whether a request's operation may have a body.
func takesBody(r *http.Request) bool {
	return r.Method == http.MethodPut || r.Method == http.MethodPost && !strings.HasSuffix(r.URL.Path, "/cancel") && !strings.HasPrefix(r.URL.Path, "/v1/schedules/")
}

// discardBody reads a body that the operation does not use, so that the operation starts after the request is complete.
// net/http closes the connection when the body exceeds maxDiscard.
func (s *server) discardBody(x *requestState, r *http.Request) error {
	_, err := io.CopyN(io.Discard, r.Body, maxDiscard)
	if errors.Is(err, io.EOF) {
		x.unread = false
		return nil
	}
	return x.bodyError(err, "")
}

// bodyError returns the problem for an error of reading the body.
func (x *requestState) bodyError(err error, after string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.set("Connection", "close")
		return &problem{entry: requestTimeout, detail: "The request body did not arrive in time" + after + "."}
	}
	return &problem{entry: malformedRequest, detail: "The request body is incomplete" + after + "."}
}

// reserveBody acquires n more bytes for the body, until releaseBody or the end of the request.
func (x *requestState) reserveBody(n int64) error {
	if err := x.srv.bodies.acquire(x.principal.Tenant, x.body, n); err != nil {
		return err
	}
	x.body += n
	return nil
}

func (x *requestState) releaseBody() {
	x.srv.bodies.release(x.principal.Tenant, x.body)
	x.body = 0
	x.resizeRead(0)
}

// readBody reads a body of at most MaxBody bytes before the deadline that awaitBody set.
func (s *server) readBody(x *requestState, r *http.Request) ([]byte, error) {
	data, err := s.readAll(x, r)
	if err == nil {
		x.unread = false
		return data, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, s.tooLarge()
	}
	if _, ok := errors.AsType[*job.Rejection](err); ok {
		return nil, err
	}
	return nil, x.bodyError(err, "")
}

// readAll reads a body and acquires memory as it arrives; a declared length only bounds the last buffer. The extra byte
// that reveals an oversized body of unknown length is not counted, so that a body of MaxBody bytes fits into a budget
// of that size.
func (s *server) readAll(x *requestState, r *http.Request) ([]byte, error) {
	most, body := r.ContentLength, io.Reader(r.Body)
	if most > s.MaxBody {
		return nil, &http.MaxBytesError{Limit: s.MaxBody}
	}
	if most < 0 {
		most, body = s.MaxBody+1, http.MaxBytesReader(x.w, r.Body, s.MaxBody)
	}
	size := min(most, firstRead)
	if err := x.reserveBody(min(size, s.MaxBody)); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	for n := int64(0); ; {
		k, err := io.ReadFull(body, data[n:])
		n += int64(k)
		switch {
		case n == r.ContentLength:
			return data, nil
		case r.ContentLength < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return data[:n], nil
		case err != nil:
			return nil, err
		}
		size = min(2*size, most)
		if err := x.reserveBody(min(size, s.MaxBody) - n); err != nil {
			return nil, err
		}
		grown := make([]byte, size)
		copy(grown, data)
		data = grown
	}
}

func (s *server) tooLarge() error {
	return &problem{entry: payloadTooLarge, detail: "The body exceeds the limit of " + byteSize(s.MaxBody) + "; split the batch, or give a range or a source instead of values."}
}
