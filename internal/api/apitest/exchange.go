package apitest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// streamTimeout bounds how long a stream, or a request that may wait, is followed.
	streamTimeout = 250 * time.Millisecond
	// responseTimeout bounds all other responses.
	responseTimeout = time.Minute
	// maxHeld is the number of open connections whose client neither sends nor reads.
	maxHeld = 40
)

// A response is the received response.
type response struct {
	*http.Response
	body []byte
	// partial is true if the client disconnected before the end of the body.
	partial bool
}

// A connection is reused for the next request if the previous response allows it.
type connection struct {
	*net.TCPConn
	r    *bufio.Reader
	used bool
}

// mayWait reports whether the response may take as long as a job, or wait for the rest of a body that is not sent.
func (q *request) mayWait() bool {
	return q.has("Prefer") || q.malformed || strings.Contains(q.target, "/events")
}

// exchange sends a request and reads the response. It returns nil when the client disconnects before the response.
func (w *worker) exchange(q *request) (*response, error) {
	c := w.conn
	w.conn = nil
	if c == nil {
		dialed, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", w.config.Address)
		if err != nil {
			return nil, err
		}
		c = &connection{TCPConn: dialed.(*net.TCPConn), r: bufio.NewReader(dialed)}
	}
	data := q.bytes(w.config.Address)
	written := make(chan struct{})
	var writeErr error
	go func(c net.Conn) { // ends when the server reads, or the connection is closed
		_, writeErr = c.Write(data)
		close(written)
	}(c)
	defer func() {
		if w.conn == nil && c != nil {
			_ = c.Close()
		}
	}()
	switch q.ending {
	case closed:
		<-written
		return nil, nil //nolint:nilnil // no response is expected
	case stalled:
		<-written
		w.hold(c)
		c = nil
		return nil, nil //nolint:nilnil // no response is expected
	case halfClosed:
		<-written
		_ = c.CloseWrite()
	case complete:
	}
	if q.mayWait() && one(w.g.Rand, 20) || one(w.g.Rand, 200) {
		<-written
		w.hold(c) // a client that does not read
		c = nil
		return nil, nil //nolint:nilnil // no response is expected
	}
	timeout := responseTimeout
	if q.mayWait() {
		timeout = streamTimeout
	}
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	resp, err := http.ReadResponse(c.r, &http.Request{Method: q.method})
	for err == nil && resp.StatusCode < 200 {
		resp, err = http.ReadResponse(c.r, &http.Request{Method: q.method})
	}
	if err != nil {
		if q.mayWait() && errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil //nolint:nilnil // the client stopped waiting
		}
		return nil, fmt.Errorf("no response (reused connection: %t): %w", c.used, err)
	}
	defer resp.Body.Close()
	a := &response{Response: resp}
	a.body, err = io.ReadAll(resp.Body)
	if err != nil && !(q.mayWait() && errors.Is(err, os.ErrDeadlineExceeded)) {
		return a, fmt.Errorf("the response is truncated: %w", err)
	}
	a.partial = err != nil
	if err := a.decompress(); err != nil {
		return a, err
	}
	if q.ending == complete && !q.malformed && !resp.Close && !a.partial {
		select {
		case <-written:
			if writeErr == nil {
				c.used, w.conn = true, c
				_ = c.SetReadDeadline(time.Time{})
			}
		default:
		}
	}
	return a, nil
}

// decompress replaces the body of a compressed problem or JSON document by its content.
func (a *response) decompress() error {
	if a.partial || len(a.body) == 0 || a.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(a.Header.Get("Content-Type"), "json") {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(a.body))
	if err == nil {
		a.body, err = io.ReadAll(z)
	}
	if err != nil {
		return fmt.Errorf("the response is not gzip: %w", err)
	}
	return nil
}

// hold keeps an idle connection open, and closes the oldest one in return.
func (w *worker) hold(c *connection) {
	if w.held = append(w.held, c); len(w.held) > maxHeld {
		_ = w.held[0].Close()
		w.held = w.held[1:]
	}
}

func (w *worker) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	for _, c := range w.held {
		_ = c.Close()
	}
}
