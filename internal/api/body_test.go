package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/tenant"
)

// dial opens a connection to the service.
func (s *service) dial() net.Conn {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send writes a request whose headers are lines, with the key of the service.
func (s *service) send(conn net.Conn, method, path, body string, headers ...string) {
	s.t.Helper()
	head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	if s.key != "" && !strings.Contains(head, "Authorization") {
		head += "Authorization: Bearer " + s.key + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		s.t.Fatal(err)
	}
}

// A body that does not arrive ends the request and the connection, whether the operation reads a body or not. It delays
// no response and no other body.
func TestBodyDeadline(t *testing.T) {
	const json, npy = "Content-Type: application/json", "Content-Type: application/x-npy"
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		status       int
	}{
		"submission":         {"POST", "/v1/jobs", []string{json}, 408},
		"batch":              {"POST", "/v1/jobs:batch", []string{json}, 408},
		"upload":             {"PUT", "/v1/arrays/x", []string{npy}, 408},
		"no body taken":      {"GET", "/livez", nil, 408},
		"a listing":          {"GET", "/v1/jobs", nil, 408},
		"head":               {"HEAD", "/livez", nil, 408},
		"cancel":             {"POST", "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/cancel", nil, 408},
		"delete":             {"DELETE", "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057", nil, 408},
		"media type":         {"POST", "/v1/jobs", []string{"Content-Type: text/plain"}, 415},
		"unauthenticated":    {"POST", "/v1/jobs", []string{json, "Authorization: Bearer x"}, 401},
		"unknown path":       {"POST", "/v1/nothing", []string{json}, 404},
		"unknown method":     {"BREW", "/v1/jobs", nil, 408},
		"100-continue":       {"POST", "/v1/jobs", []string{json, "Expect: 100-continue"}, 408},
		"rejected unwritten": {"POST", "/v1/jobs", []string{"Content-Type: text/plain", "Expect: 100-continue"}, 415},
	} {
		t.Run(name, func(t *testing.T) {
			lengths := []string{"Transfer-Encoding: chunked", "Content-Length: 100", "Content-Length: 4000"}
			if testing.Short() {
				lengths = lengths[:1]
			}
			for _, length := range lengths {
				for _, trickle := range []bool{false, true} {
					s := newService(t, withKeys(nil), func(_ *service, c *api.Config) { c.BodyTimeout = 50 * time.Millisecond })
					conn := s.dial()
					start := ""
					if c.method == "PUT" { // a header that is right so far
						start = "\x93NUMPY\x01\x00\x76\x00{"
						if strings.HasSuffix(length, "chunked") {
							start = fmt.Sprintf("%x\r\n%s\r\n", len(start), start)
						}
					}
					s.send(conn, c.method, c.path, start, append(c.headers, length)...)
					stop := make(chan struct{})
					stopped := make(chan struct{})
					go func() { // one byte at a time, slower than the deadline allows
						defer close(stopped)
						for trickle {
							select {
							case <-time.After(5 * time.Millisecond):
							case <-stop:
								return
							}
							one := "x"
							if strings.HasSuffix(length, "chunked") {
								one = "1\r\nx\r\n"
							}
							if _, err := io.WriteString(conn, one); err != nil {
								return
							}
						}
					}()
					in := bufio.NewReader(conn)
					resp, err := http.ReadResponse(in, &http.Request{Method: c.method})
					if err == nil && resp.StatusCode == http.StatusContinue {
						resp, err = http.ReadResponse(in, &http.Request{Method: c.method})
					}
					close(stop)
					<-stopped
					if err != nil {
						t.Fatalf("%s, trickle %t: %v", length, trickle, err)
					}
					if resp.StatusCode != c.status || !resp.Close {
						t.Errorf("%s, trickle %t: status %d, close %t; want %d and close", length, trickle, resp.StatusCode, resp.Close, c.status)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if !resp.Close {
						continue
					}
					if _, err := in.ReadByte(); err == nil {
						t.Errorf("%s, trickle %t: the connection stays open", length, trickle)
					}
				}
			}
		})
	}
}

// A stalled body delays an error response by at most 5 s, and a 408 not at all.
func TestStalledBodyDelays(t *testing.T) {
	const json, text = "Content-Type: application/json", "Content-Type: text/plain"
	for _, c := range []struct {
		name, request, header string
		sent, length          int64
		timeout               time.Duration
		status                int
		took                  time.Duration
	}{
		{"rejected", "POST /v1/jobs", text, 1, 100, time.Minute, 415, 5 * time.Second},
		{"rejected, short timeout", "POST /v1/jobs", text, 1, 100, 2 * time.Second, 415, 2 * time.Second},
		{"read", "POST /v1/jobs", json, 1, 100, time.Minute, 408, time.Minute},
		{"too large to be discarded", "GET /livez", json, 256 << 10, 1 << 40, time.Minute, 200, 0},
		{"discarded", "GET /livez", json, 1, 100, time.Minute, 408, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				_, h := newStill(t, func(config *api.Config) { config.BodyTimeout = c.timeout })
				conn := servePipes(t, h).dial(t)
				began := time.Now()
				head := fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n", c.request, c.header, c.length)
				if _, err := io.WriteString(conn, head+strings.Repeat("x", int(c.sent))); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if took := time.Since(began); resp.StatusCode != c.status || !resp.Close || took != c.took {
					t.Errorf("got %d, close %t after %s, want %d and close after %s", resp.StatusCode, resp.Close, took, c.status, c.took)
				}
				_, _ = io.Copy(io.Discard, conn) // until the server has closed it
			})
		})
	}
}

