package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

// logged returns the log records of a closed service.
func (s *service) logged() (records []map[string]any) {
	s.t.Helper()
	s.Close() // waits for the handlers, which write the log
	for line := range strings.Lines(s.logs.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}

// brokenNodes fails with an error that is not in the problem table.
type brokenNodes struct{}

func (brokenNodes) Nodes(context.Context) ([]job.Node, error) { return nil, errors.New("broken") }

// By default only failed requests are logged, with the error of a 500; at debug level, or with an access log, every
// request.
func TestAccessLog(t *testing.T) {
	const failures, debug, access = "failures", "debug", "access log"
	for _, mode := range []string{failures, debug, access} {
		t.Run(mode, func(t *testing.T) {
			s := newService(t, func(s *service, c *api.Config) {
				level := slog.LevelInfo
				if mode == debug {
					level = slog.LevelDebug
				}
				log := slog.New(slog.NewJSONHandler(&lockedWriter{w: s.logs}, &slog.HandlerOptions{Level: level}))
				if c.Logger = log; mode == access {
					c.Logger, c.AccessLog = slog.New(slog.DiscardHandler), log
				}
				c.Ready, c.Nodes = func() error { return job.ErrStorage }, brokenNodes{}
			}, withKeys(nil))
			unknown := job.NewID().String()
			var submitted string
			type request struct {
				method, path, body string
				status             int
				level, route, job  string
				problem, msg       string
			}
			requests := []request{
				{method: "GET", path: "/livez", status: 200, level: "DEBUG", route: "/livez"},
				{method: "POST", path: "/v1/jobs", body: `{"kind":"squares","numbers":[1]}`, status: 202, level: "DEBUG", route: "/v1/jobs"},
				{method: "GET", path: "/v1/jobs/" + strings.ToUpper(unknown) + "?s%65cret=1", status: 400, level: "INFO", route: "/v1/jobs/{job_id}", job: unknown, problem: "malformed-request"},
				{method: "GET", path: "/v1/jobs/" + unknown, status: 404, level: "INFO", route: "/v1/jobs/{job_id}", job: unknown, problem: "job-not-found"},
				{method: "GET", path: "/v1/jobs/%0Ax", status: 404, level: "INFO", route: "/v1/jobs/{job_id}", problem: "job-not-found"},
				{method: "POST", path: "/v1/jobs", body: `{"kind":"secret"}`, status: 422, level: "INFO", route: "/v1/jobs", problem: "validation-error"},
				{method: "GET", path: "/nowhere", status: 404, level: "INFO", route: "unmatched", problem: "Not Found"},
				{method: "GET", path: "/readyz", status: 503, level: "WARN", route: "/readyz", problem: "storage-unavailable"},
				{method: "GET", path: "/v1/nodes", status: 500, level: "ERROR", route: "/v1/nodes", problem: "Internal Server Error"},
			}
			for i, r := range requests {
				a := s.do(r.method, r.path, r.body, "X-Request-Id: request-"+string(rune('a'+i)), "Cookie: secret")
				if a.status != r.status {
					t.Errorf("%s %s is %d, want %d: %s", r.method, r.path, a.status, r.status, a.body)
				}
				if r.status == 202 {
					submitted = decode[api.Job](t, a.body).Id.String()
				}
			}
			isCause := func(r map[string]any) bool { return r["msg"] == "internal error" } // a 500 is also logged when it occurs
			records := slices.DeleteFunc(s.logged(), isCause)
			for i, want := range requests {
				if want.level == "DEBUG" && mode == failures {
					continue
				}
				if want.level == "DEBUG" && mode == access {
					want.level = "INFO"
				}
				if want.status == 202 {
					want.job = submitted
				}
				if want.msg = "request"; want.status >= 400 {
					want.msg = "request failed"
				}
				if len(records) == 0 {
					t.Fatalf("no record of %+v", want)
				}
				got := records[0]
				records = records[1:]
				text := func(name string) string { s, _ := got[name].(string); return s }
				path, _, _ := strings.Cut(want.path, "?")
				tenant := "acme"
				if path == "/livez" || path == "/readyz" { // which need no key
					tenant = ""
				}
				if text("request_id") != "request-"+string(rune('a'+i)) || text("method") != want.method || text("path") != path ||
					got["status"] != float64(want.status) || text("level") != want.level || text("route") != want.route ||
					text("job_id") != want.job || text("problem") != want.problem || text("msg") != want.msg || text("tenant") != tenant ||
					text("client") == "" || got["duration"] == nil {
					t.Errorf("got %v, want %+v", got, want)
				}
			}
			if len(records) > 0 {
				t.Errorf("got also %v", records)
			}
			if text := s.logs.String(); strings.Contains(text, "cret") || strings.Contains(text, s.key) {
				t.Errorf("the log has a query, a header, a body or a key:\n%s", text)
			}
		})
	}
}

// A slow request is logged as a warning; a wait that takes as long as the client requested is not.
func TestSlowRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is the subject
		var log bytes.Buffer
		s, h := newStill(t, func(c *api.Config) {
			c.Logger, c.SlowRequest = slog.New(slog.NewJSONHandler(&log, nil)), time.Second
			c.Ready = func() error { time.Sleep(2 * time.Second); return nil }
		})
		for _, path := range []string{"/livez", "/readyz", "/v1/jobs/" + s.job.ID.String()} {
			r := httptest.NewRequestWithContext(context.Background(), "GET", path, nil)
			r.Header.Set("Prefer", "wait=5")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != 200 {
				t.Errorf("%s: got %d, want 200: %s", path, w.Code, w.Body)
			}
		}
		text := log.String()
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, `"level":"WARN","msg":"slow request"`) || !strings.Contains(text, `"path":"/readyz"`) {
			t.Errorf("got the log %s, want one warning of /readyz", text)
		}
	})
}
