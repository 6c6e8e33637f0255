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

// A Config is the server that Exercise sends requests to, and for how long.
type Config struct {
	// Address is where the server listens; Spec its openapi.yaml.
	Address string
	Spec    []byte
	// Keys are API keys of the server; none for a server without keys.
	Keys []Key
	// MaxBody is the largest body that the server takes.
	MaxBody int64
	// Seed makes the requests: one seed, one sequence of requests of each worker, but for what it takes from answers.
	Seed uint64
	// Duration is for how long requests are sent, of which there are a thousand at the least.
	Duration time.Duration
}

// A Key is an API key.
type Key struct {
	Secret, Tenant string
	ReadOnly       bool
}

const (
	// workers is how many requests are on their way at the same time.
	workers = 4
	// minRequests is how many requests a run has, however short.
	minRequests = 1000
	// maxFailures is how many different failures are reported.
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
	// failures are the failures that were reported, by what is wrong.
	failures map[string]bool
	// problems are the types of problems whose page was found.
	problems map[string]bool
	// client fetches those pages.
	client *http.Client
}

// A worker sends one request after another.
type worker struct {
	*run
	g      *generator
	number int
	// requests is how many requests it has sent.
	requests int
	// memory has cursors, tokens and tags of answers.
	memory map[string][]string
	conn   *connection
	held   []*connection
}

// Exercise sends requests that are generated from the contract, valid ones, changed ones and hostile ones, and reports every
// answer that the contract does not allow, with the request. The server must be sound; its queue may be full.
func Exercise(t testing.TB, c Config) {
	t.Helper()
	spec, err := loadContract(c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{
		t: t, config: c, contract: spec, failures: make(map[string]bool), problems: make(map[string]bool),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: answerTimeout},
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

// step sends one request and checks the answer.
func (w *worker) step() {
	q := w.request()
	a, err := w.send(q)
	if a == nil || err != nil {
		return
	}
	w.learn(q, a)
}

func (w *worker) send(q *request) (*answer, error) {
	w.requests++
	w.run.requests.Add(1)
	a, err := w.exchange(q)
	if a != nil {
		w.statuses[min(a.StatusCode, 599)].Add(1)
	}
	if err != nil {
		if q.malformed || q.ending != complete || len(q.body) > 1<<16 {
			return nil, err // a server may close the connection of a request that it does not read to the end
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

// learn remembers what an answer has for later requests, and cancels most jobs, which would keep the server busy.
func (w *worker) learn(q *request, a *answer) {
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
		return // not an object of these members
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
	_, _ = w.send(q) // reports what is wrong
}

// fail reports what is wrong with an answer, once for each operation and status.
func (w *worker) fail(q *request, a *answer, err error) {
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

// summarize reports how many requests there were, and fails when answers of a class are missing: then the requests do not
// reach what they should.
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
			r.t.Errorf("no answer has status %s, want some", status)
		}
	}
}
