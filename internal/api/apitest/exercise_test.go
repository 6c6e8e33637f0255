package apitest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gather"
	"gather/internal/api/apitest"
)

// recorder records reported failures.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(string, ...any) {}

// Each violation in a response is reported.
func TestExerciseReports(t *testing.T) {
	const sound = `{"status":"ok"}`
	type handler func(w http.ResponseWriter, r *http.Request)
	write := func(w http.ResponseWriter, status int, media, body string) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	problem := func(w http.ResponseWriter, _ *http.Request, status int, of string) {
		write(w, status, "application/problem+json", fmt.Sprintf(`{"type":%q,"title":"x","status":%d,"request_id":%q}`, of, status, w.Header().Get("X-Request-Id")))
	}
	for name, tt := range map[string]struct {
		response handler
		want     string
	}{
		"no request id": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("X-Request-Id")
			write(w, 200, "application/json", sound)
		}, `X-Request-Id is ""`},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) { write(w, 200, "application/json", `{"status":NaN}`) }, "not JSON"},
		"duplicate member": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, 200, "application/json", `{"status":"ok","status":"ok"}`)
		}, "not JSON"},
		"another schema":     {func(w http.ResponseWriter, _ *http.Request) { write(w, 200, "application/json", `{"status":"no"}`) }, "additional properties 'status' not allowed"},
		"unknown status":     {func(w http.ResponseWriter, _ *http.Request) { write(w, 203, "application/json", sound) }, "does not document status 203"},
		"unknown media type": {func(w http.ResponseWriter, _ *http.Request) { write(w, 200, "text/csv", "a,b") }, `status 200 as "text/csv"`},
		"internal error":     {func(w http.ResponseWriter, r *http.Request) { problem(w, r, 500, "about:blank") }, "an internal error"},
		"error as text":      {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) }, `an error as "text/plain"`},
		"another status in the problem": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, 404, "application/problem+json", `{"type":"about:blank","title":"x","status":400,"request_id":"`+w.Header().Get("X-Request-Id")+`"}`)
		}, "the problem's status is 400"},
		"no page of the problem": {func(w http.ResponseWriter, r *http.Request) { problem(w, r, 404, "/problems/none") }, `page of the problem's type "/problems/none"`},
		"no Retry-After":         {func(w http.ResponseWriter, r *http.Request) { problem(w, r, 503, "about:blank") }, "status 503 without Retry-After"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			write(w, 200, "application/json", sound)
		}, "the response is truncated"},
		"no response": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no response"},
		"accepts everything": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, 202, "application/json", `{"jobs":[],"group":"g"}`)
		}, "accepted a body that the contract does not allow"},
		"half an event": {func(w http.ResponseWriter, _ *http.Request) {
			write(w, 200, "text/event-stream", "event: state\ndata: {}\n\n")
		}, "missing properties"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				id := r.Header.Get("X-Request-Id")
				if !strings.HasPrefix(id, "fuzz-") {
					id = "other"
				}
				w.Header().Set("X-Request-Id", id)
				tt.response(w, r)
			}))
			defer s.Close()
			r := &recorder{TB: t}
			apitest.Exercise(r, apitest.Config{Address: s.Listener.Addr().String(), Spec: gather.Spec, MaxBody: 1 << 16, Seed: 1})
			if all := strings.Join(r.failures, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("got failures %.3000s, want one with %q", all, tt.want)
			}
		})
	}
}

// A contract that cannot be parsed is an error.
func TestExerciseSpec(t *testing.T) {
	broken := bytes.Replace(gather.Spec, []byte("type: string"), []byte("type: 7"), 1)
	r := &fatalRecorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		apitest.Exercise(r, apitest.Config{Spec: broken})
	}()
	if r.text == "" {
		t.Error("got no error, want one for a schema whose type is 7")
	}
}

type fatalRecorder struct {
	testing.TB
	text string
}

func (r *fatalRecorder) Fatal(args ...any) {
	r.text = fmt.Sprint(args...)
	panic(r.text)
}
