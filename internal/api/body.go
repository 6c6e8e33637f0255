package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
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
	Err: job.ErrQueueFull, Reason: "bodies", RetryAfter: time.Second,
	Detail: "as many request bodies are being read as this server has memory for",
}

// readBody reads a body of at most MaxBody bytes. All bodies together stay within MaxBodies until their requests end.
func (s *server) readBody(x *exchange, r *http.Request) ([]byte, error) {
	size := r.ContentLength
	if size > s.MaxBody {
		return nil, s.tooLarge()
	}
	if size < 0 { // not known before
		size = s.MaxBody
	}
	if s.bodies.Add(size) > s.MaxBodies {
		s.bodies.Add(-size)
		return nil, errBodies
	}
	x.body = size
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
	return nil, &problem{row: malformedRequest, detail: "The body ended early or came too slowly."}
}

func (s *server) readAll(x *exchange, r *http.Request) ([]byte, error) {
	if r.ContentLength >= 0 {
		data := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, data)
		return data, err
	}
	return io.ReadAll(http.MaxBytesReader(x.w, r.Body, s.MaxBody))
}

func (s *server) tooLarge() error {
	return &problem{row: payloadTooLarge, detail: "A body may have " + byteSize(s.MaxBody) + " at most; split the batch, or give a range or a source instead of values."}
}