// draining reads uploads to their end and stores nothing.
type draining struct{ failingArrays }

func (draining) Put(_ context.Context, _, name string, r io.Reader, _ job.ArrayUpload) (job.Array, bool, error) {
	n, err := io.Copy(io.Discard, r)
	return job.Array{Name: name, Bytes: n}, true, err
}

// An upload may take longer than other bodies as long as it arrives at minRate.
func TestSlowUploads(t *testing.T) {
	for rate, status := range map[int]int{api.MinRate / 2: http.StatusRequestTimeout, 2 * api.MinRate: http.StatusCreated} {
		t.Run(fmt.Sprint(rate, " bytes a second"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				_, h := newStill(t, func(c *api.Config) { c.Arrays, c.BodyTimeout = draining{}, 10*time.Second })
				conn := servePipes(t, h).dial(t)
				const seconds = 60
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, err := fmt.Fprintf(conn, "PUT /v1/arrays/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-npy\r\nContent-Length: %d\r\n\r\n", seconds*rate)
					for range seconds {
						if err != nil { // the server has closed the connection
							return
						}
						time.Sleep(time.Second)
						_, err = conn.Write(make([]byte, rate))
					}
				}()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != status {
					t.Errorf("got %d, %v, want %d: %s", resp.StatusCode, err, status, body)
				}
				_, _ = io.Copy(io.Discard, conn) // until the server has closed it
				<-sent
			})
		})
	}
}

// The deadline of a body ends with the body: a wait may be longer, and the connection serves the next request.
func TestBodyDeadlineEnds(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.BodyTimeout = 200 * time.Millisecond })
	conn := s.dial()
	in := bufio.NewReader(conn)
	const body = `{"kind":"sleep_batch","count":1,"duration":"600ms"}`
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for text, header := range map[string]string{body: fmt.Sprintf("Content-Length: %d", len(body)), chunked: "Transfer-Encoding: chunked"} {
		for method, path := range map[string]string{"POST": "/v1/jobs", "GET": "/livez"} {
			s.send(conn, method, path, text, "Content-Type: application/json", "Prefer: wait=30", header)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || resp.Close {
				t.Errorf("%s %s: status %d, close %t, %v; want 200 and an open connection: %s", method, path, resp.StatusCode, resp.Close, err, data)
			}
		}
	}
}

// A body that was read and discarded does not end a stream that is longer than a body may take.
func TestStreamAfterBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is the subject
		s, h := newStill(t)
		s.apply(job.Started{At: time.Now()})
		conn := servePipes(t, h).dial(t)
		const head = "GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
		if _, err := fmt.Fprintf(conn, head, s.job.ID); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Hour, func() { s.apply(job.Finished{State: job.Succeeded, At: time.Now()}) })
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(body), "event: end") {
			t.Errorf("got %d bytes that end in %q, %v, want the events to their end", len(body), body[max(0, len(body)-200):], err)
		}
	})
}

// Declared bytes use no memory: requests that declare large bodies and send one byte do not block others.
func TestAnnouncedBodies(t *testing.T) {
	s := newService(t, withKeys(nil), func(_ *service, c *api.Config) { c.MaxBody, c.MaxBodies = 1<<20, 4<<20 })
	for range 64 {
		s.send(s.dial(), "POST", "/v1/jobs", "{", "Content-Type: application/json", "Content-Length: 1000000")
	}
	s.until(func() bool { return s.gauge("gather_http_requests_in_flight") == 64 })
	body := `{"kind":"squares","numbers":[1]}` + strings.Repeat(" ", 900_000)
	if a := s.do("POST", "/v1/jobs", body); a.status != 202 {
		t.Errorf("a large body beside 64 that do not come: %d, want 202: %s", a.status, a.body)
	}
	if held := s.gauge("gather_http_body_bytes_in_flight"); held > 64*4096 {
		t.Errorf("64 bytes that arrived hold %v bytes", held)
	}
}

