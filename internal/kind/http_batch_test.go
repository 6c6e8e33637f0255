package kind_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/outbound"
)

// httpRegistry returns a registry that allows requests to a list of hosts.
func httpRegistry(t *testing.T, allow ...string) *kind.Registry {
	t.Helper()
	p, err := outbound.ParsePolicy(allow)
	if err != nil {
		t.Fatal(err)
	}
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "key"), []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := outbound.New(outbound.Config{Policy: p, InFlight: 100, Bytes: 1 << 30, SecretsDir: secrets, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return kind.NewRegistry(kind.Limits{Items: 2000, Digits: 30}, nil).WithHTTP(s)
}

// runHTTP runs the tasks of a plan one after the other, until stop returns true after a step; nil for never. It returns the
// items, the steps that it did by task, and the error of a step.
func runHTTP(t *testing.T, p job.Plan, r func(task int) job.Resume, stop func(job.Step) bool) (map[int64]job.Item, map[int][]job.TaskProgress, error) {
	t.Helper()
	items, log := make(map[int64]job.Item), make(map[int][]job.TaskProgress)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	for i := range p.Size().Tasks {
		task := p.Task(i, r(i))
		for {
			step, err := task.Step(ctx, time.Now(), nil)
			for _, it := range step.Items.All() {
				if _, twice := items[it.Index]; twice {
					t.Errorf("item %d has two outcomes", it.Index)
				}
				it.Value = slices.Clone(it.Value)
				items[it.Index] = it
			}
			log[i] = append(log[i], job.TaskProgress{Task: i, Items: step.Items, Partial: step.Partial})
			if err != nil {
				return items, log, err
			}
			if stop != nil && stop(step) {
				cancel(errStop)
			}
			if step.Await != nil {
				ready := make(chan struct{})
				step.Await(sync.OnceFunc(func() { close(ready) }))
				<-ready
			} else if step.ResumeAt.IsZero() {
				break
			}
		}
	}
	return items, log, nil
}

var errStop = errors.New("stop")

var httpJob = job.Job{ID: job.ID{1}, Priority: job.Normal}

func fresh(int) job.Resume {
	return job.Resume{Job: &httpJob, Started: time.Now(), TraceParent: "00-trace"}
}

var durations = regexp.MustCompile(`"duration_ms":[0-9.]+`)

// echo answers with the request.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Query().Get("as") {
	case "json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{ \"a\" : [1, 1e400, \"x\"] }\n")
	case "binary":
		_, _ = w.Write([]byte{0xff, 0})
	case "empty":
		w.WriteHeader(http.StatusNoContent)
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<html>")
	case "long":
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	default:
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Key"), r.Header.Get("Idempotency-Key"), body)
	}
}

