package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/client"
)

// transport is an http.RoundTripper without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	return t(r)
}

// answer returns a response; headers are "Name: value".
func answer(status int, body string, headers ...string) *http.Response {
	return answerFrom(status, io.NopCloser(strings.NewReader(body)), headers...)
}

func answerFrom(status int, body io.ReadCloser, headers ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: make(http.Header), Body: body}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// problem returns an error response of gather.
func problem(status int, name string, headers ...string) *http.Response {
	body := fmt.Sprintf(`{"type":"/problems/%s","title":"Title of %s","status":%d,"detail":"Detail.","request_id":"r1"}`, name, name, status)
	return answer(status, body, append(headers, "Content-Type: application/problem+json")...)
}

func with(t *testing.T, c client.Config, rt transport) *client.Client {
	t.Helper()
	c.Server, c.HTTP = "http://gather.test/base/", &http.Client{Transport: rt}
	cl, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

const (
	running = `{"id":"j1","kind":"squares","state":"running"}`
	ended   = `{"id":"j1","kind":"squares","state":"succeeded","result":3}`
)

var errReset = errors.New("connection reset by peer")

// TestRetries: which failures of a submission are retried, after how long, and that every attempt sends the same request.
func TestRetries(t *testing.T) {
	ok := func() (*http.Response, error) { return answer(202, running), nil }
	for name, test := range map[string]struct {
		failure  func() (*http.Response, error)
		min, max time.Duration // until the second attempt; none if max is 0
	}{
		"503":                {func() (*http.Response, error) { return problem(503, "queue-full", "Retry-After: 7"), nil }, 7 * time.Second, 7 * time.Second},
		"429":                {func() (*http.Response, error) { return problem(429, "quota-exceeded", "Retry-After: 20"), nil }, 20 * time.Second, 20 * time.Second},
		"429 for too long":   {func() (*http.Response, error) { return problem(429, "quota-exceeded", "Retry-After: 61"), nil }, 0, 0},
		"key in progress":    {func() (*http.Response, error) { return problem(409, "idempotency-in-progress", "Retry-After: 1"), nil }, time.Second, time.Second},
		"reset":              {func() (*http.Response, error) { return nil, errReset }, time.Millisecond, time.Second},
		"proxy without peer": {func() (*http.Response, error) { return answer(502, "<html>"), nil }, time.Millisecond, time.Second},
		"proxy's timeout":    {func() (*http.Response, error) { return answer(504, ""), nil }, time.Millisecond, time.Second},
		"body too slow":      {func() (*http.Response, error) { return problem(408, "request-timeout"), nil }, time.Millisecond, time.Second},
		"cut, known length": {func() (*http.Response, error) {
			return answerFrom(202, io.NopCloser(io.MultiReader(strings.NewReader(running[:20]), failing{io.ErrUnexpectedEOF}))), nil
		}, time.Millisecond, time.Second},
		"cut, as a proxy passes it on": {func() (*http.Response, error) { return answer(202, running[:20]), nil }, time.Millisecond, time.Second},
		"400":                          {func() (*http.Response, error) { return problem(400, "malformed-request"), nil }, 0, 0},
		"conflict":                     {func() (*http.Response, error) { return problem(409, "job-not-finished"), nil }, 0, 0},
		"500":                          {func() (*http.Response, error) { return problem(500, "internal"), nil }, 0, 0},
		"redirect":                     {func() (*http.Response, error) { return answer(300, ""), nil }, 0, 0},
		"other JSON":                   {func() (*http.Response, error) { return answer(200, `[1,2]`), nil }, 0, 0},
		"other text":                   {func() (*http.Response, error) { return answer(200, `<html>hello</html>`), nil }, 0, 0},
		"certificate":                  {func() (*http.Response, error) { return nil, &tls.CertificateVerificationError{Err: errReset} }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var sent []string
				var retried []error
				c := with(t, client.Config{APIKey: "gather_k", OnRetry: func(err error, _ time.Duration) { retried = append(retried, err) }}, func(r *http.Request) (*http.Response, error) {
					body, _ := io.ReadAll(r.Body)
					sent = append(sent, r.Method+" "+r.URL.Path+" "+r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Authorization")+" "+string(body))
					if len(sent) == 1 {
						return test.failure()
					}
					return ok()
				})
				j, err := c.Submit(t.Context(), client.SquaresSubmission{Kind: "squares", Numbers: []any{3}})
				if test.max == 0 {
					if err == nil || len(sent) != 1 || len(retried) != 0 {
						t.Fatalf("error %v after %d requests, want an error after one", err, len(sent))
					}
					return
				}
				if err != nil || j.ID != "j1" {
					t.Fatalf("job %+v, error %v, want j1", j, err)
				}
				if took := time.Since(began); took < test.min || took > test.max {
					t.Errorf("retried after %s, want %s to %s", took, test.min, test.max)
				}
				if len(sent) != 2 || sent[0] != sent[1] || len(retried) != 1 {
					t.Errorf("requests %q, %d retries reported; want two equal requests", sent, len(retried))
				}
				if want := `POST /base/v1/jobs `; !strings.HasPrefix(sent[0], want) || !strings.HasSuffix(sent[0], ` Bearer gather_k {"kind":"squares","numbers":[3]}`) || len(strings.Fields(sent[0])[2]) < 20 {
					t.Errorf("request %q, want a key and the body", sent[0])
				}
			})
		})
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestRetryFor: a call ends with the last error when RetryFor has passed; a negative one disables retries.
func TestRetryFor(t *testing.T) {
	for retryFor, most := range map[time.Duration]time.Duration{0: time.Minute, 3 * time.Second: 3 * time.Second, -1: 0} {
		synctest.Test(t, func(t *testing.T) {
			began, n := time.Now(), 0
			c := with(t, client.Config{RetryFor: retryFor}, func(*http.Request) (*http.Response, error) {
				n++
				return nil, errReset
			})
			_, err := c.Get(t.Context(), "j1")
			if !errors.Is(err, errReset) {
				t.Errorf("error %v, want %v", err, errReset)
			}
			if took := time.Since(began); took > most || took < most-6*time.Second {
				t.Errorf("RetryFor %s: ended after %s and %d requests, want %s", retryFor, took, n, most)
			}
		})
	}
}

// TestCancelledContext: a call ends during its pause, and during a request, with the cause.
func TestCancelledContext(t *testing.T) {
	errCause := errors.New("the caller's reason")
	for name, rt := range map[string]transport{
		"pause": func(*http.Request) (*http.Response, error) { return problem(503, "queue-full", "Retry-After: 50"), nil },
		"request": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(errCause) })
				began := time.Now()
				if _, err := with(t, client.Config{}, rt).Get(ctx, "j1"); !errors.Is(err, errCause) {
					t.Errorf("error %v, want %v", err, errCause)
				}
				if took := time.Since(began); took != time.Second {
					t.Errorf("ended after %s, want 1s", took)
				}
			})
		})
	}
}

