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

// A requestBody decodes itself. It keeps data.
type requestBody interface {
	decode(data []byte) error
}

// decodeBody reads and decodes a JSON body.
func decodeBody(x *requestState, into requestBody) error {
	r := x.req
	if err := x.mayWrite(); err != nil {
		return err
	}
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
	x := exchangeOf(r.Context())
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		x.set("Accept-Encoding", "identity")
		return &problem{row: unsupportedMedia, detail: "Content-Encoding is not supported. Send the body uncompressed."}
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
	return &problem{row: unsupportedMedia, detail: "Send the body as Content-Type: application/json; with curl: --json, or before curl 7.82 -H 'Content-Type: application/json' -d."}
}

const (
	// firstRead is the size of the first buffer of a body, which then doubles as the body arrives.
	firstRead = 4 << 10
	// maxDiscard is how much of a body that no operation takes is read, so that the connection can be used again.
	maxDiscard = 256 << 10
	// lingerTimeout bounds how long an answer waits for the rest of a body that was not read.
	lingerTimeout = 5 * time.Second
)

// awaitBody sets the deadline of a request's body, whether or not the body will be read.
func (x *requestState) awaitBody() {
	x.unread = true
	_ = http.NewResponseController(x.w).SetReadDeadline(x.started.Add(x.srv.BodyTimeout))
}

// endBody removes the deadline after the last byte of the body: it would end the context of a long answer.
func (x *requestState) endBody() {
	x.unread = false
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
}

// linger bounds how long net/http reads the rest of the body before it writes the answer.
func (x *requestState) linger() {
	if x.w.Header().Get("Connection") == "" {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(min(lingerTimeout, x.srv.BodyTimeout)))
	}
}

// takesBody reports whether a request may be one of an operation with a body.
func takesBody(r *http.Request) bool {
	return r.Method == http.MethodPut || r.Method == http.MethodPost && !strings.HasSuffix(r.URL.Path, "/cancel")
}

// discardBody reads a body that the operation does not take, so that the operation begins when the request is complete. A
// body beyond maxDiscard is left to net/http, which closes the connection.
func (s *server) discardBody(x *requestState, r *http.Request) error {
	_, err := io.CopyN(io.Discard, r.Body, maxDiscard)
	if errors.Is(err, io.EOF) {
		x.endBody()
		return nil
	}
	return x.bodyError(err, "")
}

// bodyError returns the problem of a body that could not be read.
func (x *requestState) bodyError(err error, after string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.set("Connection", "close")
		return &problem{row: requestTimeout, detail: "The request body did not arrive in time" + after + "."}
	}
	return &problem{row: malformedRequest, detail: "The request body is incomplete" + after + "."}
}

// hold acquires n more bytes for the body. They are held until release, or the end of the request.
func (x *requestState) hold(n int64) error {
	if err := x.srv.bodies.acquire(x.principal.Tenant, x.body, n); err != nil {
		return err
	}
	x.body += n
	return nil
}

func (x *requestState) release() {
	x.srv.bodies.release(x.principal.Tenant, x.body)
	x.body = 0
	x.holdRead(0)
}

// readBody reads a body of at most MaxBody bytes, by the deadline that awaitBody set.
func (s *server) readBody(x *requestState, r *http.Request) ([]byte, error) {
	data, err := s.readAll(x, r)
	if err == nil {
		x.endBody()
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

// readAll acquires memory for a body as it arrives. A length that the client declares only bounds the last buffer. The byte
// that shows that a body without a length is too large is not counted: a body of the largest size fits into a budget of that size.
func (s *server) readAll(x *requestState, r *http.Request) ([]byte, error) {
	most, body := r.ContentLength, io.Reader(r.Body)
	if most > s.MaxBody {
		return nil, &http.MaxBytesError{Limit: s.MaxBody}
	}
	if most < 0 {
		most, body = s.MaxBody+1, http.MaxBytesReader(x.w, r.Body, s.MaxBody)
	}
	size := min(most, firstRead)
	if err := x.hold(min(size, s.MaxBody)); err != nil {
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
		if err := x.hold(min(size, s.MaxBody) - n); err != nil {
			return nil, err
		}
		grown := make([]byte, size)
		copy(grown, data)
		data = grown
	}
}

func (s *server) tooLarge() error {
	return &problem{row: payloadTooLarge, detail: "A body may have " + byteSize(s.MaxBody) + " at most; split the batch, or give a range or a source instead of values."}
}