func TestHTTPBatch(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(echo))
	defer srv.Close()
	reg := httpRegistry(t, "127.0.0.1")
	id := httpJob.ID.String()
	text := func(body string, bytes int, more string) string {
		return fmt.Sprintf(`{"status":200,"headers":{"content-type":"text/plain; charset=utf-8"},"body":%q,"bytes":%d%s,"attempts":1,"duration_ms":0}`, body, bytes, more)
	}
	got := func(request string, index int) string {
		body := strings.Replace(request, "KEY", fmt.Sprintf("%s-%d", id, index), 1)
		return text(body, len(body), `,"truncated":false`)
	}
	for _, tt := range []struct {
		spec  string
		items []string // value, or value and error
	}{
		{`{"requests":[]}`, nil},
		{
			`{"requests":[{"url":"URL/a?b=c#d"},{"method":"POST","url":"URL/x","headers":{"x-key":"k"},"body":"da\"ta"}]}`,
			[]string{got("GET /a?b=c  KEY ", 0), got(`POST /x k KEY da"ta`, 1)},
		},
		{`{"requests":[{"url":"URL/","headers":{"idempotency-key":"own","X-Key":{"secret":"key"}}}]}`, []string{got("GET / sesame own ", 0)}},
		{
			`{"request":{"url":"URL/c/{id}/{name}"},"for_each":[{"id":1,"name":"ü/b"},{"id":true,"name":"","more":null}]}`,
			[]string{got("GET /c/1/%C3%BC%2Fb  KEY ", 0), got("GET /c/true/  KEY ", 1)},
		},
		{`{"request":{"url":"http://{host}/"},"for_each":[{"host":"HOST"}]}`, nil},
		{`{"request":{"url":"URL/{i}"},"range":{"start":-1,"stop":2}}`, []string{got("GET /-1  KEY ", 0), got("GET /0  KEY ", 1), got("GET /1  KEY ", 2)}},
		{
			`{"requests":[{"url":"URL/?as=json"},{"url":"URL/?as=empty"},{"url":"URL/?as=500"},{"url":"URL/?as=long"},{"method":"HEAD","url":"URL/?as=long"}],"body":"json","response_headers":[],"retry":{"attempts":1}}`,
			[]string{
				`{"status":200,"headers":{},"body":{"a":[1,1e400,"x"]},"bytes":26,"truncated":false,"attempts":1,"duration_ms":0}`,
				`{"status":204,"headers":{},"body":null,"bytes":0,"truncated":false,"attempts":1,"duration_ms":0}`,
				`{"status":500,"headers":{},"body":"<html>","bytes":6,"truncated":false,"attempts":1,"duration_ms":0} HTTP 500`,
				`{"status":200,"headers":{},"body":"` + strings.Repeat("x", 100) + `","bytes":100,"truncated":false,"attempts":1,"duration_ms":0} the response body is not valid JSON`,
				`{"status":200,"headers":{},"body":null,"bytes":0,"truncated":false,"attempts":1,"duration_ms":0}`,
			},
		},
		{
			`{"requests":[{"url":"URL/?as=binary"},{"url":"URL/?as=long"}],"body":"base64","max_body":2,"response_headers":["content-length","x-none"]}`,
			[]string{
				`{"status":200,"headers":{"content-length":"2"},"body":"/wA=","bytes":2,"truncated":false,"attempts":1,"duration_ms":0}`,
				`{"status":200,"headers":{"content-length":"100"},"body":"eHg=","bytes":2,"truncated":true,"attempts":1,"duration_ms":0}`,
			},
		},
		{
			`{"requests":[{"url":"URL/?as=binary"},{"url":"URL/?as=500"}],"body":"none","response_headers":[],"success":"200,500-599"}`,
			[]string{
				`{"status":200,"headers":{},"body":null,"bytes":2,"truncated":false,"attempts":1,"duration_ms":0}`,
				`{"status":500,"headers":{},"body":null,"bytes":6,"truncated":false,"attempts":1,"duration_ms":0}`,
			},
		},
		{
			`{"requests":[{"url":"URL/?as=500"},{"url":"http://127.0.0.1:1/"}],"body":"none","response_headers":[],"retry":{"attempts":3,"backoff":0}}`,
			[]string{
				`{"status":500,"headers":{},"body":null,"bytes":6,"truncated":false,"attempts":3,"duration_ms":0} HTTP 500`,
				`{"status":null,"headers":{},"body":null,"bytes":0,"truncated":false,"attempts":3,"duration_ms":0} no connection: connection refused (3 attempts)`,
			},
		},
	} {
		spec := strings.NewReplacer("URL", srv.URL, "HOST", srv.URL[len("http://"):]).Replace(tt.spec)
		p, _, err := reg.Plan(t.Context(), "acme", "http_batch", []byte(spec))
		if strings.Contains(tt.spec, "HOST") { // a port is no part of a value
			if err == nil {
				t.Errorf("%s: no error, want one: the : is percent-encoded", spec)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		items, _, err := runHTTP(t, p, fresh, nil)
		if err != nil || len(items) != len(tt.items) || p.Size().Units != int64(len(items)) || !p.Size().Effects {
			t.Errorf("%s: %d items, size %+v, %v; want %d with effects", spec, len(items), p.Size(), err, len(tt.items))
			continue
		}
		for i, want := range tt.items {
			it := items[int64(i)]
			got := durations.ReplaceAllString(strings.TrimSpace(string(it.Value)+" "+it.Err), `"duration_ms":0`)
			if got != want {
				t.Errorf("%s: item %d is\n%s, want\n%s", spec, i, got, want)
			}
		}
	}
}

func TestHTTPBatchErrors(t *testing.T) {
	reg := httpRegistry(t, "api.example", "*.safe.example:8443")
	request := func(members string) string { return `{"requests":[{"url":"http://api.example/",` + members + `}]}` }
	with := func(members string) string { return `{"requests":[],` + members + `}` }
	for spec, want := range map[string]string{
		`{}`: "",
		`{"requests":[],"request":{"url":"http://api.example/"}}`: "/request",
		`{"requests":[],"range":{"stop":1}}`:                      "/range",
		`{"requests":{}}`:                                         "/requests",
		`{"requests":[{}]}`:                                       "/requests/0/url",
		`{"requests":[{"url":1}]}`:                                "/requests/0/url",
		`{"requests":["http://api.example/"]}`:                    "/requests/0 /requests/0/url",
		`{"requests":[{"url":"http://other.example/"},{"url":"http://api.example/"},{"url":"https://a.safe.example/"}]}`: "/requests/0/url /requests/2/url",
		`{"requests":[{"url":"ftp://api.example/"}]}`:                                                                    "/requests/0/url",
		`{"requests":[{"url":"http://u:p@api.example/"}]}`:                                                               "/requests/0/url",
		`{"requests":[{"url":"http://api.example/a b"}]}`:                                                                "/requests/0/url",
		`{"requests":[{"url":"http://api.example/\r\nX: y"}]}`:                                                           "/requests/0/url",
		`{"requests":[{"url":"http://api.example/ü"}]}`:                                                                  "/requests/0/url",
		`{"requests":[{"url":"//api.example/"}]}`:                                                                        "/requests/0/url",
		`{"requests":[{"url":"http://127.0.0.1/"}]}`:                                                                     "/requests/0/url",
		`{"requests":[{"url":"http://api.example/` + strings.Repeat("x", 9000) + `"}]}`:                                  "/requests/0/url",
		`{"requests":[` + strings.Repeat(`{"url":"http://api.example/"},`, 2000) + `{"url":"http://api.example/"}]}`:     "/requests",
		request(`"method":"get"`):                                                                                        "/requests/0/method",
		request(`"method":"CONNECT"`):                                                                                    "/requests/0/method",
		request(`"body":"x"`):                                                                                            "/requests/0/body",
		request(`"method":"POST","body":{}`):                                                                             "/requests/0/body",
		request(`"header":{}`):                                                                                           "/requests/0/header",
		request(`"headers":[]`):                                                                                          "/requests/0/headers",
		request(`"headers":{"Host":"x"}`):                                                                                "/requests/0/headers/Host",
		request(`"headers":{"content-length":"1"}`):                                                                      "/requests/0/headers/content-length",
		request(`"headers":{"Transfer-Encoding":"chunked"}`):                                                             "/requests/0/headers/Transfer-Encoding",
		request(`"headers":{"a b":"x"}`):                                                                                 "/requests/0/headers/a b",
		request(`"headers":{"X":"a\r\nY: b"}`):                                                                           "/requests/0/headers/X",
		request(`"headers":{"X":"a\n"}`):                                                                                 "/requests/0/headers/X",
		request(`"headers":{"X":1}`):                                                                                     "/requests/0/headers/X",
		request(`"headers":{"x":"1","X":"2"}`):                                                                           "/requests/0/headers/X",
		request(`"headers":{"X":{"secret":"none"}}`):                                                                     "/requests/0/headers/X/secret",
		request(`"headers":{"X":{"secret":"../key"}}`):                                                                   "/requests/0/headers/X/secret",
		request(`"headers":{"X":{"secret":1}}`):                                                                          "/requests/0/headers/X/secret",
		request(`"headers":{"X":{"secret":"key","x":1}}`):                                                                "/requests/0/headers/x",
		with(`"concurrency":0`):                                                                                          "/concurrency",
		with(`"concurrency":10001`):                                                                                      "/concurrency",
		with(`"per_host":0`):                                                                                             "/per_host",
		with(`"rate":"50"`):                                                                                              "/rate",
		with(`"rate":"0/s"`):                                                                                             "/rate",
		with(`"rate":"5/d"`):                                                                                             "/rate",
		with(`"request_timeout":0`):                                                                                      "/request_timeout",
		with(`"request_timeout":"2h"`):                                                                                   "/request_timeout",
		with(`"max_body":0`):                                                                                             "/max_body",
		with(`"max_body":"17MiB"`):                                                                                       "/max_body",
		with(`"max_body":"1 TB"`):                                                                                        "/max_body",
		with(`"body":"xml"`):                                                                                             "/body",
		with(`"response_headers":["a b",1]`):                                                                             "/response_headers/0 /response_headers/1",
		with(`"success":"99"`):                                                                                           "/success",
		with(`"success":[200]`):                                                                                          "/success",
		with(`"retry":{"attempts":0,"backoff":"x","max_backoff":-1,"unsafe":1,"x":1}`):                                   "/retry/x /retry/attempts /retry/backoff /retry/max_backoff /retry/unsafe",
		with(`"on_item_error":"stop"`):                                                                                   "/on_item_error",
		with(`"on_item_error":true`):                                                                                     "/on_item_error",
		with(`"on_item_error":"fail","fail_fast":true`):                                                                  "/fail_fast",
		with(`"fail_fast":"yes"`):                                                                                        "/fail_fast",
		with(`"x":1`):                                                                                                    "/x",
		`{"request":{"url":"http://api.example/{id}"}}`:                                                                  "",
		`{"request":{"url":"http://api.example/{+id}"},"for_each":[]}`:                                                   "/request/url",
		`{"request":{"url":"http://api.example/{id"},"for_each":[]}`:                                                     "/request/url",
		`{"request":{"url":"http://api.example/id}"},"for_each":[]}`:                                                     "/request/url",
		`{"request":{"url":"http://other.example/{id}"},"for_each":[]}`:                                                  "/request/url",
		`{"request":{"url":"http://api.example/{id}"},"for_each":[{"id":null},{"id":[1]},{},[],{"id":"x"}]}`:              "/for_each/0/id /for_each/1/id /for_each/2/id /for_each/3 /for_each/3/id",
		`{"request":{"url":"http://{h}.example/"},"for_each":[{"h":"api"},{"h":"other"},{"h":"a:b"},{"h":"x@api"}]}`:      "/for_each/1 /for_each/2 /for_each/3",
		`{"request":{"url":"{u}"},"for_each":[{"u":"http://api.example/"}]}`:                                              "/for_each/0",
		`{"request":{"url":"http://api.example/{a}/{b}"},"range":{"stop":1}}`:                                             "/request/url",
		`{"request":{"url":"http://api.example/"},"range":{"stop":1}}`:                                                    "/request/url",
		`{"request":{"url":"http://{i}.example/"},"range":{"stop":1}}`:                                                    "/request/url",
		`{"request":{"url":"http://api.example/{i}"},"range":{"stop":2001}}`:                                              "/range",
		`{"request":{"url":"http://api.example/{i}"},"range":{"start":10000000000000000000,"stop":10000000000000000001}}`: "/range",
		`{"request":{"url":"http://api.example/{i}"},"range":{"stop":1},"for_each":[]}`:                                   "/range",
	} {
		var got []string
		if invalid, ok := errors.AsType[*fields.Errors](reg.Validate(t.Context(), "acme", "http_batch", []byte(spec))); ok {
			for _, f := range invalid.List {
				got = append(got, f.Pointer)
			}
		} else {
			t.Errorf("%.90s: no error, want some at %s", spec, want)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%.90s: errors at %q, want %q", spec, text, want)
		}
	}
	off := kind.NewRegistry(kind.DefaultLimits(), nil)
	if err := off.Validate(t.Context(), "acme", "http_batch", []byte(`{"requests":[]}`)); err == nil || !strings.Contains(err.Error(), "--http-allow") {
		t.Errorf("got %v, want that the kind is off", err)
	}
}

// Tasks share the bounds of the job in equal parts, and the number of tasks is no more than any bound.
func TestHTTPBatchTasks(t *testing.T) {
	reg := httpRegistry(t, "api.example")
	for spec, want := range map[string][2]int64{ // tasks, waiting
		`"range":{"stop":0}`:                                        {0, 0},
		`"range":{"stop":1}`:                                        {1, 1},
		`"range":{"stop":128}`:                                      {1, 100},
		`"range":{"stop":129}`:                                      {2, 100},
		`"range":{"stop":2000}`:                                     {16, 100},
		`"range":{"stop":2000},"concurrency":3`:                     {3, 3},
		`"range":{"stop":2000},"per_host":1`:                        {1, 100},
		`"range":{"stop":2000},"concurrency":10000,"per_host":1000`: {16, 2000},
	} {
		p, _, err := reg.Plan(t.Context(), "acme", "http_batch", []byte(`{"request":{"url":"http://api.example/{i}"},`+spec+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Size(); int64(s.Tasks) != want[0] || s.Waiting != want[1] || s.Short() {
			t.Errorf("%s: got %d tasks, %d waiting, short %v; want %v", spec, s.Tasks, s.Waiting, s.Short(), want)
		}
	}
}

// A task that is resumed sends the requests without an outcome, and retries keep their attempts.
func TestHTTPBatchResume(t *testing.T) {
	var mu sync.Mutex
	sent := make(map[string]int)
	stopped := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		sent[r.URL.Path]++
		mu.Unlock()
		switch r.URL.Path {
		case "/0":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/99":
			<-stopped // so that the first run does not complete before it is stopped
		}
	}))
	defer srv.Close()
	reg := httpRegistry(t, "127.0.0.1")
	spec := `{"request":{"url":"` + srv.URL + `/{i}"},"range":{"stop":100},"concurrency":1,"retry":{"attempts":3,"backoff":"1us"}}`
	p, _, err := reg.Plan(t.Context(), "acme", "http_batch", []byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	before, log, err := runHTTP(t, p, fresh, func(s job.Step) bool { return s.Items.Len() > 0 || len(s.Partial) > 0 })
	if !errors.Is(err, errStop) {
		t.Fatalf("got %v, want %v", err, errStop)
	}
	close(stopped)
	for _, s := range log[0] {
		s.Items.DropValues()
	}
	after, _, err := runHTTP(t, p, func(i int) job.Resume {
		r := fresh(i)
		r.Steps = log[i]
		return r
	}, nil)
	if err != nil || len(before)+len(after) != 100 {
		t.Errorf("%d and %d items, %v; want 100", len(before), len(after), err)
	}
	for i := range before {
		if _, twice := after[i]; twice {
			t.Errorf("item %d has two outcomes", i)
		}
	}
	last := after[0]
	if last.Value == nil {
		last = before[0]
	}
	if !strings.Contains(string(last.Value), `"attempts":3`) || sent["/0"] > 4 {
		t.Errorf("the item that failed is %s after %d requests, want 3 attempts in 3 or 4 requests", last.Value, sent["/0"])
	}
}

func TestHTTPBatchOnItemError(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	reg := httpRegistry(t, "127.0.0.1")
	for member, fails := range map[string]bool{
		`"on_item_error":"fail"`: true, `"fail_fast":true`: true, `"on_item_error":null,"fail_fast":true`: true,
		`"on_item_error":"continue"`: false, `"fail_fast":false`: false,
	} {
		spec := `{"request":{"url":"` + srv.URL + `/{i}"},"range":{"stop":1000},` + member + `}`
		p, _, err := reg.Plan(t.Context(), "acme", "http_batch", []byte(spec))
		if err != nil {
			t.Fatal(err)
		}
		items, _, err := runHTTP(t, p, fresh, nil)
		if !fails {
			if err != nil || len(items) != 1000 {
				t.Errorf("%s: got %v and %d items, want all", member, err, len(items))
			}
			continue
		}
		if f, ok := errors.AsType[*job.Failure](err); !ok || !strings.HasSuffix(f.Detail, "failed: HTTP 404") || len(items) == 0 || len(items) > 100 {
			t.Errorf("%s: got %v and %d items, want a failure, and the items that failed before", member, err, len(items))
		}
	}
}

// The examples of RFC 6570, section 3.2.2, and what values cannot do.
func TestTemplates(t *testing.T) {
	values := map[string]string{"var": "value", "hello": "Hello World!", "empty": "", "path": "/foo/bar", "x": "1024", "y": "768", "u": "ü😀", "q": "a&b=c?d#e%f", "d": "../.."}
	for template, want := range map[string]string{
		"{var}": "value", "{hello}": "Hello%20World%21", "O{empty}X": "OX", "O{undef}X": "OX", "{path}/here": "%2Ffoo%2Fbar/here",
		"map?{x},{y}": "map?1024,768", "{u}": "%C3%BC%F0%9F%98%80", "?a={q}": "?a=a%26b%3Dc%3Fd%23e%25f", "/{d}/x": "/..%2F../x", "none": "none", "": "",
		"{x}{x}": "10241024",
	} {
		got, err := kind.Expand(template, func(name string) string { return values[name] })
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", template, got, err, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("http://api.example/{id}?q={q}", "a/b")
	f.Add("\xd6{0}\x83", "0")
	f.Fuzz(func(t *testing.T, template, value string) {
		literal, err := kind.Expand(template, func(string) string { return "" })
		if err != nil {
			return
		}
		got, err := kind.Expand(template, func(string) string { return value })
		if err != nil {
			t.Fatal(err)
		}
		// A value adds only unreserved characters and %XX.
		var counts [256]int // of bytes: those beside an expression may be parts of one character
		for i := range len(got) {
			counts[got[i]]++
		}
		for i := range len(literal) {
			counts[literal[i]]--
		}
		for b, n := range counts {
			if n > 0 && !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%", rune(b)) {
				t.Errorf("%q with %q adds %q: %q", template, value, rune(b), got)
			}
		}
	})
}

// A URL that is accepted has no character that ends the line of a request, and parses to itself.
func FuzzURL(f *testing.F) {
	f.Add("http://api.example/a?b#c")
	f.Add("http://[::1%25eth0]:80/")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := kind.ParseURL(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, " \r\n\x00") {
			t.Errorf("%q is accepted as %q", text, got)
		}
		if again, err := kind.ParseURL(got); err != nil || again != got {
			t.Errorf("%q is %q, and then %q, %v", text, got, again, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := kind.DecodeCheckpoint(b, 10, time.Now())
		if err != nil && !errors.Is(err, job.ErrCorrupt) && !errors.Is(err, job.ErrVersion) {
			t.Errorf("got %v, want %v or %v", err, job.ErrCorrupt, job.ErrVersion)
		}
		for _, r := range list {
			if r.Item < 0 || r.Item >= 10 || r.Attempts < 1 {
				t.Errorf("%x: got %+v", b, r)
			}
		}
	})
}
