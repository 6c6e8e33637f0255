package api_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather"
	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
	"gather/internal/tenant"
)

// panicking is a journal that panics.
type panicking struct{ api.Jobs }

func (panicking) Get(context.Context, string, job.ID) (job.Job, error) { panic("ouch") }

// A panic is a 500 without internals and a log record with the cause under the same request id.
func TestPanic(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.Jobs = panicking{c.Jobs} })
	a := s.do("GET", "/v1/jobs/"+job.NewID().String(), "")
	p := decode[api.Problem](t, a.body)
	if a.status != 500 || p.Type != "about:blank" || strings.Contains(string(a.body), "ouch") {
		t.Errorf("%d: %s", a.status, a.body)
	}
	s.Close() // waits for the handlers, which write the log
	line, _, _ := strings.Cut(s.logs.String(), "\n")
	entry := decode[map[string]any](t, []byte(line))
	if entry["request_id"] != p.RequestId || entry["panic"] != "ouch" || !strings.Contains(entry["stack"].(string), "panicking") {
		t.Errorf("log: %s", line)
	}
}

// Unknown paths and methods are problems too; Allow is complete; HEAD is GET without a body.
func TestRouting(t *testing.T) {
	s := newService(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/nowhere", 404, ""},
		{"POST", "/", 405, "GET, HEAD"},
		{"GET", "/v1/jobs/", 404, ""},
		{"BREW", "/v1/pot", 404, ""},
		{"BREW", "/v1/jobs", 405, "GET, HEAD, POST"},
		{"PUT", "/v1/jobs:batch", 405, "POST"},
		{"POST", "/livez", 405, "GET, HEAD"},
		{"PATCH", "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057", 405, "GET, HEAD, DELETE"},
		{"HEAD", "/v1/jobs", 200, ""},
		{"HEAD", "/v1/kinds", 200, ""},
	} {
		a := s.do(c.method, c.path, "")
		if a.status != c.status || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, allow %q", c.method, c.path, a.status, a.Header.Get("Allow"))
		}
		if c.status >= 400 && a.Header.Get("Content-Type") != "application/problem+json" || c.method == "HEAD" && len(a.body) > 0 {
			t.Errorf("%s %s: %s", c.method, c.path, a.body)
		}
	}
	j := s.running()
	for _, tail := range []string{"/events", "/results"} {
		if a := s.do("HEAD", path(j, tail), "", "Accept: application/x-ndjson"); a.status != 200 || len(a.body) > 0 {
			t.Errorf("HEAD %s: %d", tail, a.status)
		}
	}
}

func TestRequestID(t *testing.T) {
	s := newService(t)
	for id, kept := range map[string]bool{
		"abc-1_2.X": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "a\"b": false, "ä": false,
	} {
		got := s.do("GET", "/livez", "", "X-Request-Id: "+id).Header.Get("X-Request-Id")
		if (got == id) != kept || got == "" {
			t.Errorf("%q -> %q", id, got)
		}
	}
	if a, b := s.do("GET", "/livez", ""), s.do("GET", "/livez", ""); a.Header.Get("X-Request-Id") == b.Header.Get("X-Request-Id") {
		t.Error("two requests have one id")
	}
}

func TestNegotiation(t *testing.T) {
	for accept, want := range map[string]string{
		"none":                             "application/json",
		"":                                 "application/json",
		" , ":                              "application/json",
		"*/*":                              "application/json",
		"application/*":                    "application/json",
		"application/x-ndjson":             "application/x-ndjson",
		"text/html, */*;q=0.1":             "application/json",
		"application/json;q=0.5, */*":      "application/x-ndjson",
		"application/json;q=0, */*":        "application/x-ndjson",
		"Application/X-NDJSON; q=1.0":      "application/x-ndjson",
		"text/html":                        "",
		"*/*;q=0":                          "",
		"application/json;q=nonsense":      "",
		`text/plain;a=",", application/*`:  "application/json",
		"application/json;q=0.2,*/*;q=0.9": "application/x-ndjson",
	} {
		h := http.Header{"Accept": {accept}}
		if accept == "none" {
			h = http.Header{}
		}
		got, err := api.Negotiate(h, "application/json", "application/x-ndjson")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", accept, got, err)
		}
	}
}

