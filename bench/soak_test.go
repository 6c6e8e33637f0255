package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func TestFollow(t *testing.T) {
	m := mixed{path: "/results", method: "GET", lines: 2}
	for _, c := range []struct {
		name, body, response, want string
	}{
		{"enough lines", `{"id":"7"}`, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1\n2\n", ""},
		{"too few lines", `{"id":"7"}`, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1\n", "GET /v1/jobs/7/results: got status 200 and 1 lines, want 2"},
		{"an error", `{"id":"7"}`, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "got status 404"},
		{"no job", `{}`, "", "no job in {}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reader(c.response)
			w.Conn = discard{}
			err := m.follow(w, []byte(c.body))
			if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	o := &stream{discard{}, reader("id: 1\nevent: state\ndata: {}\n\n").r}
	if err := o.ends("event: "); err != nil {
		t.Error(err)
	}
	if err := o.ends(`"state":"cancelled"`); err == nil || !strings.Contains(err.Error(), `after "data: {}`) {
		t.Errorf("got %v, want the last line of a stream that ended early", err)
	}
	l := &slowReaders{cancel: func() {}, cut: 2, err: errors.New("reset")}
	if err := l.stop(); err == nil || !strings.Contains(err.Error(), "2 slow readers were disconnected: reset") {
		t.Errorf("got %v, want the disconnected readers", err)
	}
}

// discard is a connection that takes everything.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error)     { return len(p), nil }
func (discard) SetReadDeadline(time.Time) error { return nil }
