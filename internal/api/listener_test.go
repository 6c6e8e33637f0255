package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gather/internal/api"
)

// readResponse reads one response and its body.
func readResponse(t *testing.T, r *bufio.Reader) response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, resp.StatusCode, body}
}

// Errors that net/http sends without calling the handler become problems, on a new connection and on a reused one, and
// are logged under their request id.
func TestServerErrors(t *testing.T) {
	const malformed, blank = "/problems/malformed-request", "about:blank"
	for _, tt := range []struct {
		name, request string
		status        int
		kind, detail  string
	}{
		{"percent", "GET /v1/jobs/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, malformed, "The request line or a header field is not valid."},
		{"request line", "nonsense\r\n\r\n", 400, malformed, "The request line or a header field is not valid."},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, malformed, "The request line or a header field is not valid."},
		{"length", "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, malformed, "The request line or a header field is not valid."},
		{"no host", "GET /livez HTTP/1.1\r\n\r\n", 400, malformed, "Missing required Host header."},
		{"host", "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", 400, malformed, "Malformed Host header."},
		{"field value", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n", 400, malformed, "The request line or a header field is not valid."},
		{"expectation", "GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: more\r\n\r\n", 417, blank, "The only expectation that the server supports is 100-continue."},
		{"expectation over HTTP/1.0", "GET /livez HTTP/1.0\r\nExpect: more\r\n\r\n", 417, blank, "The only expectation that the server supports is 100-continue."},
		{"header", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431, blank, "The request line and the header fields are too long."},
		{"coding", "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501, blank, "The only transfer coding that the server supports is chunked."},
		{"version", "GET /livez HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, blank, "The server supports HTTP/1.1 and HTTP/1.0."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contract := newContract(t)
			for _, before := range []string{"", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
				s := newService(t)
				c := s.dial()
				r := bufio.NewReader(c)
				if _, err := io.WriteString(c, before+tt.request); err != nil {
					t.Fatal(err)
				}
				if before != "" {
					if a := readResponse(t, r); a.status != http.StatusOK {
						t.Fatalf("the request before: got %s, want 200", a.Status)
					}
				}
				resp := readResponse(t, r)
				body := resp.body
				var got struct {
					Type, Detail string
					Status       int
					RequestID    string `json:"request_id"`
				}
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatalf("%s\n%q: %v", resp.Status, body, err)
				}
				if err := visit(contract.doc.Components.Schemas["Problem"].Value, body); err != nil {
					t.Errorf("%s: %v", body, err)
				}
				if resp.StatusCode != tt.status || got.Status != tt.status || got.Type != tt.kind || got.Detail != tt.detail {
					t.Errorf("got %d and %s, want %d, %q and %q", resp.StatusCode, body, tt.status, tt.kind, tt.detail)
				}
				if media := resp.Header.Get("Content-Type"); media != "application/problem+json" {
					t.Errorf("got Content-Type %q, want application/problem+json", media)
				}
				if id := resp.Header.Get("X-Request-Id"); id == "" || id != got.RequestID {
					t.Errorf("got X-Request-Id %q and request_id %q, want the same", id, got.RequestID)
				}
				if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil || !resp.Close {
					t.Errorf("got %q, %v and Close %t after the response, want the end of the connection", rest, err, resp.Close)
				}
				log := s.logged()
				if last := log[len(log)-1]; last["request_id"] != got.RequestID || last["status"] != float64(tt.status) {
					t.Errorf("got the log record %v, want request id %s and status %d", last, got.RequestID, tt.status)
				}
			}
		})
	}
}

// Responses of the handler pass unchanged, including errors and 100-continue.
func TestListenerPasses(t *testing.T) {
	s := newService(t)
	c := s.dial()
	r := bufio.NewReader(c)
	send := func(format string, args ...any) response {
		t.Helper()
		if _, err := fmt.Fprintf(c, format, args...); err != nil {
			t.Fatal(err)
		}
		return readResponse(t, r)
	}
	for range 2 {
		a := send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\n\r\n")
		if a.status != 404 || a.Header.Get("X-Request-Id") != "mine" || !strings.Contains(string(a.body), `"instance":"/nowhere"`) {
			t.Errorf("got %s %v %s, want the 404 of the handler", a.Status, a.Header, a.body)
		}
	}
	const job = `{"kind":"squares","numbers":[3]}`
	if _, err := fmt.Fprintf(c, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(job)); err != nil {
		t.Fatal(err)
	}
	if a := readResponse(t, r); a.status != http.StatusContinue {
		t.Fatalf("got %s, want 100", a.Status)
	}
	if a := send(job); a.status != http.StatusAccepted {
		t.Errorf("got %s %s, want 202", a.Status, a.body)
	}
}

// Writes that do not begin like an error of net/http pass; a replaced write reports its full length as written.
func TestListenerWrites(t *testing.T) {
	for _, c := range []struct{ first, want string }{
		{"H", "H"},
		{"HTTP/1.1 4", "HTTP/1.1 4"},
		{"HTTP/1.1 499 \r\n\r\n", "HTTP/1.1 499 \r\n\r\n"},
		{"HTTP/1.1 400 Bad Request\r\n\r\nBad", "HTTP/1.1 400 Bad Request\r\nCache-Control: no-store\r\n"},
	} {
		t.Run(c.first, func(t *testing.T) {
			tcp, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := api.Listener(new(http.Server), tcp, slog.New(slog.DiscardHandler))
			defer func() { _ = l.Close() }()
			client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			first := slices.Clip([]byte(c.first)) // no bytes behind it
			if n, err := accepted.Write(first); n != len(c.first) || err != nil {
				t.Errorf("got %d, %v, want %d bytes written", n, err, len(c.first))
			}
			_ = accepted.Close()
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(client, got); err != nil || string(got) != c.want {
				t.Errorf("the client got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// A connection keeps the methods that net/http uses to send files and to close one direction.
func TestListenerConn(t *testing.T) {
	var lc net.ListenConfig
	tcp, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := api.Listener(new(http.Server), tcp, nil)
	defer func() { _ = l.Close() }()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	_, sendsFiles := accepted.(io.ReaderFrom)
	_, closesHalf := accepted.(interface{ CloseWrite() error })
	if !sendsFiles || !closesHalf {
		t.Errorf("got ReadFrom %t and CloseWrite %t, want both", sendsFiles, closesHalf)
	}
	// Only the first write can be a response of net/http: the second one is part of a body.
	const written = "HTTP/1.1 200 OK\r\n\r\n" + "HTTP/1.1 400 Bad Request\r\n\r\n"
	for part := range strings.SplitAfterSeq(written, "\r\n\r\n") {
		if _, err := io.WriteString(accepted, part); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(written))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != written {
		t.Errorf("got %q, %v, want %q", got, err, written)
	}
}