// Every operation treats an empty Accept header as a missing one, and declares the charset of text, which some clients
// otherwise read as Latin-1.
func TestMedia(t *testing.T) {
	s := newService(t)
	job := "/v1/jobs/" + s.finished(`{"kind":"squares","numbers":[3]}`).Id.String()
	const body, json, sse, html = `{"kind":"squares","numbers":[3]}`, "application/json", "text/event-stream; charset=utf-8", "text/html; charset=utf-8"
	for _, tt := range []struct{ method, path, body, accept, want string }{
		{"GET", job + "/events", "", "", sse},
		{"GET", job + "/events", "", "text/*", sse},
		{"GET", job + "/events", "", "application/x-ndjson", "application/x-ndjson"},
		{"GET", job + "/results", "", "", json},
		{"GET", job, "", "", json},
		{"GET", "/v1/jobs", "", "", json},
		{"GET", "/v1/arrays", "", "", json},
		{"GET", "/v1/nodes", "", "", json},
		{"GET", "/v1/kinds", "", "", json},
		{"GET", "/livez", "", "", json},
		{"GET", "/readyz", "", "", json},
		{"POST", "/v1/jobs", body, "", json},
		{"POST", "/v1/jobs:batch", `{"jobs":[` + body + `]}`, "", json},
		{"POST", job + "/cancel", "", "", json},
		{"GET", "/", "", "", json},
		{"GET", "/", "", "text/html", html},
		{"GET", "/docs", "", "", html},
		{"GET", "/docs/init.js", "", "", "text/javascript; charset=utf-8"},
		{"GET", "/openapi.yaml", "", "", "application/yaml"},
		{"GET", "/problems/job-expired", "", "", "text/plain; charset=utf-8"},
	} {
		t.Run(tt.method+" "+tt.path+" "+tt.accept, func(t *testing.T) {
			headers := []string{"Accept: " + tt.accept}
			if tt.accept == "" {
				headers = []string{"Accept: ", "Accept:  "} // missing, and empty
			}
			for _, h := range headers {
				got := s.do(tt.method, tt.path, tt.body, h)
				if media := got.Header.Get("Content-Type"); got.status >= 300 || media != tt.want {
					t.Errorf("with %q got %d %q, want %q", h, got.status, media, tt.want)
				}
			}
		})
	}
}

// The client address is the last X-Forwarded-For address that is not a trusted proxy.
func TestClientIP(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{"10.1.1.1:5", "", "10.1.1.1"},
		{"10.1.1.1:5", "198.51.100.7", "198.51.100.7"},
		{"10.1.1.1:5", "203.0.113.9, 198.51.100.7, 10.2.2.2", "198.51.100.7"},
		{"[::1]:5", "nonsense, 10.2.2.2", "10.2.2.2"},
		{"[::ffff:10.1.1.1]:5", "198.51.100.7", "198.51.100.7"},
		{"@", "198.51.100.7", ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := api.ClientIP(s.handler, r); got != c.want {
			t.Errorf("%s for %q is %q, want %q", c.remote, c.forwarded, got, c.want)
		}
	}
}

// The metrics pass Prometheus's linter; labels stay a closed set for any request.
func TestMetrics(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","numbers":[1]}`)
	for _, op := range []string{"GET /v1/nowhere", "BREW /v1/jobs", "GET " + path(j, ""), "GET " + path(j, "/events"), "HEAD /livez", "GET /v1/jobs/a/b/c"} {
		method, p, _ := strings.Cut(op, " ")
		s.do(method, p, "")
	}
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	want := `
# HELP gather_http_requests_in_flight HTTP requests being served, including waits and streams.
# TYPE gather_http_requests_in_flight gauge
gather_http_requests_in_flight 0
# HELP gather_http_streams_open Open requests that wait for a job or stream its events or results.
# TYPE gather_http_streams_open gauge
gather_http_streams_open 0
`
	s.Close()
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want), "gather_http_requests_in_flight", "gather_http_streams_open"); err != nil {
		t.Error(err)
	}
	rejected(t, s, map[string]float64{"rate": 0, "bodies": 0, "uploads": 0, "readers": 0, "streams": 0})
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]bool{}
	routes := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "mode" && m.GetHistogram().GetSampleCount() > 0 {
					modes[l.GetValue()] = true
				}
				if l.GetName() == "route" && f.GetName() == "gather_http_requests_total" {
					routes[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if !modes["plain"] || !modes["wait"] || !modes["stream"] {
		t.Errorf("modes %v", modes)
	}
	if routes["unmatched"] != 3 || routes["/v1/jobs/{job_id}"] != 1 || routes["/livez"] != 1 || routes["/v1/jobs"] != 1 {
		t.Errorf("routes %v", routes)
	}
	for r := range routes {
		if strings.Contains(r, "nowhere") {
			t.Errorf("route %q", r)
		}
	}
}

// rejected compares the rejection counters of a service.
func rejected(t *testing.T, s *service, want map[string]float64) {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "gather_http_requests_rejected_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("rejections %v, want %v", got, want)
	}
}

