package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/npy"
	"gather/internal/tenant"
)

// Every operation responds with every status that the contract documents, and each response conforms to it.
func TestContract(t *testing.T) {
	c := newContract(t)
	client := &http.Client{Transport: c}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)

	// want sends a request and compares the status.
	want := func(s *service, status int, method, path, body string, headers ...string) response {
		t.Helper()
		a := s.through(client, method, path, body, headers...)
		if a.status != status {
			t.Errorf("%s %s: %d, want %d: %s", method, path, a.status, status, a.body)
		}
		return a
	}
	const (
		squares = `{"kind":"squares","numbers":[1,-3,1000000000000000000,2.5,"NaN"],"labels":{"team":"ingest"}}`
		unknown = "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057"
	)
	t.Run("sound", func(t *testing.T) {
		s := newService(t, func(_ *service, c *api.Config) { c.MaxBody = 4096 })
		done := decode[api.Job](t, want(s, 200, "POST", "/v1/jobs", squares, "Prefer: wait=20").body)
		live := decode[api.Job](t, want(s, 202, "POST", "/v1/jobs",
			`{"kind":"sleep_batch","durations":["10m",600.5],"priority":"high","timeout":"1h","retention":60,"start_after":0.001}`).body)
		want(s, 200, "POST", "/v1/jobs", `{"kind":"array_sum","array":{"source":"ones","shape":[10,10],"chunks":[5,5]},"axis":[0]}`, "Prefer: wait=20")
		want(s, 202, "POST", "/v1/jobs", `{"kind":"squares","range":{"stop":3},"start_after":"`+
			time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
		batch := `{"jobs":[{"kind":"squares","range":{"start":0,"stop":5}},{"kind":"sleep_batch","count":1,"duration":"1ms"}]}`
		want(s, 202, "POST", "/v1/jobs:batch", batch, "Idempotency-Key: b1")
		want(s, 202, "POST", "/v1/jobs:batch", batch, `Idempotency-Key: "b1"`)

		want(s, 200, "POST", "/v1/jobs?validate_only=true", squares)
		want(s, 200, "POST", "/v1/jobs:batch?validate_only=true", batch)

		for _, p := range []string{"/v1/jobs", "/v1/jobs:batch"} {
			want(s, 400, "POST", p, `{"kind":`)
			want(s, 406, "POST", p, `{}`, "Accept: text/html")
			want(s, 413, "POST", p, `{"kind":"`+strings.Repeat("x", 5000)+`"}`)
			want(s, 415, "POST", p, `{}`, "Content-Type: text/plain")
			want(s, 422, "POST", p, `{}`)
			want(s, 422, "POST", p, `[]`)
		}
		want(s, 200, "GET", "/v1/jobs?page_size=1&state=succeeded&state=running&kind=squares&label=team:ingest", "")
		want(s, 400, "GET", "/v1/jobs?page_size=0", "")
		want(s, 200, "GET", "/v1/jobs?kind=squares&kind=array_sum&label_prefix=team:in&created_after=2020-01-31T08:00:00Z&created_before=2100-01-31T08:00:00Z&finished_after=2020-01-31T08:00:00Z", "")
		want(s, 200, "GET", "/v1/jobs:count", "")
		want(s, 200, "GET", "/v1/jobs:count?kind=squares&kind=array_sum", "")
		want(s, 406, "GET", "/v1/jobs:count", "", "Accept: text/html")
		want(s, 406, "GET", "/v1/jobs", "", "Accept: text/html")
		want(s, 202, "POST", "/v1/jobs:batch", `{"group":"nightly","jobs":[{"kind":"squares","numbers":[3]}]}`)
		want(s, 202, "POST", "/v1/jobs", `{"kind":"squares","numbers":[3],"group":"nightly"}`)
		want(s, 200, "GET", "/v1/groups/nightly", "", "Prefer: wait=20")
		want(s, 200, "GET", "/v1/groups?page_size=1&after=a", "")
		want(s, 406, "GET", "/v1/groups", "", "Accept: text/html")
		want(s, 200, "GET", "/v1/jobs?group=nightly", "")
		want(s, 200, "GET", "/v1/groups/nightly/events?int_encoding=string", "", "Accept: application/x-ndjson")
		want(s, 200, "GET", "/v1/groups/nightly/events?after=0", "", "Accept: text/event-stream")
		want(s, 204, "GET", "/v1/groups/nightly/events?after=100000", "")
		want(s, 400, "GET", "/v1/groups/nightly/events", "", "Last-Event-ID: yesterday")
		want(s, 202, "POST", "/v1/jobs", `{"kind":"sleep_batch","count":1,"duration":"10m","group":"nightly"}`)
		want(s, 409, "DELETE", "/v1/groups/nightly", "")
		want(s, 200, "POST", "/v1/groups/nightly/cancel?validate_only=true", "")
		want(s, 200, "POST", "/v1/groups/nightly/cancel", "")
		want(s, 200, "GET", "/v1/groups/nightly", "", "Prefer: wait=20")
		want(s, 200, "DELETE", "/v1/groups/nightly", "")
		for _, op := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/cancel"}, {"GET", "/events"}} {
			want(s, 404, op[0], "/v1/groups/nightly"+op[1], "")
			want(s, 406, op[0], "/v1/groups/nightly"+op[1], "", "Accept: image/png")
		}
		for _, action := range []string{"cancel", "delete"} {
			want(s, 200, "POST", "/v1/jobs:"+action+"?state=queued&state=failed&kind=squares&label=no:job&label_prefix=no:j&created_after=2020-01-31T08:00:00Z&created_before=2100-01-31T08:00:00Z&finished_after=2020-01-31T08:00:00Z", "")
			want(s, 200, "POST", "/v1/jobs:"+action+"?validate_only=true", "")
			want(s, 400, "POST", "/v1/jobs:"+action+"?page_token=x", "")
			want(s, 406, "POST", "/v1/jobs:"+action, "", "Accept: text/html")
		}

		etag := want(s, 200, "GET", path(done, ""), "").Header.Get("ETag")
		want(s, 304, "GET", path(done, ""), "", "If-None-Match: "+etag)
		want(s, 200, "GET", path(live, "?int_encoding=string"), "", "If-None-Match: "+etag)
		want(s, 400, "GET", path(done, "?int_encoding=roman"), "")
		want(s, 404, "GET", unknown, "")
		want(s, 404, "GET", "/v1/jobs/nonsense", "")
		want(s, 406, "GET", path(done, ""), "", "Accept: text/html")

		for _, accept := range []string{"application/json", "application/x-ndjson"} {
			want(s, 200, "GET", path(done, "/results"), "", "Accept: "+accept)
			want(s, 200, "GET", path(done, "/results?order=index&limit=2&after=0&int_encoding=string"), "", "Accept: "+accept)
			want(s, 200, "GET", path(live, "/results"), "", "Accept: "+accept)
		}
		want(s, 400, "GET", path(done, "/results?order=random"), "")
		want(s, 404, "GET", unknown+"/results", "")
		want(s, 406, "GET", path(done, "/results"), "", "Accept: text/html")
		want(s, 409, "GET", path(live, "/results?order=index"), "")

		for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
			want(s, 200, "GET", path(done, "/events"), "", "Accept: "+accept)
		}
		last := strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
		want(s, 204, "GET", path(done, "/events"), "", "Last-Event-ID: "+last)
		want(s, 400, "GET", path(done, "/events"), "", "Last-Event-ID: yesterday")
		want(s, 404, "GET", unknown+"/events", "")
		want(s, 200, "GET", path(done, "/submission"), "")
		want(s, 404, "GET", unknown+"/submission", "")
		want(s, 406, "GET", path(done, "/submission"), "", "Accept: text/html")
		hooked := decode[api.Job](t, want(s, 200, "POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"webhooks":["https://hooks.example/a"]}`, "Prefer: wait=20").body)
		want(s, 422, "POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"webhooks":["https://other.example/a"]}`)
		want(s, 200, "GET", path(hooked, ""), "")
		want(s, 200, "GET", path(hooked, "/deliveries"), "")
		want(s, 200, "GET", path(live, "/deliveries"), "")
		want(s, 400, "GET", path(done, "/deliveries?x=1"), "")
		want(s, 404, "GET", unknown+"/deliveries", "")
		want(s, 406, "GET", path(done, "/deliveries"), "", "Accept: text/html")
		retry := func(j api.Job, hook string) string { return path(j, "/deliveries/"+j.Id.String()+"-"+hook+"/retry") }
		want(s, 202, "POST", retry(hooked, "0"), "")
		want(s, 400, "POST", retry(hooked, "0")+"?x=1", "")
		want(s, 404, "POST", retry(hooked, "1"), "")
		want(s, 404, "POST", unknown+"/deliveries/x/retry", "")
		want(s, 406, "POST", retry(hooked, "0"), "", "Accept: text/html")
		want(s, 409, "POST", retry(live, "0"), "")
		want(s, 204, "DELETE", path(hooked, ""), "")
		want(s, 410, "GET", path(hooked, "/deliveries"), "")
		want(s, 410, "POST", retry(hooked, "0"), "")
		want(s, 406, "GET", path(done, "/events"), "", "Accept: text/html")

		for _, r := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/cancel"}} {
			want(s, 412, r[0], path(done, r[1]), "", `If-Match: "other"`)
		}
		want(s, 409, "DELETE", path(live, ""), "")
		want(s, 404, "DELETE", unknown, "")
		want(s, 400, "POST", path(live, "/cancel?int_encoding=roman"), "")
		want(s, 404, "POST", unknown+"/cancel", "")
		want(s, 406, "POST", path(live, "/cancel"), "", "Accept: text/html")
		want(s, 200, "POST", path(done, "/cancel"), "")
		want(s, 200, "GET", path(done, "/events"), "")

		stopped := s.running()
		want(s, 409, "POST", path(stopped, "/retry"), "")
		s.do("POST", path(stopped, "/cancel"), "")
		s.do("GET", path(stopped, ""), "", "Prefer: wait=20")
		want(s, 202, "POST", path(stopped, "/retry"), "", "Idempotency-Key: r")
		want(s, 202, "POST", path(stopped, "/retry"), "", "Idempotency-Key: r")
		other := s.running()
		s.do("POST", path(other, "/cancel"), "")
		s.do("GET", path(other, ""), "", "Prefer: wait=20")
		want(s, 422, "POST", path(other, "/retry"), "", "Idempotency-Key: r")
		want(s, 409, "POST", path(done, "/retry"), "")
		want(s, 400, "POST", path(stopped, "/retry?int_encoding=roman"), "")
		want(s, 404, "POST", unknown+"/retry", "")
		want(s, 406, "POST", path(stopped, "/retry"), "", "Accept: text/html")
		want(s, 202, "POST", "/v1/jobs", `{"kind":"squares","numbers":[]}`, "Idempotency-Key: k1")
		want(s, 422, "POST", "/v1/jobs", squares, "Idempotency-Key: k1")
		want(s, 204, "DELETE", path(done, ""), "")
		for _, tail := range []string{"", "/results", "/events", "/submission"} {
			want(s, 410, "GET", path(done, tail), "")
		}
		want(s, 410, "DELETE", path(done, ""), "")
		want(s, 410, "POST", path(done, "/retry"), "")
		want(s, 410, "POST", path(done, "/cancel"), "")

		const asNPY = "Content-Type: application/x-npy"
		small, large := npyFile(t, 100), npyFile(t, 1000)
		digest := func(data string) string {
			sum := sha256.Sum256([]byte(data))
			return "Content-Digest: sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		}
		want(s, 201, "PUT", "/v1/arrays/x", small, asNPY, digest(small))
		want(s, 200, "PUT", "/v1/arrays/x", small, "Content-Type: application/octet-stream")
		want(s, 400, "PUT", "/v1/arrays/x", small, asNPY, "Content-Digest: sha-256=:x:")
		want(s, 406, "PUT", "/v1/arrays/x", small, asNPY, "Accept: text/html")
		want(s, 413, "PUT", "/v1/arrays/x", large, asNPY)
		want(s, 415, "PUT", "/v1/arrays/x", small)
		want(s, 422, "PUT", "/v1/arrays/x", small[1:], asNPY)
		want(s, 422, "PUT", "/v1/arrays/x", small, asNPY, digest(large))
		want(s, 422, "PUT", "/v1/arrays/.x", small, asNPY)
		want(s, 201, "PUT", "/v1/arrays/y", small, asNPY)
		want(s, 429, "PUT", "/v1/arrays/z", small, asNPY)
		want(s, 200, "GET", "/v1/arrays/x", "")
		want(s, 404, "GET", "/v1/arrays/none", "")
		want(s, 406, "GET", "/v1/arrays/x", "", "Accept: text/html")
		const asFile = "Accept: application/x-npy"
		known := want(s, 200, "GET", "/v1/arrays/x", "", asFile).Header.Get("ETag")
		want(s, 206, "GET", "/v1/arrays/x", "", asFile, "Range: bytes=0-9")
		want(s, 206, "GET", "/v1/arrays/x", "", asFile, "Range: bytes=0-9,20-29")
		want(s, 304, "GET", "/v1/arrays/x", "", "If-None-Match: "+known)
		want(s, 304, "GET", "/v1/arrays/x", "", asFile, "If-None-Match: "+known)
		want(s, 412, "GET", "/v1/arrays/x", "", `If-Match: "other"`)
		want(s, 416, "GET", "/v1/arrays/x", "", asFile, "Range: bytes=5000-")
		want(s, 412, "PUT", "/v1/arrays/x", small, asNPY, "If-None-Match: *")
		want(s, 412, "DELETE", "/v1/arrays/x", "", `If-Match: "other"`)
		want(s, 400, "PUT", "/v1/arrays/x", small, asNPY, "Content-Range: bytes 0-9/100")
		page := decode[api.ArrayList](t, want(s, 200, "GET", "/v1/arrays?page_size=1", "").body)
		if page.NextAfter == nil || len(page.Arrays) != 1 {
			t.Errorf("a page of one: %+v", page)
		} else if page = decode[api.ArrayList](t, want(s, 200, "GET", "/v1/arrays?after="+*page.NextAfter, "").body); len(page.Arrays) != 1 || page.NextAfter != nil {
			t.Errorf("the page behind it: %+v", page)
		}
		want(s, 400, "GET", "/v1/arrays?page_size=0", "")
		want(s, 406, "GET", "/v1/arrays", "", "Accept: text/html")
		used, err := s.arrays.Acquire(t.Context(), tenant.Default, "x")
		if err != nil {
			t.Fatal(err)
		}
		want(s, 409, "DELETE", "/v1/arrays/x", "")
		want(s, 204, "DELETE", "/v1/arrays/y", "")
		want(s, 409, "PUT", "/v1/arrays/x", small, asNPY)
		if err := used.Close(); err != nil {
			t.Error(err)
		}
		want(s, 204, "DELETE", "/v1/arrays/x", "")
		want(s, 404, "DELETE", "/v1/arrays/x", "")

		const nightly = "/v1/schedules/nightly"
		const daily = `{"cron":"30 4 * * 1-5","time_zone":"Europe/Berlin","submission":{"kind":"squares","numbers":[1]}}`
		want(s, 201, "PUT", nightly, daily)
		want(s, 200, "PUT", nightly, daily)
		want(s, 400, "PUT", nightly, `{`)
		want(s, 404, "PUT", "/v1/schedules/a%20b", daily)
		want(s, 406, "PUT", nightly, daily, "Accept: text/html")
		want(s, 413, "PUT", nightly, `{"cron":"`+strings.Repeat("x", 5000)+`"}`)
		want(s, 415, "PUT", nightly, daily, "Content-Type: text/plain")
		want(s, 422, "PUT", nightly, `{"every":"1ms"}`)
		want(s, 202, "POST", nightly+"/run", "")
		for _, verb := range []string{"/pause", "/resume"} {
			want(s, 200, "POST", nightly+verb, "")
		}
		for _, r := range []string{"GET ", "DELETE ", "POST /pause", "POST /resume", "POST /run", "GET /runs"} {
			method, tail, _ := strings.Cut(r, " ")
			want(s, 404, method, "/v1/schedules/none"+tail, "")
			if method != "DELETE" {
				want(s, 406, method, nightly+tail, "", "Accept: text/html")
			}
		}
		want(s, 200, "GET", nightly, "")
		want(s, 200, "GET", nightly+"/runs", "")
		want(s, 200, "GET", "/v1/schedules", "")
		want(s, 406, "GET", "/v1/schedules", "", "Accept: text/html")
		want(s, 204, "DELETE", nightly, "")

		const paused, reason = "/v1/pauses/kind/squares", `{"reason":"a move"}`
		want(s, 201, "PUT", paused, reason)
		want(s, 200, "PUT", paused, `{}`)
		want(s, 200, "GET", "/v1/pauses", "")
		want(s, 406, "GET", "/v1/pauses", "", "Accept: text/html")
		want(s, 400, "PUT", paused, `{`)
		want(s, 404, "PUT", "/v1/pauses/kind/cubes", reason)
		want(s, 404, "PUT", "/v1/pauses/label/x", reason)
		want(s, 406, "PUT", paused, reason, "Accept: text/html")
		want(s, 413, "PUT", paused, `{"reason":"`+strings.Repeat("x", 5000)+`"}`)
		want(s, 415, "PUT", paused, reason, "Content-Type: text/plain")
		want(s, 422, "PUT", paused, `{"reason":7,"until":"later"}`)
		want(s, 204, "DELETE", paused, "")
		want(s, 404, "DELETE", paused, "")

		want(s, 200, "GET", "/v1/kinds", "")
		want(s, 406, "GET", "/v1/kinds", "", "Accept: text/html")
		want(s, 200, "GET", "/v1/nodes", "")
		want(s, 406, "GET", "/v1/nodes", "", "Accept: text/html")
		want(s, 200, "GET", "/v1/stats", "")
		want(s, 406, "GET", "/v1/stats", "", "Accept: text/html")
		for _, p := range []string{
			"/", "/livez", "/readyz", "/openapi.yaml", "/openapi.json", "/docs", "/docs/swagger-ui.css", "/docs/init.js", "/problems/queue-full",
		} {
			want(s, 200, "GET", p, "")
		}
		want(s, 406, "GET", "/", "", "Accept: image/png")
		for path, item := range c.doc.Paths.Map() {
			for method := range item.Operations() {
				a := want(s, 400, method, strings.NewReplacer("{", "", "}", "").Replace(path)+"?unknown=1", "")
				if !bytes.Contains(a.body, []byte(`{"parameter":"unknown",`)) {
					t.Errorf("%s %s with an unknown parameter: %s", method, path, a.body)
				}
			}
		}
		want(s, 404, "GET", "/docs/passwd", "")
		want(s, 404, "GET", "/problems/none", "")
		want(s, 404, "GET", "/nowhere", "")
		want(s, 405, "PUT", "/v1/jobs", "")
	})

	t.Run("console", func(t *testing.T) {
		s := newService(t, withConsole)
		want(s, 200, "GET", "/", "", "Accept: text/html") // redirected
		for _, p := range []string{"/ui/", "/ui/console.js"} {
			tag := want(s, 200, "GET", p, "").Header.Get("ETag")
			want(s, 304, "GET", p, "", "If-None-Match: "+tag)
		}
		s = newService(t)
		want(s, 404, "GET", "/ui/", "")
		want(s, 404, "GET", "/ui/console.js", "")
	})

	t.Run("deleted replay", func(t *testing.T) {
		s := newService(t)
		const batch = `{"jobs":[{"kind":"squares","numbers":[2]}]}`
		done := decode[api.Job](t, want(s, 200, "POST", "/v1/jobs", squares, "Prefer: wait=20", "Idempotency-Key: k").body)
		jobs := decode[api.Batch](t, want(s, 202, "POST", "/v1/jobs:batch", batch, "Idempotency-Key: k").body).Jobs
		want(s, 201, "PUT", "/v1/schedules/x", `{"every":"1h","submission":`+squares+`}`)
		jobs = append(jobs, decode[api.Job](t, want(s, 202, "POST", "/v1/schedules/x/run", "", "Idempotency-Key: k").body))
		want(s, 204, "DELETE", path(done, ""), "")
		for _, j := range jobs {
			want(s, 200, "GET", path(j, ""), "", "Prefer: wait=20")
			want(s, 204, "DELETE", path(j, ""), "")
		}
		want(s, 410, "POST", "/v1/schedules/x/run", "", "Idempotency-Key: k")
		want(s, 410, "POST", "/v1/jobs", squares, "Idempotency-Key: k")
		want(s, 410, "POST", "/v1/jobs:batch", batch, "Idempotency-Key: k")
	})

	t.Run("cancelling", func(t *testing.T) {
		// A job that is cancelling.
		s := newService(t, func(_ *service, c *api.Config) { c.Executor = cancelling{c.Executor} })
		want(s, 202, "POST", unknown+"/cancel", "")
	})

	t.Run("tenants", func(t *testing.T) {
		s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 1, Window: tenant.Window(3600e9)} }))
		for _, op := range []string{
			"POST /v1/jobs", "POST /v1/jobs:batch", "GET /v1/jobs", "GET " + unknown, "DELETE " + unknown, "POST " + unknown + "/cancel",
			"GET " + unknown + "/results", "GET " + unknown + "/events", "GET /v1/kinds", "GET /v1/nodes", "GET /v1/stats",
			"GET /v1/arrays", "GET /v1/arrays/x", "PUT /v1/arrays/x", "DELETE /v1/arrays/x",
			"GET " + unknown + "/submission", "GET /v1/jobs:count", "POST /v1/jobs:cancel", "POST /v1/jobs:delete", "POST " + unknown + "/retry",
			"GET " + unknown + "/submission", "GET /v1/jobs:count", "GET " + unknown + "/deliveries", "POST " + unknown + "/deliveries/x/retry",
			"GET /v1/groups", "GET /v1/groups/g", "DELETE /v1/groups/g", "POST /v1/groups/g/cancel", "GET /v1/groups/g/events",
			"GET /v1/pauses", "PUT /v1/pauses/kind/squares", "DELETE /v1/pauses/kind/squares",
			"GET /v1/schedules", "PUT /v1/schedules/x", "GET /v1/schedules/x", "DELETE /v1/schedules/x", "POST /v1/schedules/x/pause", "POST /v1/schedules/x/resume",
			"POST /v1/schedules/x/run", "GET /v1/schedules/x/runs",
		} {
			method, p, _ := strings.Cut(op, " ")
			a := want(s, 401, method, p, "", "Authorization: ")
			if a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: 401 without WWW-Authenticate", op)
			}
		}
		want(s, 403, "PUT", "/v1/pauses/kind/squares", `{}`)
		want(s, 403, "DELETE", "/v1/pauses/kind/squares", "")
		stopped := s.running()
		s.do("POST", path(stopped, "/cancel"), "")
		s.do("GET", path(stopped, ""), "", "Prefer: wait=20")
		want(s, 429, "POST", path(stopped, "/retry"), "")
		want(s, 429, "POST", "/v1/jobs", squares)
		want(s, 429, "POST", "/v1/jobs:batch", `{"jobs":[`+squares+`]}`)

		s = newService(t, withKeys(func(k *tenant.Key) { k.ReadOnly = true }))
		want(s, 403, "POST", "/v1/jobs", squares)
		want(s, 403, "POST", "/v1/jobs:batch", `{"jobs":[`+squares+`]}`)
		want(s, 403, "DELETE", unknown, "")
		want(s, 403, "DELETE", "/v1/arrays/x", "")
		for _, r := range []string{"PUT ", "DELETE ", "POST /pause", "POST /resume", "POST /run"} {
			method, tail, _ := strings.Cut(r, " ")
			want(s, 403, method, "/v1/schedules/x"+tail, "")
		}
		want(s, 403, "PUT", "/v1/arrays/x", "x", "Content-Type: application/x-npy")
		want(s, 403, "POST", unknown+"/cancel", "")
		want(s, 403, "POST", "/v1/jobs:cancel", "")
		want(s, 403, "POST", unknown+"/retry", "")
		want(s, 403, "POST", "/v1/groups/g/cancel", "")
		want(s, 403, "DELETE", "/v1/groups/g", "")
		want(s, 403, "POST", "/v1/jobs:delete", "")
		want(s, 403, "POST", unknown+"/deliveries/x/retry", "")
		want(s, 200, "GET", "/v1/jobs", "")
	})

	t.Run("stalled", func(t *testing.T) {
		s := newService(t, func(_ *service, c *api.Config) { c.BodyTimeout = 10 * time.Millisecond })
		for _, op := range []string{"POST /v1/jobs application/json", "POST /v1/jobs:batch application/json", "PUT /v1/arrays/x application/x-npy", "PUT /v1/pauses/kind/squares application/json", "PUT /v1/schedules/x application/json"} {
			f := strings.Fields(op)
			conn := s.dial()
			s.send(conn, f[0], f[1], "", "Content-Type: "+f[2], "Content-Length: 9")
			r, err := http.NewRequestWithContext(t.Context(), f[0], s.URL+f[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), r)
			if err != nil {
				t.Fatal(err)
			}
			resp, err = c.check(r, nil, resp) //nolint:bodyclose // the body has been read; the connection is closed
			if err != nil || resp.StatusCode != http.StatusRequestTimeout {
				t.Errorf("%s whose body does not come: status %d, %v; want 408", op, resp.StatusCode, err)
			}
		}
	})

	t.Run("failing", func(t *testing.T) {
		s := newService(t, withFailure(errors.New("the inside")))
		for _, op := range []string{
			"POST /v1/jobs " + squares, `POST /v1/jobs:batch {"jobs":[` + squares + `]}`, "GET /v1/jobs ",
			"GET " + unknown + " ", "DELETE " + unknown + " ", "POST " + unknown + "/cancel ",
			"GET " + unknown + "/results ", "GET " + unknown + "/events ", "GET " + unknown + "/submission ", "GET /v1/jobs:count ",
			"POST /v1/jobs:cancel ", "POST /v1/jobs:delete ", "POST " + unknown + "/retry ",
			"GET " + unknown + "/deliveries ", "POST " + unknown + "/deliveries/x/retry ",
			"GET /v1/groups ", "GET /v1/groups/g ", "DELETE /v1/groups/g ", "POST /v1/groups/g/cancel ", "GET /v1/groups/g/events ",
			"GET /v1/arrays ", "GET /v1/arrays/x ", "DELETE /v1/arrays/x ", "GET /v1/nodes ", "GET /v1/stats ",
		} {
			f := strings.SplitN(op, " ", 3)
			if a := want(s, 500, f[0], f[1], f[2]); bytes.Contains(a.body, []byte("the inside")) {
				t.Errorf("%s: a 500 with internals: %s", op, a.body)
			}
		}
		want(s, 500, "PUT", "/v1/arrays/x", "x", "Content-Type: application/x-npy")
		const schedule = `{"every":"1h","submission":{"kind":"squares","numbers":[1]}}`
		schedules := func(s *service, status int) {
			want(s, status, "PUT", "/v1/schedules/x", schedule)
			for _, r := range []string{"GET ", "DELETE ", "POST /pause", "POST /resume", "POST /run", "GET /runs"} {
				method, tail, _ := strings.Cut(r, " ")
				want(s, status, method, "/v1/schedules/x"+tail, "")
			}
		}
		schedules(s, 500)
		want(s, 500, "PUT", "/v1/pauses/kind/squares", `{}`)
		want(s, 500, "DELETE", "/v1/pauses/kind/squares", "")
		s = newService(t, withFailure(&job.Rejection{Err: job.ErrStorage, Detail: "the disk is full"}))
		want(s, 503, "PUT", "/v1/arrays/x", "x", "Content-Type: application/x-npy")
		want(s, 503, "DELETE", "/v1/arrays/x", "")
		schedules(s, 503)
		want(s, 503, "PUT", "/v1/pauses/kind/squares", `{}`)
		want(s, 503, "DELETE", "/v1/pauses/kind/squares", "")
		for _, p := range []string{"/v1/arrays", "/v1/arrays/x", "/v1/jobs", unknown, unknown + "/submission", unknown + "/deliveries", "/v1/jobs:count", "/v1/nodes", "/v1/stats"} {
			want(s, 503, "GET", p, "")
		}
		want(s, 503, "POST", "/v1/jobs", squares)
		want(s, 503, "POST", "/v1/jobs:batch", `{"jobs":[`+squares+`]}`)
		want(s, 503, "DELETE", unknown, "")
		want(s, 503, "POST", unknown+"/cancel", "")
		want(s, 503, "POST", "/v1/jobs:cancel", "")
		want(s, 503, "POST", "/v1/jobs:delete", "")
		want(s, 503, "POST", unknown+"/retry", "")
		want(s, 503, "POST", unknown+"/deliveries/x/retry", "")
		for _, op := range []string{"GET /v1/groups", "GET /v1/groups/g", "DELETE /v1/groups/g", "POST /v1/groups/g/cancel", "GET /v1/groups/g/events"} {
			method, p, _ := strings.Cut(op, " ")
			want(s, 503, method, p, "")
		}
		want(s, 503, "GET", "/readyz", "")

		s = newService(t, func(_ *service, c *api.Config) {
			c.Schedules = failingSchedules{&job.Rejection{Err: job.ErrQuota, Detail: "too many"}}
		})
		want(s, 429, "PUT", "/v1/schedules/x", schedule)
		s = newService(t, func(_ *service, c *api.Config) { c.Schedules = failingSchedules{job.ErrKeyReused} })
		want(s, 422, "POST", "/v1/schedules/x/run", "")
		s = newService(t, withFailure(job.ErrKeyInProgress))
		want(s, 409, "POST", "/v1/jobs", squares, "Idempotency-Key: k")
		want(s, 409, "POST", "/v1/jobs:batch", `{"jobs":[`+squares+`]}`, "Idempotency-Key: k")

		s = newService(t, func(_ *service, c *api.Config) { c.MaxStreams = -1 })
		j := s.running()
		want(s, 503, "GET", path(j, "/events"), "")
		want(s, 503, "GET", path(j, "/results"), "", "Accept: application/x-ndjson")
	})

	var missing []string
	for _, item := range c.doc.Paths.Map() {
		for _, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if !c.seen[op.OperationID+" "+status] {
					missing = append(missing, op.OperationID+" "+status)
				}
			}
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("in the contract, but never returned: %q", missing)
	}
}

// cancelling responds to every cancel with a job that is cancelling.
type cancelling struct{ api.Executor }

func (c cancelling) Cancel(_ context.Context, name string, id job.ID) (job.Job, error) {
	return job.Job{ID: id, Tenant: name, Kind: "squares", Priority: job.Normal, State: job.Cancelling, Seq: 3, CreatedAt: time.Now()}, nil
}

// npyFile is an .npy file of n float64 zeros.
func npyFile(t *testing.T, n int64) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, npy.Type{Kind: 'f', Size: 8}, []int64{n}); err != nil {
		t.Fatal(err)
	}
	return b.String() + strings.Repeat("\x00", int(8*n))
}

// The served routes are the paths of the contract.
func TestRoutes(t *testing.T) {
	s := newService(t)
	var served, promised []string
	router := s.handler.(interface{ Routes() chi.Routes }).Routes()
	err := chi.Walk(router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served = append(served, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range newContract(t).doc.Paths.Map() {
		for method := range item.Operations() {
			promised = append(promised, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(promised)
	if !slices.Equal(served, promised) {
		t.Errorf("served\n%q\npromised\n%q", served, promised)
	}
}
