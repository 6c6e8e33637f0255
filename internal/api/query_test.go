package api_test

import (
	"strings"
	"testing"

	"gather/internal/api"
)

// TestQueryErrors tests that every operation rejects an invalid query and has no effect then.
func TestQueryErrors(t *testing.T) {
	s := newService(t)
	live := s.running()
	const all = "state, kind, priority, label, label_prefix, group, created_after, created_before, finished_after, page_size, page_token, int_encoding"
	many := strings.Repeat("&x=1", 200)[1:]
	for _, c := range []struct {
		op, query, parameter, detail string
		errors                       int
	}{
		{"GET /v1/jobs", "labels=team:b", "labels", "unknown parameter; this operation has " + all, 1},
		{"GET /v1/jobs", "order=asc&created_since=2020-01-01", "order", "unknown parameter", 2},
		{"GET /v1/jobs", "created_after=2020-01-01", "created_after", "must be a timestamp", 1},
		{"GET /v1/jobs", "finished_after=", "finished_after", "must not be empty", 1},
		{"GET /v1/jobs", "label_prefix=team", "label_prefix", "must be key:prefix", 1},
		{"GET /v1/jobs:count", "state=failed", "state", "unknown parameter; this operation has kind", 1},
		{"GET /v1/jobs", "State=failed", "State", "unknown parameter", 1},
		{"GET /v1/jobs", "label=off:50%", "label", "is not percent-encoded", 1},
		{"GET /v1/jobs", "label=off:50%zz&kind=%", "label", "is not percent-encoded", 2},
		{"GET /v1/jobs", "kind=nope;state=failed", "kind", "semicolon", 1},
		{"GET /v1/jobs", "k%ffnd=1", "k%ffnd", "is not UTF-8", 1},
		{"GET /v1/jobs", "%zz=1", "%zz", "is not percent-encoded", 1},
		{"GET /v1/jobs", "kind=%ff", "kind", "is not UTF-8", 1},
		{"GET /v1/jobs", "kind=", "kind", "must not be empty", 1},
		{"GET /v1/jobs", "kind", "kind", "must not be empty", 1},
		{"GET /v1/jobs", "page_token=", "page_token", "must not be empty", 1},
		{"GET /v1/jobs", "kind=" + strings.Repeat("x", 65), "kind", "at most 64", 1},
		{"GET /v1/jobs", "page_size=1&page_size=1", "page_size", "must be given once", 1},
		{"GET /v1/jobs", "page_size=x", "page_size", "must be an integer", 1},
		{"GET /v1/jobs", "page_size=", "page_size", "must be an integer", 1},
		{"GET /v1/jobs", "page_size=01", "page_size", "must be an integer", 1},
		{"GET /v1/jobs", "page_size=%2B1", "page_size", "must be an integer", 1},
		{"GET /v1/jobs", "page_size=1e3", "page_size", "must be an integer", 1},
		{"GET /v1/jobs", "page_size=9223372036854775808", "page_size", "type", 1},
		{"GET " + path(live, "/events"), "after=00", "after", "must be an integer", 1},
		{"GET " + path(live, "/results"), "after=-01", "after", "must be an integer", 1},
		{"GET " + path(live, "/results"), "limit=-", "limit", "must be an integer", 1},
		{"GET /v1/jobs", "state=", "state", "", 1},
		{"GET /v1/jobs", "int_encoding=", "int_encoding", "", 1},
		{"GET /v1/jobs", many, "x", "unknown parameter", 100},
		{"GET /v1/jobs", strings.Repeat("y", 4000), strings.Repeat("y", 297) + "...", "unknown parameter", 1},
		{"HEAD /v1/jobs", "labels=team:b", "", "", 0},
		{"POST /v1/jobs", "dry_run=true", "dry_run", "unknown parameter; this operation has validate_only, int_encoding", 1},
		{"POST /v1/jobs", "validate_only=yes", "validate_only", "must be one of true, false", 1},
		{"POST /v1/jobs", "int_encoding=string%", "int_encoding", "is not percent-encoded", 1},
		{"POST /v1/jobs", "int_encoding=string&int_encoding=number", "int_encoding", "must be given once", 1},
		{"POST /v1/jobs:batch", "dry_run=true", "dry_run", "unknown parameter", 1},
		{"GET " + path(live, ""), "wait=5", "wait", "unknown parameter", 1},
		{"GET " + path(live, "/results"), "offset=5", "offset", "unknown parameter; this operation has after, limit, order, op, int_encoding", 1},
		{"GET " + path(live, "/events"), "since=5", "since", "unknown parameter", 1},
		{"GET " + path(live, "/events"), "after=1&after=2", "after", "must be given once", 1},
		{"POST " + path(live, "/cancel"), "force=true", "force", "unknown parameter", 1},
		{"DELETE " + path(live, ""), "force=true", "force", "unknown parameter; this operation has no query parameters", 1},
		{"GET /v1/arrays", "prefix=a", "prefix", "unknown parameter; this operation has page_size, after", 1},
		{"PUT /v1/arrays/a", "overwrite=false", "overwrite", "unknown parameter", 1},
		{"DELETE /v1/arrays/a", "recursive=1", "recursive", "unknown parameter", 1},
		{"GET /v1/kinds", "name=squares", "name", "unknown parameter", 1},
		{"GET /readyz", "verbose", "verbose", "unknown parameter", 1},
	} {
		method, target, _ := strings.Cut(c.op, " ")
		body := ""
		if method == "POST" && !strings.HasSuffix(target, "cancel") {
			body = `{"kind":"squares","numbers":[1]}`
		}
		a := s.do(method, target+"?"+c.query, body)
		if a.status != 400 {
			t.Errorf("%s?%.60s: %d, want 400: %.300s", c.op, c.query, a.status, a.body)
			continue
		}
		if c.errors == 0 {
			continue
		}
		p := decode[api.Problem](t, a.body)
		if p.Type != "/problems/malformed-request" || p.Errors == nil || len(*p.Errors) != c.errors {
			t.Errorf("%s?%.60s: %.300s, want %d errors of a malformed request", c.op, c.query, a.body, c.errors)
			continue
		}
		e := (*p.Errors)[0]
		if e.Parameter == nil || *e.Parameter != c.parameter || !strings.Contains(e.Detail, c.detail) {
			t.Errorf("%s?%.60s: %.300s, want parameter %q and a detail with %q", c.op, c.query, a.body, c.parameter, c.detail)
		}
	}
	if got := len(decode[api.JobList](t, s.do("GET", "/v1/jobs", "").body).Jobs); got != 1 {
		t.Errorf("%d jobs after requests that were all rejected, want 1", got)
	}
	if got := decode[api.Job](t, s.do("GET", path(live, ""), "").body).State; got != api.StateRunning && got != api.StateQueued {
		t.Errorf("the job is %s, want it unfinished", got)
	}
}