// The API counts its own rejections by reason, and no others.
func TestRejections(t *testing.T) {
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 2, Window: tenant.Window(time.Hour)} }),
		func(_ *service, c *api.Config) { c.MaxStreams, c.MaxBodies, c.MaxBody = -1, 1000, 1100 })
	j := s.running()
	const none = `{"kind":"squares","numbers":[]}`
	for _, c := range []struct {
		status       int
		method, path string
		body         string
		headers      []string
	}{
		{status: 429, method: "POST", path: "/v1/jobs:batch", body: `{"jobs":[` + none + `,` + none + `]}`},
		{status: 503, method: "POST", path: "/v1/jobs", body: none + strings.Repeat(" ", 1000)},
		{status: 503, method: "POST", path: "/v1/jobs", body: none + strings.Repeat(" ", 1050)},
		{status: 413, method: "POST", path: "/v1/jobs", body: none + strings.Repeat(" ", 1100)},
		{status: 503, method: "GET", path: path(j, "/events")},
		{status: 503, method: "GET", path: path(j, "/results"), headers: []string{"Accept: application/x-ndjson"}},
		{status: 503, method: "GET", path: path(j, "/results")},
		{status: 503, method: "PUT", path: "/v1/arrays/x", body: "x", headers: []string{"Content-Type: application/x-npy"}},
		{status: 202, method: "POST", path: "/v1/jobs", body: none, headers: []string{"Prefer: wait=1"}},
		{status: 422, method: "POST", path: "/v1/jobs", body: `{}`},
		{status: 404, method: "GET", path: "/v1/jobs/none"},
	} {
		if a := s.do(c.method, c.path, c.body, c.headers...); a.status != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.status, c.status, a.body)
		}
	}
	rejected(t, s, map[string]float64{"rate": 1, "bodies": 2, "uploads": 0, "readers": 0, "streams": 4})
	full := newService(t, withFailure(&job.Rejection{Err: job.ErrQueueFull, Reason: "jobs"}))
	if a := full.do("POST", "/v1/jobs", none); a.status != 503 {
		t.Errorf("a full queue: %d", a.status)
	}
	rejected(t, full, map[string]float64{"rate": 0, "bodies": 0, "uploads": 0, "readers": 0, "streams": 0})
}

// New fails without a required dependency, and for a kind without a schema.
func TestConfig(t *testing.T) {
	i, _ := newIdle(t, 0)
	good := api.Config{
		Executor: i, Jobs: i, Groups: failing{}, Log: i, Keys: i, Kinds: kind.NewRegistry(kind.DefaultLimits(), nil), Arrays: failingArrays{},
		Nodes: i, Webhooks: webhooks{}, Deliveries: new(journaltest.Volatile), Pauses: failingPauses{}, Schedules: failingSchedules{}, Stopping: t.Context(),
	}
	for name, change := range map[string]func(*api.Config){
		"no registerer":  func(*api.Config) {},
		"no executor":    func(c *api.Config) { c.Registerer, c.Executor = prometheus.NewRegistry(), nil },
		"no nodes":       func(c *api.Config) { c.Registerer, c.Nodes = prometheus.NewRegistry(), nil },
		"no stopping":    func(c *api.Config) { c.Registerer, c.Stopping = prometheus.NewRegistry(), nil },
		"unknown kind":   func(c *api.Config) { c.Registerer, c.Kinds = prometheus.NewRegistry(), cubes{} },
		"bad durability": func(c *api.Config) { c.Registerer, c.Durability = prometheus.NewRegistry(), "hope" },
	} {
		c := good
		change(&c)
		if h, err := api.New(c); err == nil || h != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type cubes struct{ api.Kinds }

func (cubes) Describe() []job.KindInfo { return []job.KindInfo{{Name: "cubes"}} }

// Each kind's schema is self-contained, and its examples are valid.
func TestKinds(t *testing.T) {
	s := newService(t)
	list := decode[api.KindList](t, s.do("GET", "/v1/kinds", "").body)
	var names []string
	for _, k := range list.Kinds {
		names = append(names, k.Name)
		if len(k.Limits) == 0 || k.Summary == "" {
			t.Errorf("%+v", k)
		}
		defs, _ := k.Schema["$defs"].(map[string]any)
		var check func(v any)
		check = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if ref, ok := v["$ref"].(string); ok && defs[strings.TrimPrefix(ref, "#/$defs/")] == nil {
					t.Errorf("%s refers to %s, which is not there", k.Name, ref)
				}
				for _, e := range v {
					check(e)
				}
			case []any:
				for _, e := range v {
					check(e)
				}
			}
		}
		check(k.Schema)
	}
	if !slices.Contains(names, "squares") || !slices.Contains(names, "sleep_batch") {
		t.Errorf("kinds %q", names)
	}
}

