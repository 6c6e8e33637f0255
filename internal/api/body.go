package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"gather/internal/job"
)

// A requestBody decodes itself. It keeps data.
type requestBody interface {
	decode(data []byte) error
}

// decodeBody reads and decodes a JSON body; the generated code calls it for every operation with one.
func decodeBody(r *http.Request, into requestBody) error {
	x := exchangeOf(r.Context())
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
	return into.decode(data)
}

func checkMedia(r *http.Request) error {
	x := exchangeOf(r.Context())
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		x.set("Accept-Encoding", "identity")
		return &problem{row: unsupportedMedia, detail: "Send the body as it is, without Content-Encoding."}
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
	return &problem{row: unsupportedMedia, detail: "Send the body as Content-Type: application/json."}
}

var errBodies = &job.Rejection{
	Err: job.ErrQueueFull, Reason: refusedBodies, RetryAfter: time.Second,
	Detail: "as many request bodies are being read as this server has memory for",
}

// hold takes room for n more bytes of a body, as long as all bodies together stay within MaxBodies. The room is held
// until release, or the end of the request.
func (x *exchange) hold(n int64) error {
	if x.srv.bodies.Add(n) > x.srv.MaxBodies {
		x.srv.bodies.Add(-n)
		return errBodies
	}
	x.body += n
	return nil
}

func (x *exchange) release() {
	x.srv.bodies.Add(-x.body)
	x.body = 0
}

// readBody reads a body of at most MaxBody bytes, within BodyTimeout.
func (s *server) readBody(x *exchange, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(x)
	_ = control.SetReadDeadline(time.Now().Add(s.BodyTimeout))
	data, err := s.readAll(x, r)
	// A deadline that stays would end the context of a long wait.
	_ = control.SetReadDeadline(time.Time{})
	if err == nil {
		return data, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, s.tooLarge()
	}
	if errors.Is(err, job.ErrQueueFull) {
		return nil, err
	}
	return nil, &problem{row: malformedRequest, detail: "The body ended early or came too slowly."}
}

// readAll takes the room for a body before the memory: at once if its length is known, and as it grows otherwise.
func (s *server) readAll(x *exchange, r *http.Request) ([]byte, error) {
	size, known := r.ContentLength, r.ContentLength >= 0
	if size > s.MaxBody {
		return nil, &http.MaxBytesError{Limit: s.MaxBody}
	}
	if !known {
		size = min(4096, s.MaxBody)
	}
	if err := x.hold(size); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if known {
		_, err := io.ReadFull(r.Body, data)
		return data, err
	}
	body := http.MaxBytesReader(x.w, r.Body, s.MaxBody)
	for n := 0; ; {
		k, err := body.Read(data[n:])
		n += k
		if errors.Is(err, io.EOF) {
			return data[:n], nil
		}
		if err != nil {
			return nil, err
		}
		if n == len(data) {
			more := min(int64(n), max(s.MaxBody-int64(n), 1))
			if err := x.hold(more); err != nil {
				return nil, err
			}
			data = slices.Grow(data, int(more))[:n+int(more)]
		}
	}
}

func (s *server) tooLarge() error {
	return &problem{row: payloadTooLarge, detail: "A body may have " + byteSize(s.MaxBody) + " at most; split the batch, or give a range or a source instead of values."}
}
