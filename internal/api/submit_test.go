package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/tenant"
)

// Every error is reported in one response with its pointer, whether the envelope or the kind finds it.
func TestSubmissionErrors(t *testing.T) {
	s := newService(t)
	long := strings.Repeat("x", 64)
	seventeen := `"k0":""`
	for i := range 16 {
		seventeen += fmt.Sprintf(`,"k%d":""`, i+1)
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		want             []string // pointers
	}{
		{"not JSON", "", `{"kind":`, 400, []string{""}},
		{"trailing", "", `{"kind":"squares","numbers":[]} {}`, 400, []string{""}},
		{"duplicate", "", `{"kind":"squares","numbers":[],"numbers":[]}`, 400, []string{"/numbers"}},
		{"duplicate inside", "", `{"kind":"squares","range":{"stop":1,"stop":2}}`, 400, []string{"/range/stop"}},
		{"bad UTF-8", "", "{\"kind\":\"\xff\"}", 400, []string{"/kind"}},
		{"empty", "", ``, 415, nil},
		{"no object", "", `[]`, 422, []string{""}},
		{"no kind", "", `{}`, 422, []string{"/kind"}},
		{"wrong case", "", `{"Kind":"squares"}`, 422, []string{"/kind"}},
		{"kind of another type", "", `{"kind":7,"numbers":[]}`, 422, []string{"/kind"}},
		{"unknown kind", "", `{"kind":"cubes"}`, 422, []string{"/kind"}},
		{"unknown field", "", `{"kind":"squares","numbers":[],"bogus":1}`, 422, []string{"/bogus"}},
		{
			"envelope and kind", "", `{"kind":"squares","numbers":[1,null,"x"],"priority":"urgent","timeout":0,"retention":"-1s","failed_retention":0}`, 422,
			[]string{"/failed_retention", "/numbers/1", "/numbers/2", "/priority", "/retention", "/timeout"},
		},
		{
			"durations", "", `{"kind":"squares","numbers":[],"timeout":"1 hour","retention":9e99,"start_after":"tomorrow"}`, 422,
			[]string{"/retention", "/start_after", "/timeout"},
		},
		{
			"labels", "", `{"kind":"squares","numbers":[],"labels":{"ok":"","b c":"x","n":1,"t":"\u0007","` + long + `":""}}`, 422,
			[]string{"/labels/b c", "/labels/n", "/labels/t", "/labels/" + long},
		},
		{"many labels", "", `{"kind":"squares","numbers":[],"labels":{` + seventeen + `}}`, 422, []string{"/labels"}},
		{"labels of another type", "", `{"kind":"squares","numbers":[],"labels":["a"]}`, 422, []string{"/labels"}},
		{"escaped pointer", "", `{"kind":"squares","numbers":[],"labels":{"~ /":""}}`, 422, []string{"/labels/~0 ~1"}},
		{
			"batch", ":batch", `{"jobs":[{"kind":"squares","numbers":[1]},{"kind":"squares","numbers":[null]},7,{"kind":"squares","range":{}}],"x":1}`,
			422,
			[]string{"/jobs/1/numbers/0", "/jobs/2", "/jobs/3/range/stop", "/x"},
		},
		{
			"batch of kinds' errors", ":batch", `{"jobs":[{"kind":"squares","numbers":[1]},{"kind":"squares","numbers":[null]}]}`,
			422,
			[]string{"/jobs/1/numbers/0"},
		},
		{"batch of one", ":batch", `{"jobs":[{"kind":"squares","numbers":[null]}]}`, 422, []string{"/jobs/0/numbers/0"}},
		{"empty batch", ":batch", `{"jobs":[]}`, 422, []string{"/jobs"}},
		{"no batch", ":batch", `{}`, 422, []string{"/jobs"}},
		{"batch of another type", ":batch", `{"jobs":{}}`, 422, []string{"/jobs"}},
		{"large batch", ":batch", `{"jobs":[` + strings.Repeat(`{},`, 10_000) + `{}]}`, 422, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.do("POST", "/v1/jobs"+c.path, c.body)
			if a.status != c.status {
				t.Fatalf("%d: %s", a.status, a.body)
			}
			p := decode[api.Problem](t, a.body)
			var got []string
			if p.Errors != nil {
				for _, e := range *p.Errors {
					if e.Detail == "" || e.Pointer == nil {
						t.Errorf("%+v", e)
						continue
					}
					got = append(got, *e.Pointer)
				}
			}
			if slices.Sort(got); c.want != nil && !slices.Equal(got, c.want) {
				t.Errorf("errors at %q, want %q: %s", got, c.want, a.body)
			}
			if len(got) > 100 {
				t.Errorf("%d errors", len(got))
			}
		})
	}
	if l := decode[api.JobList](t, s.do("GET", "/v1/jobs", "").body); len(l.Jobs) != 0 {
		t.Errorf("a rejected submission left %d jobs", len(l.Jobs))
	}
}