// Every problem type has a page, and every page a type.
func TestProblemPages(t *testing.T) {
	s := newService(t)
	for _, name := range api.ProblemNames() {
		a := s.do("GET", "/problems/"+name, "")
		if a.status != 200 || !strings.HasPrefix(string(a.body), name) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if pages := api.ProblemPages(); len(pages) != len(api.ProblemNames()) {
		t.Errorf("pages %q, types %q", pages, api.ProblemNames())
	}
}

// Listings are filtered and paged; a token is valid only for its own listing.
func TestList(t *testing.T) {
	s := newService(t, withKeys(nil))
	var want []string
	for i := range 25 {
		label := []string{"a", "b"}[i%2]
		j := s.finished(`{"kind":"squares","numbers":[],"labels":{"l":"` + label + `"}}`)
		if label == "a" {
			want = append(want, j.Id.String())
		}
	}
	slices.Reverse(want)
	live := s.running()
	var got []string
	next := "/v1/jobs?label=l:a&page_size=4&state=succeeded&state=failed"
	for next != "" {
		a := s.do("GET", next, "")
		page := decode[api.JobList](t, a.body)
		for _, j := range page.Jobs {
			got = append(got, j.Id.String())
		}
		link := a.Header.Get("Link")
		if (link == "") != (page.NextPageToken == nil) {
			t.Errorf("link %q, token %v", link, page.NextPageToken)
		}
		next = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		if len(got) == 4 { // a newer job does not move the page
			s.finished(`{"kind":"squares","numbers":[],"labels":{"l":"a"}}`)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	token := *decode[api.JobList](t, s.do("GET", "/v1/jobs?page_size=1", "").body).NextPageToken
	for query, status := range map[string]int{
		"page_token=" + token:                         200,
		"page_size=9&page_token=" + token:             200,
		"kind=squares&page_token=" + token:            400,
		"state=running&page_token=" + token:           400,
		"label=l:a&page_token=" + token:               400,
		"page_token=" + token[1:]:                     400,
		"page_token=":                                 400,
		"page_size=0":                                 400,
		"page_size=x":                                 400,
		"page_size=100000":                            200,
		"state=asleep":                                400,
		"label=x":                                     400,
		"label=l:a&label=l:b":                         200,
		"int_encoding=string":                         200,
		"state=running&kind=sleep_batch":              200,
		"label=" + strings.Repeat("x", 64) + ":":      400,
		"after=" + time.Now().Format("2006") + "&x=y": 400,
	} {
		if a := s.do("GET", "/v1/jobs?"+query, ""); a.status != status {
			t.Errorf("%s: %d: %s", query, a.status, a.body)
		}
	}
	if l := decode[api.JobList](t, s.do("GET", "/v1/jobs?state=running", "").body); len(l.Jobs) != 1 || l.Jobs[0].Id != live.Id {
		t.Errorf("running: %+v", l)
	}
	// Another tenant cannot use the token.
	other := newService(t, withKeys(func(k *tenant.Key) { k.Tenant = "other" }))
	if a := other.do("GET", "/v1/jobs?page_token="+token, ""); a.status != 400 {
		t.Errorf("a foreign token: %d", a.status)
	}
}

// The docs page loads only resources of this server.
func TestDocs(t *testing.T) {
	s := newService(t)
	a := s.do("GET", "/docs", "")
	refs := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(a.body), -1)
	if len(refs) < 3 || !strings.Contains(a.Header.Get("Content-Security-Policy"), "script-src 'self';") {
		t.Fatalf("%v %s", a.Header, a.body)
	}
	for _, ref := range refs {
		if got := s.do("GET", ref[1], ""); got.status != 200 || len(got.body) == 0 || got.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d", ref[1], got.status)
		}
	}
	if got := s.do("GET", "/openapi.yaml", ""); string(got.body) != string(gather.Spec) {
		t.Error("the document served is another")
	}
}

// Exactly the public paths of the contract are accessible without a key.
func TestPublicPaths(t *testing.T) {
	s := newService(t, withKeys(nil))
	for path, item := range newContract(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			a := s.do(method, strings.NewReplacer("{", "", "}", "").Replace(path), "", "Authorization: ")
			if isOpen := op.Security != nil && len(*op.Security) == 0; isOpen == (a.status == 401) {
				t.Errorf("%s %s without a key: %d", method, path, a.status)
			}
		}
	}
	if a := s.do("GET", "/v2/jobs", "", "Authorization: "); a.status != 401 {
		t.Errorf("an unknown path: %d", a.status)
	}
}
