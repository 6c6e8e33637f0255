package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func reader(text string) *wire { return &wire{r: bufio.NewReader(strings.NewReader(text))} }

func TestAnswer(t *testing.T) {
	const (
		fixed   = "HTTP/1.1 202 Accepted\r\nX: y\r\ncontent-length: 5\r\n\r\nhello"
		chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
		empty   = "HTTP/1.1 204 No Content\r\n\r\n"
	)
	w := reader(fixed + chunked + empty + fixed)
	for _, want := range []struct {
		status int
		body   string
	}{{202, "hello"}, {200, "hello"}, {204, ""}, {202, "hello"}} {
		var body bytes.Buffer
		status, err := w.readResponse(&body)
		if err != nil || status != want.status || body.String() != want.body {
			t.Errorf("got %d %q, %v; want %d %q", status, &body, err, want.status, want.body)
		}
	}
	if _, err := w.readResponse(nil); !errors.Is(err, io.EOF) {
		t.Errorf("after the last response: got %v, want io.EOF", err)
	}
	for _, bad := range []string{
		"SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
	} {
		if _, err := reader(bad).readResponse(nil); !errors.Is(err, errProtocol) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLoad(t *testing.T) {
	client, server := net.Pipe()
	go func() { // ends with the pipe
		r := bufio.NewReader(server)
		for i := 0; ; i++ {
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			response := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			if i == 3 {
				response = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
			}
			if _, err := io.WriteString(server, response); err != nil {
				return
			}
		}
	}()
	defer func() { _ = client.Close() }()
	c := &clients{wires: []*wire{{Conn: client, r: bufio.NewReader(client)}}}
	got, err := c.load(t.Context(), request("GET", "/", ""), 200, 10*time.Second)
	if err == nil || len(got.latencies) != 3 {
		t.Errorf("got %d responses, %v; want 3, and an error for the 503", len(got.latencies), err)
	}
}

func TestFigures(t *testing.T) {
	s := sample{took: 2 * time.Second}
	for i := 100; i >= 0; i-- {
		s.latencies = append(s.latencies, time.Duration(i))
	}
	if p50, p99, rate := s.quantile(0.5), s.quantile(0.99), s.rate(); p50 != 50 || p99 != 99 || rate != 50.5 {
		t.Errorf("p50 %d, p99 %d, rate %g", p50, p99, rate)
	}
	if m := median([]float64{9, 1, 5, 3}); m != 4 {
		t.Errorf("median %g", m)
	}
}