// TestSilentServer: an attempt that gets no response in time is repeated.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := with(t, client.Config{RetryFor: time.Hour}, func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answer(200, ended), nil
		})
		if j, err := c.Get(t.Context(), "j1"); err != nil || n != 2 {
			t.Errorf("job %+v, error %v after %d requests, want one after 2", j, err, n)
		}
	})
}

// TestWait: waits are repeated until the job has ended, with a pause when the server does not hold them.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, n := time.Now(), 0
		var at []time.Duration
		c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
			at = append(at, time.Since(began))
			if got := r.Header.Get("Prefer"); got != "wait=30" {
				t.Errorf("Prefer %q, want wait=30", got)
			}
			switch n++; n {
			case 1: // held
				time.Sleep(30 * time.Second)
				return answer(200, running, "Retry-After: 9"), nil
			case 2: // not held
				return answer(200, running, "Retry-After: 9"), nil
			}
			return answer(200, ended), nil
		})
		j, err := c.Wait(t.Context(), "j1")
		if err != nil || j.State != client.StateSucceeded {
			t.Errorf("job %+v, error %v, want it succeeded", j, err)
		}
		if want := []time.Duration{0, 30 * time.Second, 39 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("requests at %v, want %v", at, want)
		}
	})
}

// TestDeleteAgain: a DELETE whose response was lost has deleted the job if it is gone then.
func TestDeleteAgain(t *testing.T) {
	for _, lost := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			c := with(t, client.Config{}, func(*http.Request) (*http.Response, error) {
				if n++; n == 1 && lost {
					return nil, errReset
				}
				return problem(410, "job-expired"), nil
			})
			err := c.Delete(t.Context(), "j1")
			if e, ok := errors.AsType[*client.Error](err); lost && err != nil || !lost && (!ok || e.Status != 410) {
				t.Errorf("lost %t: error %v, want none after a lost response, otherwise 410", lost, err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	invalid := `{"type":"/problems/validation-error","title":"The submission is not valid","status":422,"detail":"It has 2 errors.","request_id":"r1",` +
		`"errors":[{"pointer":"/numbers/1","detail":"must be a number"},{"parameter":"limit","detail":"must be at least 1"}],"new_member":1}`
	for name, test := range map[string]struct {
		rt        transport
		status    int
		typ, text string
	}{
		"fields": {
			func(*http.Request) (*http.Response, error) {
				return answer(422, invalid, "Content-Type: application/problem+json"), nil
			}, 422, "/problems/validation-error",
			"422 The submission is not valid: It has 2 errors.\n  /numbers/1: must be a number\n  limit: must be at least 1",
		},
		"500": {
			func(*http.Request) (*http.Response, error) { return problem(500, "x"), nil }, 500, "/problems/x",
			"500 Title of x: Detail. (request r1)",
		},
		"proxy": {
			func(*http.Request) (*http.Response, error) { return answer(413, "<html>too large</html>"), nil }, 413, "about:blank",
			"413 Request Entity Too Large: <html>too large</html>",
		},
		"empty": {func(*http.Request) (*http.Response, error) { return answer(404, ""), nil }, 404, "about:blank", "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := with(t, client.Config{RetryFor: -1}, test.rt).Get(t.Context(), "j1")
			e, ok := errors.AsType[*client.Error](err)
			if want := "GET /v1/jobs/j1: " + test.text; !ok || e.Type != test.typ || e.Status != test.status || err.Error() != want {
				t.Errorf("got %+v: %v, want %d, type %s: %s", e, err, test.status, test.typ, want)
			}
		})
	}
}

// TestPaths: ids and names are one segment of the path each.
func TestPaths(t *testing.T) {
	var path string
	c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
		path = r.URL.EscapedPath()
		return answer(200, ended), nil
	})
	for id, want := range map[string]string{
		"j1": "/base/v1/jobs/j1", "a/b?c#d": "/base/v1/jobs/a%2Fb%3Fc%23d", "..": "/base/v1/jobs/%2E%2E", ".": "/base/v1/jobs/%2E", "ä": "/base/v1/jobs/%C3%A4",
	} {
		if _, err := c.Get(t.Context(), id); err != nil || path != want {
			t.Errorf("%q: path %s, error %v, want %s", id, path, err, want)
		}
	}
	path = ""
	if _, err := c.Get(t.Context(), ""); err == nil || path != "" {
		t.Errorf("an empty id: error %v, path %q, want an error and no request", err, path)
	}
}

func TestNew(t *testing.T) {
	for server, valid := range map[string]bool{
		"http://127.0.0.1:8080": true, "https://gather.example.com/prefix": true,
		"": false, "127.0.0.1:8080": false, "localhost:8080": false, "ftp://x": false, "http://": false, "http://x?y": false, "http://%zz": false,
	} {
		if _, err := client.New(client.Config{Server: server}); (err == nil) != valid {
			t.Errorf("%q: error %v, want valid %t", server, err, valid)
		}
	}
}
