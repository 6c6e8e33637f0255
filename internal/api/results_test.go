package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"gather/internal/api"
)

// lastLine returns the last line of an NDJSON response.
func lastLine(body []byte) string {
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	return lines[len(lines)-1]
}

// The last line of NDJSON results has the same cursor and completeness as the end of a JSON page.
func TestResultsEnd(t *testing.T) {
	s := newService(t)
	done, live := s.finished(`{"kind":"squares","range":{"stop":10}}`), s.running()
	empty := s.finished(`{"kind":"squares","numbers":[]}`)
	for _, c := range []struct {
		job      api.Job
		query    string
		lines    int
		complete bool
	}{
		{done, "", 11, true},
		{done, "?order=index", 11, true},
		{done, "?limit=10", 11, true},
		{done, "?limit=3", 4, false},
		{done, "?limit=3&order=index", 4, false},
		{live, "", 1, false},
		{empty, "", 1, true},
		{empty, "?order=index", 1, true},
	} {
		got := s.do("GET", path(c.job, "/results"+c.query), "", "Accept: application/x-ndjson")
		page := decode[api.Results](t, s.do("GET", path(c.job, "/results"+c.query), "").body)
		want := fmt.Sprintf(`{"next_after":%d,"complete":%t}`, page.NextAfter, c.complete)
		if n := bytes.Count(got.body, []byte("\n")); n != c.lines || lastLine(got.body) != want || page.Complete != c.complete {
			t.Errorf("%s%s: %d lines, the last %s; want %d, %s; the JSON page is complete: %t",
				c.job.Kind, c.query, n, lastLine(got.body), c.lines, want, page.Complete)
		}
		if c.complete {
			continue
		}
		// Reading on from the cursor returns the rest.
		sep := "?"
		if c.query != "" {
			sep = "&"
		}
		rest := s.do("GET", path(c.job, fmt.Sprintf("/results%s%safter=%d", strings.Replace(c.query, "limit=3", "limit=100", 1), sep, page.NextAfter)),
			"", "Accept: application/x-ndjson")
		if n := bytes.Count(rest.body, []byte("\n")); c.query != "" && n != 8 || rest.status != 200 {
			t.Errorf("the rest of %s: %d, %d lines, want 7 items and the end", c.query, rest.status, n)
		}
	}
}

// A response to HTTP/1.0, which a proxy may request, ends with the connection: only the last line distinguishes a
// complete response from a truncated one.
func TestResultsOverHTTP10(t *testing.T) {
	read := func(s *service, tail string) string {
		j := s.finished(`{"kind":"squares","range":{"stop":200000}}`)
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n", path(j, tail)); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(conn)
		if err != nil && len(body) == 0 {
			t.Fatal(err)
		}
		return lastLine(body)
	}
	for tail, mark := range map[string]string{"/results": `,"complete":true}`, "/events": `{"event":"end",`} {
		if got := read(newService(t), tail); !strings.Contains(got, mark) {
			t.Errorf("%s: the last line is %.200s, want one with %s", tail, got, mark)
		}
		cut := newService(t, func(_ *service, c *api.Config) { c.Log = &breaking{logOf: logOf{c.Log}} })
		if got := read(cut, tail); strings.Contains(got, mark) {
			t.Errorf("%s, cut: the last line is %.200s, want one without %s", tail, got, mark)
		}
	}
}
