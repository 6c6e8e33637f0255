package apitest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Config has the server under test and the duration.
type Config struct {
	// Address is the server's address; Spec its openapi.yaml.
	Address string
	Spec    []byte
	// Keys are API keys of the server; nil for a server without keys.
	Keys []Key
	// MaxBody is the largest body that the server accepts.
	MaxBody int64
	// Seed determines each worker's sequence of requests, except for values from responses.
	Seed uint64
	// Duration is the time for which requests are sent, at least a thousand.
	Duration time.Duration
}

// A Key is an API key.
type Key struct {
	Secret, Tenant string
	ReadOnly       bool
}

const (
	// workers is the number of concurrent requests.
	workers = 4
	// minRequests is the minimum number of requests of a run.
	minRequests = 1000
	// maxFailures is the maximum number of reported failures.
	maxFailures = 20
)

// A run is one call of Exercise.
type run struct {
	t        testing.TB
	config   Config
	contract *contract
	jobs     knownJobs
	accepts  []string
	requests atomic.Int64
	statuses [600]atomic.Int64

	mu sync.Mutex
	// failures are the reported failures by description.
	failures map[string]bool
	// problems are the problem types whose page was found.
	problems map[string]bool
	// client fetches the pages.
	client *http.Client
}

// A worker sends one request after another.
type worker struct {
	*run
	g      *generator
	number int
	// requests is the number of requests it has sent.
	requests int
	// memory has cursors, tokens and tags of responses.
	memory map[string][]string
	conn   *connection
	held   []*connection
}

// Exercise sends valid, mutated and hostile requests generated from the contract, and reports every response that
// violates the contract, with its request. The server must be healthy; its queue may be full.
func Exercise(t testing.TB, c Config) {
	t.Helper()
	spec, err := loadContract(c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{
		t: t, config: c, contract: spec, failures: make(map[string]bool), problems: make(map[string]bool),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: responseTimeout},
	}
	r.accepts = []string{"", "*/*", "text/html", "application/*", "application/json;q=0, */*;q=0.1", "application/json;q=2", ",", strings.Repeat("a/b,", 500), "application/x-ndjson, text/event-stream", "é", "application/problem+json"}
	for _, op := range spec.operations {
		for _, response := range op.responses {
			for media := range response.content {
				if !slices.Contains(r.accepts, media) {
					r.accepts = append(r.accepts, media)
				}
			}
		}
	}
	slices.Sort(r.accepts)
	end := time.Now().Add(c.Duration)
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			w := &worker{run: r, number: i, memory: make(map[string][]string)}
			w.g = &generator{rand.New(rand.NewPCG(c.Seed, uint64(i))), spec}
			defer w.close()
			for r.requests.Load() < minRequests || time.Now().Before(end) {
				w.step()
			}
		})
	}
	group.Wait()
	r.summarize()
}

// step sends one request and checks the response.
func (w *worker) step() {
	q := w.request()
	a, err := w.send(q)
	if a == nil || err != nil {
		return
	}
	w.learn(q, a)
}

func (w *worker) send(q *request) (*response, error) {
	w.requests++
	w.run.requests.Add(1)
	a, err := w.exchange(q)
	if a != nil {
		w.statuses[min(a.StatusCode, 599)].Add(1)
	}
	if err != nil {
		if q.malformed || q.ending != complete || len(q.body) > 1<<16 {
			return nil, err // a server may close the connection of a request without reading all of it
		}
		w.fail(q, a, err)
		return nil, err
	}
	if a != nil {
		if err := w.check(q, a); err != nil {
			w.fail(q, a, err)
		}
	}
	return a, nil
}

// learn records values of a response for later requests, and cancels most jobs, which would keep the server busy.
func (w *worker) learn(q *request, a *response) {
	w.remember("etag", a.Header.Get("ETag"))
	if a.StatusCode >= 300 || q.loose || a.Header.Get("Content-Type") != "application/json" {
		return
	}
	var m struct {
		ID    string
		Jobs  []struct{ ID string }
		Token *string `json:"next_page_token"`
		After any     `json:"next_after"`
	}
	if json.Unmarshal(a.body, &m) != nil {
		return // not an object with these members
	}
	if m.Token != nil {
		w.remember("page_token", *m.Token)
	}
	if m.After != nil {
		w.remember("after", fmt.Sprint(m.After))
	}
	if !strings.HasPrefix(q.op.id, "submit") {
		return
	}
	tenant := ""
	if q.key != nil {
		tenant = q.key.Tenant
	}
	ids := []string{m.ID}
	for _, j := range m.Jobs {
		ids = append(ids, j.ID)
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		w.jobs.add(&knownJob{id, tenant})
		if !one(w.g.Rand, 6) {
			w.cancel(q, id)
		}
	}
}

func (w *worker) cancel(submitted *request, id string) {
	q := &request{method: http.MethodPost, target: "/v1/jobs/" + id + "/cancel", framing: unframed, key: submitted.key}
	for _, q.op = range w.contract.operations {
		if q.op.id == "cancelJob" {
			break
		}
	}
	if q.key != nil {
		q.add("Authorization", "Bearer "+q.key.Secret)
	}
	_, _ = w.send(q) // reports failures
}

// fail reports a failure once for each operation and status.
func (w *worker) fail(q *request, a *response, err error) {
	status, got := 0, ""
	if a != nil {
		status, got = a.StatusCode, fmt.Sprintf("%v\n%.1500q", a.Header, a.body)
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	key := fmt.Sprintf("%s %s %d %.60s", q.op.id, q.method, status, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failures[key] || len(w.failures) >= maxFailures {
		return
	}
	w.failures[key] = true
	w.t.Errorf("seed %d, worker %d, request %d (%s): status %d: %v\nrequest:\n%.1500q\nanswer:\n%s",
		w.config.Seed, w.number, w.requests, q.op.id, status, err, q.bytes(w.config.Address), got)
}

// summarize logs the number of requests, and fails when a class of statuses is missing, because then the requests miss
// code they should reach.
func (r *run) summarize() {
	counts := make(map[string]int64)
	for status := range r.statuses {
		if n := r.statuses[status].Load(); n > 0 {
			counts[fmt.Sprint(status)] = n
		}
	}
	r.t.Logf("seed %d: %d requests, %d jobs, answers %v", r.config.Seed, r.requests.Load(), r.jobs.total.Load(), counts)
	for _, status := range []string{"200", "202", "400", "404", "415", "422"} {
		if counts[status] == 0 {
			r.t.Errorf("no response has status %s, want some", status)
		}
	}
}