// Large bodies that stall do not block small ones and other tenants.
func TestStalledBodies(t *testing.T) {
	const maxBody, bodies = 1 << 20, 4 << 20
	var texts []string
	s := newService(t, func(_ *service, c *api.Config) {
		var keys []tenant.Key
		for _, name := range []string{"one", "two", "three"} {
			key, text, err := tenant.Generate(name, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			keys, texts = append(keys, key), append(texts, text)
		}
		store, err := tenant.NewStore(keys)
		if err != nil {
			t.Fatal(err)
		}
		c.Tenants, c.MaxBody, c.MaxBodies = store, maxBody, bodies
	})
	const job = `{"kind":"squares","numbers":[1]}`
	large := job + strings.Repeat(" ", maxBody-len(job))
	stall := func(key string, n int) {
		before := s.gauge("gather_http_body_bytes_in_flight")
		for range n {
			s.send(s.dial(), "POST", "/v1/jobs", large[1:], "Content-Type: application/json", "Authorization: Bearer "+key, fmt.Sprint("Content-Length: ", maxBody))
		}
		s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") >= before+float64(n*maxBody) })
	}
	submit := func(key, body string, want int, problem string) {
		t.Helper()
		a := s.do("POST", "/v1/jobs", body, "Authorization: Bearer "+key)
		if a.status != want || !strings.Contains(string(a.body), problem) || want != 202 && a.Header.Get("Retry-After") == "" {
			t.Errorf("%d, Retry-After %q: %s; want %d", a.status, a.Header.Get("Retry-After"), a.body, want)
		}
	}
	stall(texts[0], 1)
	submit(texts[0], large, 429, "quota-exceeded") // half of the budget, minus the reserve for small bodies
	submit(texts[0], job, 202, "")
	stall(texts[1], 1)
	submit(texts[2], large, 202, "")
	stall(texts[2], 1)
	submit(texts[0], large, 503, "queue-full")
	submit(texts[1], job, 202, "")
	s.CloseClientConnections()
	s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") == 0 })
}

// One body of the maximum size always fits while nothing else is reserved, also into a budget of that size; a larger
// one never does, whether or not its length is declared.
func TestLargestBody(t *testing.T) {
	const maxBody = 1 << 20
	for name, option := range map[string]func(*service, *api.Config){"with keys": withKeys(nil), "without keys": func(*service, *api.Config) {}} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, option, func(_ *service, c *api.Config) { c.MaxBody, c.MaxBodies = maxBody, maxBody })
			const job = `{"kind":"squares","numbers":[1]}`
			for size, want := range map[int]int{maxBody: 202, maxBody + 1: 413, 2 * maxBody: 413} {
				body := job + strings.Repeat(" ", size-len(job))
				if a := s.do("POST", "/v1/jobs", body); a.status != want {
					t.Errorf("%d bytes: got %d, want %d: %s", size, a.status, want, a.body)
				}
				conn := s.dial()
				chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
				go func() { // the server closes the connection of an oversized body
					_, _ = fmt.Fprintf(conn, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s", s.key, chunked)
				}()
				if a := readResponse(t, bufio.NewReader(conn)); a.status != want {
					t.Errorf("%d bytes, chunked: got %d, want %d: %s", size, a.status, want, a.body)
				}
			}
		})
	}
}

// Without keys there is one tenant, which may use more than half of the budget.
func TestBodiesWithoutKeys(t *testing.T) {
	const maxBody = 1 << 20
	s := newService(t, func(_ *service, c *api.Config) { c.MaxBody, c.MaxBodies = maxBody, 4*maxBody })
	const job = `{"kind":"squares","numbers":[1]}`
	large := job + strings.Repeat(" ", maxBody-len(job))
	for range 2 {
		s.send(s.dial(), "POST", "/v1/jobs", large[1:], "Content-Type: application/json", fmt.Sprint("Content-Length: ", maxBody))
	}
	s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") >= 2*maxBody })
	if a := s.do("POST", "/v1/jobs", large); a.status != 202 {
		t.Errorf("a third of the largest bodies of four: got %d, want 202: %s", a.status, a.body)
	}
}

// A client that disconnects within its body leaves no memory reserved.
func TestBodyCutOff(t *testing.T) {
	s := newService(t)
	conn := s.dial()
	s.send(conn, "POST", "/v1/jobs", `{"kind":`, "Content-Type: application/json", "Content-Length: 100000")
	s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") > 0 })
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") == 0 })
}

// Concurrent uploads use bounded memory: one beyond the budget is rejected, and idle ones end at their deadline.
func TestUploadMemory(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.MaxUploads, c.UploadMemory = 1<<20, 128<<10 })
	const npy = "Content-Type: application/x-npy"
	put := func(name string) response { return s.do("PUT", "/v1/arrays/"+name, npyFile(t, 10), npy) }
	var conns []net.Conn
	for range 7 { // an eighth is reserved for small requests
		conn := s.dial()
		s.send(conn, "PUT", "/v1/arrays/idle", "\x93NUMPY", npy, "Content-Length: 1000")
		conns = append(conns, conn)
	}
	s.until(func() bool { return s.gauge("gather_http_streams_open") == 7 })
	if a := put("x"); a.status != 503 || !strings.Contains(string(a.body), "queue-full") || a.Header.Get("Retry-After") == "" {
		t.Errorf("an upload beyond the budget: %d, want 503: %s", a.status, a.body)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	s.until(func() bool { return s.gauge("gather_http_streams_open") == 0 })
	if a := put("x"); a.status != 201 {
		t.Errorf("an upload after the idle ones: %d, want 201: %s", a.status, a.body)
	}
}
