package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Listener returns a listener to serve srv on. Its connections replace the errors that net/http sends without calling
// the handler: for requests that it cannot parse, headers that are too large, and an unsupported Expect,
// Transfer-Encoding or HTTP version. net/http sends these in plain text or without a body; the replacement is
// application/problem+json with an X-Request-Id, and is logged under that id. Listener sets srv.ConnState.
//
// Every response of the handler has an X-Request-Id, so an error without one comes from net/http. Only the first write
// of a response is inspected, and of a success only its status line.
func Listener(srv *http.Server, l net.Listener, log *slog.Logger) net.Listener {
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*conn); ok && state == http.StateIdle {
			c.responding = false
		}
	}
	return &listener{l, log}
}

type listener struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &conn{TCPConn: tcp, log: l.log}, err
	}
	return c, err
}

// conn keeps the methods of TCPConn that net/http uses in addition to net.Conn: ReadFrom (sendfile) and CloseWrite.
type conn struct {
	*net.TCPConn
	log *slog.Logger
	// responding is true once the response to the current request has begun.
	responding bool
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.responding {
		return c.TCPConn.Write(b)
	}
	c.responding = true
	p := serverProblem(b)
	if p == nil {
		return c.TCPConn.Write(b)
	}
	id := newRequestID()
	client, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	c.log.LogAttrs(context.Background(), slog.LevelInfo, "request failed", slog.String("request_id", id),
		slog.Int("status", p.entry.status), slog.String("client", client), slog.String("problem", cmp.Or(p.entry.name, p.entry.title)), slog.String("detail", p.detail))
	if _, err := c.TCPConn.Write(appendServerProblem(nil, p, id)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// serverErrors are the details of net/http errors whose status line has no reason.
var serverErrors = map[int]string{
	http.StatusBadRequest:                  "The request line or a header field is not valid.",
	http.StatusExpectationFailed:           "The only expectation that the server supports is 100-continue.",
	http.StatusRequestHeaderFieldsTooLarge: "The request line and the header fields are too long.",
	http.StatusNotImplemented:              "The only transfer coding that the server supports is chunked.",
	http.StatusHTTPVersionNotSupported:     "The server supports HTTP/1.1 and HTTP/1.0.",
}

// serverProblem returns the problem for an error response of net/http; nil for other responses.
func serverProblem(b []byte) *problem {
	const status = len("HTTP/1.1 ")
	if len(b) < status+len("400 ") || string(b[:len("HTTP/1.")]) != "HTTP/1." || b[status] != '4' && b[status] != '5' {
		return nil
	}
	header, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	line, rest, _ := bytes.Cut(header, []byte("\r\n"))
	code, _ := strconv.Atoi(string(line[status : status+3]))
	if http.StatusText(code) == "" || bytes.Contains(rest, []byte("X-Request-Id: ")) {
		return nil
	}
	p := &problem{entry: problemType{status: code, title: http.StatusText(code)}, detail: serverErrors[code]}
	if code == http.StatusBadRequest {
		p.entry = malformedRequest
		if _, reason, ok := bytes.Cut(line, []byte(": ")); ok { // for example "400 Bad Request: missing required Host header"
			p.detail = sentence(string(reason))
		}
	}
	return p
}

// appendServerProblem appends the response that replaces an error of net/http, which then closes the connection.
func appendServerProblem(b []byte, p *problem, requestID string) []byte {
	body := append(appendProblem(nil, p, "", requestID), '\n')
	b = fmt.Appendf(b, "HTTP/1.1 %d %s\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\nContent-Type: application/problem+json\r\n",
		p.entry.status, http.StatusText(p.entry.status), len(body))
	b = fmt.Appendf(b, "Date: %s\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: %s\r\n\r\n", time.Now().UTC().Format(http.TimeFormat), requestID)
	return append(b, body...)
}
