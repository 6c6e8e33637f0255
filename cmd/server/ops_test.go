package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// The metrics listener rejects a request with a body without waiting for the body, and closes the connection.
func TestMetricsTakeNoBody(t *testing.T) {
	srv, stop := launch(t, "--data-dir", t.TempDir())
	defer stop()
	for _, path := range []string{"/metrics", "/debug/pprof/cmdline", "/nowhere"} {
		for _, header := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			t.Run(path+" "+header, func(t *testing.T) {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.opsListener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil { // for a server that waits
					t.Fatal(err)
				}
				if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", path, header); err != nil {
					t.Fatal(err)
				}
				r := bufio.NewReader(conn)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
					t.Errorf("got %s, close %t, %v, want 413 and close: %s", resp.Status, resp.Close, err, body)
				}
				if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("after the response: got %v, want the end of the connection", err)
				}
			})
		}
	}
}