// TestQuery tests valid queries in all spellings.
func TestQuery(t *testing.T) {
	s := newService(t)
	for _, labels := range []string{`{"off":"50%"}`, `{"off":"50%","team":"b; c"}`} {
		s.finished(`{"kind":"squares","numbers":[1],"labels":` + labels + `}`)
	}
	for query, want := range map[string]int{
		"":                                       2,
		"&&":                                     2,
		"label=off:50%25":                        2,
		"l%61bel=off%3A50%25":                    2,
		"label=off:50%25&label=team:b%3B+c":      1,
		"label=off:50%25&label=off:50%25":        2,
		"label=off:50%25&label=off:60":           0, // both must match, and a label has one value
		"label=off:60&kind=squares":              0,
		"kind=nope":                              0,
		"state=succeeded&state=failed":           2,
		"kind=nope&kind=squares":                 2,
		"label_prefix=off:5":                     2,
		"label_prefix=team:b%3B":                 1,
		"label_prefix=team:b%3B&label=off:50%25": 1,
		"label_prefix=off:5&label_prefix=off:6":  0,
		"label_prefix=off:":                      2,
		"created_after=2020-01-31T08:00:00Z":     2,
		"created_after=2999-01-31T08:00:00Z":     0,
		"created_before=1900-01-31T08:00:00Z":    0,
		"created_before=2200-01-31T08:00:00.5Z":  2,
		"finished_after=2020-01-31t08:00:00z":    2,
		"page_size=1":                            1,
		"int_encoding=string&kind=squares":       2,
		"label=" + strings.Repeat("x", 63) + ":": 0,
	} {
		a := s.do("GET", "/v1/jobs?"+query, "")
		if a.status != 200 {
			t.Errorf("%s: %d, want 200: %s", query, a.status, a.body)
			continue
		}
		if got := len(decode[api.JobList](t, a.body).Jobs); got != want {
			t.Errorf("%s: %d jobs, want %d", query, got, want)
		}
	}
}

// TestSpellings tests that all spellings of a path name the same resource.
func TestSpellings(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","numbers":[1]}`)
	upper := "/v1/jobs/" + strings.ToUpper(j.Id.String())
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", upper, "", 200},
		{"GET", upper + "/results", "", 200},
		{"GET", upper + "/events", "", 200},
		{"POST", upper + "/cancel", "", 200},
		{"GET", "/v1/jobs/" + strings.ReplaceAll(j.Id.String(), "-", "%2D"), "", 200},
		{"GET", "/v1/jobs/%7B" + j.Id.String() + "%7D", "", 404},
		{"GET", "/v1/jobs/" + strings.ReplaceAll(j.Id.String(), "-", ""), "", 404},
		{"GET", "/v1/jobs%2F" + j.Id.String(), "", 404},
		{"GET", "/%76%31/jobs", "", 200},
		{"POST", "/v1/jobs%3Abatch", `{"jobs":[{"kind":"squares","numbers":[1]}]}`, 202},
		{"POST", "/v1/jobs%3abatch", `{"jobs":[{"kind":"squares","numbers":[1]}]}`, 202},
		{"PUT", "/v1/jobs%3Abatch", "", 405},
		{"GET", "/v1/arrays/50%25", "", 404},
		{"GET", "/v1/arrays/50%2525", "", 404},
		{"GET", "/v1/arrays/a%2Fb", "", 404},
		{"DELETE", upper, "", 204},
		{"DELETE", upper, "", 410},
	} {
		if a := s.do(c.method, c.path, c.body); a.status != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.status, c.status, a.body)
		}
	}
	// No spelling of a path avoids authentication.
	s = newService(t, withKeys(nil))
	for p, status := range map[string]int{
		"/docs/..%2f..%2fv1%2fjobs": 404, "/%64ocs": 200, "/docs%2f..%2fv1/jobs": 404, "/v1%2fjobs": 401, "/v1/jobs%3Abatch": 401,
	} {
		if a := s.do("GET", p, "", "Authorization: "); a.status != status {
			t.Errorf("%s without a key: %d, want %d", p, a.status, status)
		}
	}
}
