package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gather/internal/job"
)

// arrayFile is the response to a GET of an array that accepts the file.
type arrayFile struct {
	x     *requestState
	array job.Array
	file  job.ArrayFile
}

// writeArrayFile responds with the file of an array.
func (s *server) writeArrayFile(x *requestState, name string) error {
	a, f, err := s.Arrays.Open(x, x.principal.Tenant, name)
	if err != nil {
		return damaged(err)
	}
	return (&arrayFile{x: x, array: a, file: f}).write()
}

// damaged returns the error that clients see when a file differs from the uploaded one.
func damaged(err error) error {
	if errors.Is(err, job.ErrCorrupt) {
		return job.ErrArrayDamaged
	}
	return err
}

// write writes the file and closes it. http.ServeContent handles ranges and their conditions.
func (a *arrayFile) write() (err error) {
	defer func() {
		if closing := a.file.Close(); err == nil {
			err = closing
		}
	}()
	x := a.x
	if !x.srv.openStream() {
		return errStreams
	}
	defer x.srv.closeStream()
	x.mode = modeStream
	h := x.Header()
	x.srv.describeArray(x, &a.array)
	h["Content-Type"] = []string{mediaNPY}
	x.set("Content-Disposition", `attachment; filename="`+a.array.Name+`.npy"`)
	if r := x.req.Header.Get("Range"); !strings.HasPrefix(r, "bytes=") {
		x.req.Header.Del("Range") // RFC 9110, section 14.2: other units are ignored
	}
	content := &arrayContent{file: a}
	w := &arrayWriter{requestState: x}
	http.ServeContent(w, x.req, "", time.Time{}, content)
	switch {
	case w.status == http.StatusRequestedRangeNotSatisfiable:
		h.Del("Content-Disposition")
		x.set("Content-Range", fmt.Sprintf("bytes */%d", a.array.Bytes))
		return &problem{entry: rangeNotSatisfiable, detail: fmt.Sprintf("The file has %d bytes.", a.array.Bytes)}
	case content.err != nil:
		for _, name := range []string{"Content-Disposition", "Content-Length", "Content-Range", "Accept-Ranges", "Etag"} {
			if !x.wrote {
				h.Del(name)
			}
		}
		return damaged(content.err) // or abort the connection if a part was sent
	case w.err == nil:
		w.begin() // nothing was written: HEAD, or an empty range
	}
	return clientError(w.err)
}

// arrayContent is the file of an array as an io.ReadSeeker.
type arrayContent struct {
	file *arrayFile
	at   int64
	err  error // first read error
}

// Read implements io.Reader.
func (c *arrayContent) Read(p []byte) (int, error) {
	n, err := c.file.file.ReadAtContext(c.file.x, p, c.at)
	c.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) && c.err == nil {
		c.err = err
	}
	return n, err
}

// Seek implements io.Seeker.
func (c *arrayContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.file.array.Bytes
	}
	c.at = offset
	return offset, nil
}

// arrayWriter sends the output of http.ServeContent with a deadline for each piece. It sends the header with the first
// piece, so that a read error still gets an error status. A 416 gets a problem as its body.
type arrayWriter struct {
	*requestState
	status int
	begun  bool
	err    error
}

// WriteHeader implements http.ResponseWriter.
func (w *arrayWriter) WriteHeader(status int) { w.status = status }

func (w *arrayWriter) begin() {
	if !w.begun {
		w.begun = true
		w.requestState.WriteHeader(w.status)
	}
}

// Write implements http.ResponseWriter.
func (w *arrayWriter) Write(p []byte) (int, error) {
	if w.status == http.StatusRequestedRangeNotSatisfiable {
		return len(p), nil
	}
	w.begin()
	if w.err = w.srv.writeWithDeadline(w.requestState, p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}
