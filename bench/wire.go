package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// The client uses as little CPU as possible, because it shares the cores with the measured server. A request is prepared as
// bytes, a response is a status and a body, and a connection belongs to one goroutine.

// wire is one keep-alive HTTP/1.1 connection.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*wire, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second) //nolint:noctx // loopback, with a timeout
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// request builds a request; extra are whole header lines.
func request(method, path, body string, extra ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	for _, line := range extra {
		b.WriteString(line + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// roundTrip sends a request, hands the body to sink (nil drops it) and returns the status.
func (w *wire) roundTrip(req []byte, sink io.Writer) (int, error) {
	if _, err := w.Write(req); err != nil {
		return 0, err
	}
	return w.readResponse(sink)
}

var errProtocol = errors.New("unsupported HTTP response")

// readResponse reads one response.
func (w *wire) readResponse(sink io.Writer) (int, error) {
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 13 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, errProtocol
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, errProtocol
	}
	length, chunked := int64(0), false
	for {
		if line, err = w.r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, errProtocol
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if sink == nil {
		sink = io.Discard
	}
	if !chunked {
		_, err = io.CopyN(sink, w.r, length)
		return status, err
	}
	for {
		if line, err = w.r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return 0, errProtocol
		}
		if _, err := io.CopyN(sink, w.r, size); err != nil {
			return 0, err
		}
		if _, err := w.r.Discard(2); err != nil {
			return 0, err
		}
		if size == 0 {
			return status, nil
		}
	}
}

// lineCounter counts lines.
type lineCounter struct{ lines int }

// Write implements io.Writer.
func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}