// The envelope's members reach the job.
func TestEnvelope(t *testing.T) {
	s := newService(t)
	a := s.do("POST", "/v1/jobs", `{"start_after":"1h", "labels" : {"team":"ingest","x":""},
		"numbers":[1],"kind":"squares","priority":"high","timeout":1.5,"retention":"90m"}`,
		"X-Request-Id: my.id-1", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if a.status != 202 || a.Header.Get("X-Request-Id") != "my.id-1" {
		t.Fatalf("%d %s: %s", a.status, a.Header, a.body)
	}
	j := decode[api.Job](t, a.body)
	if a.Header.Get("Location") != j.Links.Self || j.Links.Self != path(j, "") || j.Links.Cancel != path(j, "/cancel") {
		t.Errorf("location %s, links %+v", a.Header.Get("Location"), j.Links)
	}
	id, err := job.ParseID(j.Id.String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.journal.Get(t.Context(), tenant.Default, id)
	if err != nil {
		t.Fatal(err)
	}
	if got.Priority != job.High || got.Timeout != 1500*time.Millisecond || got.Retention != 90*time.Minute ||
		got.Labels["team"] != "ingest" || got.RequestID != "my.id-1" || len(got.TraceParent) != 55 ||
		time.Until(got.StartAfter).Round(time.Minute) != time.Hour {
		t.Errorf("%+v", got)
	}
	if j.StartAfter == nil || j.QueuePosition != nil {
		t.Errorf("start after %v, place %v", j.StartAfter, j.QueuePosition)
	}
	plain := decode[api.Job](t, s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[]}`).body)
	id, _ = job.ParseID(plain.Id.String())
	if got, _ := s.journal.Get(t.Context(), tenant.Default, id); got.Retention != 24*time.Hour || got.Priority != job.Normal {
		t.Errorf("defaults: %+v", got)
	}
}

// Concurrent identical requests create one job.
func TestIdempotency(t *testing.T) {
	s := newService(t)
	const body = `{"kind":"squares","numbers":[1,2,3]}`
	var mu sync.Mutex
	ids := map[string]int{}
	fresh := 0
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			key := []string{"Idempotency-Key: k", `Idempotency-Key: "k"`}[i%2]
			a := s.do("POST", "/v1/jobs", body, key)
			for a.status == http.StatusConflict {
				a = s.do("POST", "/v1/jobs", body, key)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[decode[api.Job](t, a.body).Id.String()]++
			if a.Header.Get("Idempotency-Replayed") == "" {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Errorf("%d new responses, jobs %v", fresh, ids)
	}
	a := s.do("POST", "/v1/jobs", body, "Idempotency-Key: k", "Prefer: wait=20")
	if a.status != 200 || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a replay that waits: %d", a.status)
	}
	// Bodies are compared as bytes: the same JSON with other whitespace is a different body.
	if a := s.do("POST", "/v1/jobs", body+" ", "Idempotency-Key: k"); a.status != 422 || !strings.Contains(string(a.body), "byte for byte") {
		t.Errorf("another body: %d %s, want 422 with \"byte for byte\"", a.status, a.body)
	}
	if a := s.do("POST", "/v1/jobs", body, "Idempotency-Key: "+strings.Repeat("x", 256)); a.status != 400 {
		t.Errorf("a long key: %d", a.status)
	}
	// A rejected submission does not use up its key.
	if a := s.do("POST", "/v1/jobs", `{"kind":"squares"}`, "Idempotency-Key: r"); a.status != 422 {
		t.Errorf("rejected: %d", a.status)
	}
	if a := s.do("POST", "/v1/jobs", body, "Idempotency-Key: r"); a.status != 202 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("after a rejected one: %d", a.status)
	}
}

// A missing media type is the most common mistake with curl: the detail has the required option.
func TestUnsupportedMedia(t *testing.T) {
	s := newService(t)
	for _, c := range []struct{ method, path, hint string }{
		{"POST", "/v1/jobs", "--json"},
		{"POST", "/v1/jobs:batch", "--json"},
		{"PUT", "/v1/arrays/x", "-H 'Content-Type: application/x-npy'"},
	} {
		a := s.do(c.method, c.path, "{}", "Content-Type: application/x-www-form-urlencoded")
		if a.status != 415 || !strings.Contains(string(a.body), c.hint) {
			t.Errorf("%s %s: %d: %s, want 415 with %s", c.method, c.path, a.status, a.body, c.hint)
		}
	}
}

// A key may outlive its jobs. The response is then 410, not the 404 of an unknown path.
func TestReplayOfForgottenJobs(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.Jobs = failing{job.ErrNotFound} })
	const body = `{"kind":"squares","numbers":[1]}`
	for path, body := range map[string]string{"/v1/jobs": body, "/v1/jobs:batch": `{"jobs":[` + body + `]}`} {
		if a := s.do("POST", path, body, "Idempotency-Key: k"); a.status != 202 {
			t.Fatalf("POST %s: %d: %s, want 202", path, a.status, a.body)
		}
		a := s.do("POST", path, body, "Idempotency-Key: k")
		if p := decode[api.Problem](t, a.body); a.status != 410 || p.Type != "/problems/job-expired" ||
			!strings.Contains(*p.Detail, "fresh key") {
			t.Errorf("POST %s again: %d: %s, want 410 job-expired with a hint at a fresh key", path, a.status, a.body)
		}
	}
}

// keyKeeper records which keys are reserved.
type keyKeeper struct {
	mu   sync.Mutex
	held map[string]bool
}

func (k *keyKeeper) Reserve(_ context.Context, key job.Key) ([]job.ID, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[key.Value] = true
	return nil, nil
}

func (k *keyKeeper) Release(key job.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, key.Value)
}

// A key is released when no submission uses it, and only then: a submission takes it over, whatever its outcome.
func TestKeyIsReleased(t *testing.T) {
	keys := &keyKeeper{held: map[string]bool{}}
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 2, Window: tenant.Window(time.Hour)} }),
		func(_ *service, c *api.Config) { c.Keys = keys }, func(_ *service, c *api.Config) {
			c.Executor = switching{c.Executor, failing{&job.Rejection{Err: job.ErrQueueFull, Detail: "9 of 9 jobs", RetryAfter: 2500 * time.Millisecond}}}
		})
	a := s.do("POST", "/v1/jobs", `{"kind":"sleep_batch","count":1,"duration":1}`, "Idempotency-Key: full")
	if a.status != 503 || a.Header.Get("Retry-After") != "3" || !strings.Contains(string(a.body), "9 of 9 jobs") {
		t.Errorf("%d, retry after %s: %s", a.status, a.Header.Get("Retry-After"), a.body)
	}
	const none = `{"kind":"squares","numbers":[]}`
	s.do("POST", "/v1/jobs", none, "Idempotency-Key: ok")
	if a := s.do("POST", "/v1/jobs:batch", `{"jobs":[`+none+`,`+none+`]}`, "Idempotency-Key: rate"); a.status != 429 {
		t.Errorf("over the rate: %d", a.status)
	}
	if keys.held["rate"] || !keys.held["ok"] || !keys.held["full"] {
		t.Errorf("held: %v", keys.held)
	}
}

// switching fails submissions of other kinds than squares.
type switching struct {
	api.Executor
	no failing
}

func (s switching) Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error) {
	if subs[0].Kind != "squares" {
		return s.no.Submit(ctx, subs, key, wait)
	}
	return s.Executor.Submit(ctx, subs, key, wait)
}

// elsewhere is an executor whose submissions another node has just accepted, or rejected for their key.
type elsewhere struct {
	api.Executor
	keys api.Keys
	err  func() error
}

func (e elsewhere) Submit(_ context.Context, _ []job.Submission, key *job.Key, _ bool) ([]job.Job, error) {
	e.keys.Release(*key)
	return nil, e.err()
}

// A submission that another node has just accepted with the same key is a replay: it returns the current jobs and does
// not use up the rate.
func TestAcceptedElsewhere(t *testing.T) {
	var err error
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 3, Window: tenant.Window(30 * time.Minute)} }),
		func(_ *service, c *api.Config) {
			c.Executor = elsewhere{c.Executor, c.Keys, func() error { return err }}
		})
	subs := make([]job.Submission, 2)
	for i := range subs {
		subs[i] = job.Submission{Tenant: "acme", Kind: "squares", Spec: []byte(`{"numbers":[3]}`)}
	}
	jobs, err2 := s.executor.Submit(t.Context(), subs, nil, true)
	if err2 != nil {
		t.Fatal(err2)
	}
	ids := []string{jobs[0].ID.String(), jobs[1].ID.String()}
	for _, id := range ids {
		if a := s.do("GET", "/v1/jobs/"+id, "", "Prefer: wait=20"); a.status != 200 {
			t.Fatalf("%d: %s", a.status, a.body)
		}
	}
	err = fmt.Errorf("submit: %w", &job.DuplicateKeyError{IDs: []job.ID{jobs[0].ID, jobs[1].ID}})
	const body = `{"kind":"squares","numbers":[3]}`
	a := s.do("POST", "/v1/jobs:batch", `{"jobs":[`+body+`,`+body+`]}`, "Idempotency-Key: b")
	if a.status != 202 || a.Header.Get("Idempotency-Replayed") != "true" || a.Header.Get("Ratelimit") != `"jobs";r=3;t=0` {
		t.Errorf("a batch: %d %v", a.status, a.Header)
	}
	for i, j := range decode[api.Batch](t, a.body).Jobs {
		if j.Id.String() != ids[i] || j.State != api.StateSucceeded {
			t.Errorf("job %d is %s, %s", i, j.Id, j.State)
		}
	}
	err = &job.DuplicateKeyError{IDs: []job.ID{jobs[1].ID}}
	for prefer, status := range map[string]int{"Prefer: wait=20": 200, "Prefer: x": 202} {
		a = s.do("POST", "/v1/jobs", body, "Idempotency-Key: k", prefer)
		if a.status != status || a.Header.Get("Idempotency-Replayed") != "true" || a.Header.Get("Location") != "/v1/jobs/"+ids[1] ||
			decode[api.Job](t, a.body).State != api.StateSucceeded {
			t.Errorf("%s: %d %v %s", prefer, a.status, a.Header, a.body)
		}
	}
	if a = s.do("DELETE", "/v1/jobs/"+ids[1], ""); a.status != 204 {
		t.Fatalf("%d: %s", a.status, a.body)
	}
	if a = s.do("POST", "/v1/jobs", body, "Idempotency-Key: k"); a.status != 410 {
		t.Errorf("it was deleted: %d", a.status)
	}
	err = fmt.Errorf("submit: %w", job.ErrKeyReused)
	if a = s.do("POST", "/v1/jobs", body, "Idempotency-Key: k"); a.status != 422 || !strings.Contains(string(a.body), "idempotency-key-reused") ||
		a.Header.Get("Ratelimit") != `"jobs";r=3;t=0` {
		t.Errorf("another body: %d %v %s", a.status, a.Header, a.body)
	}
}

// Every submission reports the tenant's rate; rejected jobs do not use it up.
func TestRate(t *testing.T) {
	s := newService(t, withKeys(func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 3, Window: tenant.Window(30 * time.Minute)} }))
	const body = `{"kind":"squares","numbers":[]}`
	send := func(status int, body, want, tail string) {
		t.Helper()
		a := s.do("POST", "/v1/jobs"+tail, body)
		if a.status != status || a.Header.Get("RateLimit") != want || a.Header.Get("RateLimit-Policy") != `"jobs";q=3;w=1800` {
			t.Errorf("%d %q %q: %s", a.status, a.Header.Get("RateLimit"), a.Header.Get("RateLimit-Policy"), a.body)
		}
		if status == 429 && a.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	send(202, body, `"jobs";r=2;t=600`, "")
	send(422, `{"kind":"squares"}`, `"jobs";r=2;t=600`, "")
	send(202, `{"jobs":[`+body+`,`+body+`]}`, `"jobs";r=0;t=600`, ":batch")
	send(429, body, `"jobs";r=0;t=600`, "")
	send(429, `{"jobs":[`+body+`,`+body+`]}`, `"jobs";r=0;t=1200`, ":batch")
	send(422, `{"jobs":[`+strings.Repeat(body+`,`, 3)+body+`]}`, `"jobs";r=0;t=1800`, ":batch")
}

// A tenant sees its own jobs and no trace of others.
func TestTenantsApart(t *testing.T) {
	s := newService(t, withKeys(nil))
	other, text, err := tenant.Generate("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j := s.finished(`{"kind":"squares","numbers":[1]}`)
	s2 := newService(t, func(_ *service, c *api.Config) {
		store, err := tenant.NewStore([]tenant.Key{other})
		if err != nil {
			t.Fatal(err)
		}
		c.Tenants, c.Executor, c.Jobs, c.Log, c.Keys = store, s.executor, s.journal, s.journal, s.journal
	})
	s2.key = text
	for _, op := range []string{"GET ", "DELETE ", "POST /cancel", "GET /results", "GET /events"} {
		method, tail, _ := strings.Cut(op, " ")
		if a := s2.do(method, path(j, tail), ""); a.status != 404 {
			t.Errorf("%s: %d", op, a.status)
		}
	}
	if l := decode[api.JobList](t, s2.do("GET", "/v1/jobs", "").body); len(l.Jobs) != 0 {
		t.Errorf("it lists %d jobs", len(l.Jobs))
	}
	if a := s2.do("GET", "/v1/jobs", "", "Authorization: Bearer "+text[:len(text)-1]+"x"); a.status != 401 {
		t.Errorf("a wrong secret: %d", a.status)
	}
}

// until polls until the service is in a state without a signal of its own.
func (s *service) until(there func() bool) {
	s.t.Helper()
	for range time.Tick(time.Millisecond) {
		if there() {
			return
		}
		if err := s.t.Context().Err(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// gauge reads a metric of the service.
func (s *service) gauge(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}

// TestBatchWait tests that a batch waits until all of its jobs have ended, or the time is over, and that a repetition with
// the same key waits too.
func TestBatchWait(t *testing.T) {
	s := newService(t)
	const quick = `{"jobs":[{"kind":"squares","numbers":[1,2]},{"kind":"sleep_batch","count":2,"duration":"20ms"},{"kind":"squares","numbers":[]}]}`
	for range 2 {
		a := s.do("POST", "/v1/jobs:batch", quick, "Prefer: wait=30", "Idempotency-Key: one")
		if a.status != http.StatusOK || a.Header.Get("Preference-Applied") != "wait=30" || a.Header.Get("Retry-After") != "" {
			t.Fatalf("got %d, %v, want 200 with Preference-Applied: wait=30: %s", a.status, a.Header, a.body)
		}
		for i, j := range decode[api.Batch](t, a.body).Jobs {
			if j.State != api.StateSucceeded {
				t.Errorf("job %d: got state %s, want succeeded", i, j.State)
			}
		}
	}
	slow := strings.Replace(quick, "20ms", "1h", 1)
	a := s.do("POST", "/v1/jobs:batch", slow, "Prefer: wait=1")
	if a.status != http.StatusAccepted || a.Header.Get("Preference-Applied") != "" || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, %v, want 202 with Retry-After", a.status, a.Header)
	}
	jobs := decode[api.Batch](t, a.body).Jobs
	if got := []api.State{jobs[0].State, jobs[1].State, jobs[2].State}; !slices.Equal(got, []api.State{api.StateSucceeded, api.StateRunning, api.StateSucceeded}) {
		t.Errorf("got states %v, want succeeded, running, succeeded", got)
	}
	if a := s.do("POST", "/v1/jobs:batch", slow); a.status != http.StatusAccepted {
		t.Errorf("without Prefer: got %d, want 202", a.status)
	}
	s.stop()
	if a := s.do("POST", "/v1/jobs:batch", slow, "Prefer: wait=30"); a.status != http.StatusAccepted {
		t.Errorf("on a server that stops: got %d, want 202", a.status)
	}
}
