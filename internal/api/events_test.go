package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// The events of a job are its log in order, each id once; resuming after any id returns the rest.
func TestEvents(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","range":{"stop":20000}}`)
	whole := parseSSE(string(s.do("GET", path(j, "/events"), "").body))
	var ids []int
	var names []string
	for _, e := range whole {
		if e.id != "" {
			id, err := strconv.Atoi(e.id)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if len(names) == 0 || names[len(names)-1] != e.name {
			names = append(names, e.name)
		}
	}
	if len(ids) < 20003 || ids[0] != 1 {
		t.Fatalf("%d ids from %d", len(ids), ids[0])
	}
	for i, id := range ids {
		if id != i+1 && i < 20000 {
			t.Fatalf("id %d at place %d", id, i)
		}
	}
	if got := strings.Join(names, " "); got != "state result progress state end" && got != "state result state end" {
		t.Errorf("order %q", got)
	}
	last := ids[len(ids)-1]
	for _, after := range []int{0, 1, 2, 3, 9000, 16384, 16387, 20002, last - 1} {
		tail := parseSSE(string(s.do("GET", path(j, "/events?after=7"), "", fmt.Sprintf("Last-Event-ID: %d", after)).body))
		from := slices.IndexFunc(whole, func(e sseEvent) bool { return e.id == strconv.Itoa(after+1) })
		if got, want := withIDs(tail), withIDs(whole[from:]); !slices.Equal(got, want) {
			t.Errorf("after %d: %d events, want %d", after, len(got), len(want))
		}
		if tail[len(tail)-1].name != "end" {
			t.Errorf("after %d there is no end", after)
		}
	}
	if a := s.do("GET", path(j, fmt.Sprintf("/events?after=%d", last)), ""); a.status != 204 {
		t.Errorf("after the last: %d", a.status)
	}
	// NDJSON has the same events.
	lines := strings.Split(strings.TrimSpace(string(s.do("GET", path(j, "/events"), "", "Accept: application/x-ndjson").body)), "\n")
	if len(lines) != len(whole) {
		t.Errorf("%d lines, %d events", len(lines), len(whole))
	}
	for i, l := range lines {
		e := decode[struct {
			Seq   int
			Event string
		}](t, []byte(l))
		if e.Event != whole[i].name || whole[i].id != "" && strconv.Itoa(e.Seq) != whole[i].id {
			t.Fatalf("line %d is %s, event %+v", i, l, whole[i])
		}
	}
}

// TestCursorBeyondLog tests that a cursor beyond the job's log is rejected, because such a stream would skip every
// event before it.
func TestCursorBeyondLog(t *testing.T) {
	s := newService(t)
	done, live := s.finished(`{"kind":"squares","numbers":[1,2]}`), s.running()
	for _, j := range []api.Job{done, live} {
		last := s.last(j)
		for _, c := range []struct {
			target, header, name string
			status               int
		}{
			{fmt.Sprintf("/events?after=%d", last+1), "", "after", 400},
			{"/events?after=9223372036854775807", "", "after", 400},
			{"/events", fmt.Sprintf("Last-Event-ID: %d", last+1), "Last-Event-ID", 400},
			{"/events?after=1", fmt.Sprintf("Last-Event-ID: %d", last+1), "Last-Event-ID", 400},
			{fmt.Sprintf("/results?after=%d", last+1), "", "after", 400},
			{fmt.Sprintf("/results?after=%d", last+1), "Accept: application/x-ndjson", "after", 400},
			{fmt.Sprintf("/results?after=%d", last), "", "", 200},
			{fmt.Sprintf("/results?after=%d", last), "Accept: application/x-ndjson", "", 200},
		} {
			a := s.do("GET", path(j, c.target), "", c.header)
			if a.status != c.status || c.status == 400 && !strings.Contains(string(a.body), `":"`+c.name+`"`) {
				t.Errorf("%s job, %s %s: %d, want %d that names %s: %s", j.State, c.target, c.header, a.status, c.status, c.name, a.body)
			}
		}
	}
	if a := s.do("GET", path(done, fmt.Sprintf("/events?after=%d", s.last(done))), ""); a.status != 204 {
		t.Errorf("the last event of a finished job: %d, want 204", a.status)
	}
}

// last returns the seq of the last event of a job, from its ETag.
func (s *service) last(j api.Job) (seq int) {
	s.t.Helper()
	tag := s.do("GET", path(j, ""), "").Header.Get("ETag")
	if _, err := fmt.Sscanf(tag, `W/"%d"`, &seq); err != nil {
		s.t.Fatalf("ETag %q: %v", tag, err)
	}
	return seq
}

// lagging is a node whose replica has only seq 1 of a job until it has been read often enough.
type lagging struct {
	api.Jobs
	behind atomic.Int64
}

func (l *lagging) Get(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	j, err := l.Jobs.Get(ctx, tenant, id)
	if l.behind.Add(-1) >= 0 {
		j.Seq, j.State = 1, job.Queued
	}
	return j, err
}

// signalled is a log whose watchers the test signals.
type signalled struct {
	logOf
	changed chan struct{}
}

func (s signalled) Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	return s.logOf.Log.Log(ctx, id, after, limit)
}

func (s signalled) Watch(job.ID) (changed <-chan struct{}, stop func()) { return s.changed, func() {} }

// TestCursorOfAnotherNode tests that a lagging node waits for an event that a client has already read from another
// node.
func TestCursorOfAnotherNode(t *testing.T) {
	jobs, changed := new(lagging), make(chan struct{})
	s := newService(t, func(_ *service, c *api.Config) {
		jobs.Jobs, c.Jobs, c.Replica = c.Jobs, jobs, new(replica)
		c.Log = signalled{logOf{c.Log}, changed}
	})
	j := decode[api.Job](t, s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[1,2]}`).body)
	s.until(func() bool { return decode[api.Job](t, s.do("GET", path(j, ""), "").body).State == api.StateSucceeded })
	for _, target := range []string{"/events", "/results"} {
		last := s.last(j)
		jobs.behind.Store(2) // the handler's read and the first read of its wait
		got := make(chan response, 1)
		go func() { got <- s.do("GET", path(j, fmt.Sprintf("%s?after=%d", target, last-1)), "") }()
		changed <- struct{}{}
		if a := <-got; a.status != 200 {
			t.Errorf("%s after %d: %d, want 200: %s", target, last-1, a.status, a.body)
		}
	}
}

func withIDs(events []sseEvent) []sseEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e sseEvent) bool { return e.id == "" })
}

// A client that connects before the first event sees every event as it happens, and the end.
func TestEventsLive(t *testing.T) {
	s := newService(t)
	j := decode[api.Job](t, s.do("POST", "/v1/jobs", `{"kind":"sleep_batch","durations":["20ms","40ms","30ms"]}`).body)
	events := parseSSE(string(s.do("GET", path(j, "/events"), "").body))
	var order []string
	for _, e := range events {
		if e.name == "result" {
			order = append(order, strconv.FormatInt(decode[api.Item](t, []byte(e.data)).Index, 10))
		}
	}
	if got := strings.Join(order, " "); got != "0 2 1" {
		t.Errorf("completed in the order %s", got)
	}
	end := events[len(events)-1]
	if e := decode[api.Job](t, []byte(end.data)); end.name != "end" || e.State != api.StateSucceeded {
		t.Errorf("last: %+v", end)
	}
}

// A cancelled job's events show it. A shutdown ends a stream without an end event, and a wait with the current state.
func TestStopping(t *testing.T) {
	s := newService(t)
	j := s.running()
	done := make(chan response, 2)
	go func() { done <- s.do("GET", path(j, "/events"), "") }()
	go func() { done <- s.do("GET", path(j, ""), "", "Prefer: wait=30") }()
	s.until(func() bool { return s.gauge("gather_http_streams_open") == 2 })
	s.stop()
	stopped := time.Now()
	for range 2 {
		a := <-done
		if time.Since(stopped) > 15*time.Second {
			t.Error("the wait went on")
		}
		if a.status != 200 || strings.Contains(string(a.body), "event: end") {
			t.Errorf("%d: %s", a.status, a.body)
		}
	}
}

// A client that does not read is disconnected; nothing is buffered for it, and it can resume.
func TestSlowReader(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.WriteTimeout = 20 * time.Millisecond })
	j := s.finished(`{"kind":"squares","range":{"stop":1000000}}`)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path(j, "/events"))
	first := bufio.NewReader(conn)
	if line, err := first.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	s.until(func() bool { return s.gauge("gather_http_streams_open") == 0 }) // it was disconnected
	got, err := io.ReadAll(first)
	if err == nil && strings.HasSuffix(string(got), "0\r\n\r\n") {
		t.Error("the stream ended as if it were whole")
	}
	events := parseSSE(string(got))
	if len(events) == 0 || len(events) > 999_999 {
		t.Fatalf("%d events came", len(events))
	}
	rest := s.do("GET", path(j, "/events"), "", "Last-Event-ID: 999000")
	if n := strings.Count(string(rest.body), "event: result"); n < 900 || n > 1100 {
		t.Errorf("resumed with %d results", n)
	}
}

// breaking is a log that fails after some pages.
type breaking struct {
	logOf
	calls atomic.Int64
}

type logOf struct{ api.Log }

func (b *breaking) Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	if b.calls.Add(1) > 6 {
		return nil, errors.New("the disk broke")
	}
	return b.logOf.Log.Log(ctx, id, after, limit)
}

// An error in the middle of a stream is not an end: the client sees an aborted connection.
func TestBrokenStream(t *testing.T) {
	for _, tail := range []string{"/results", "/events"} {
		s := newService(t, func(_ *service, c *api.Config) { c.Log = &breaking{logOf: logOf{c.Log}} })
		j := s.finished(`{"kind":"squares","range":{"stop":200000}}`)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path(j, tail), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/x-ndjson")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil || n == 0 || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, %d bytes, %v", tail, resp.StatusCode, n, err)
		}
		_ = resp.Body.Close()
	}
}

// Pages of results of any size, in both orders, join to the whole, and report when they are complete.
func TestResults(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","range":{"stop":18000}}`)
	for _, order := range []string{"completed", "index"} {
		whole := strings.Split(strings.TrimSpace(string(s.do("GET", path(j, "/results?order="+order), "", "Accept: application/x-ndjson").body)), "\n")
		if len(whole) != 18001 {
			t.Fatalf("%d lines, want 18000 items and the end", len(whole))
		}
		whole = whole[:18000]
		for _, limit := range []int{7000, 9000, 10000, 99999, 18000} {
			n, after := 0, ""
			for complete := false; !complete; {
				a := s.do("GET", path(j, fmt.Sprintf("/results?order=%s&limit=%d%s", order, limit, after)), "")
				page := decode[api.Results](t, a.body)
				for _, it := range page.Items {
					if want := decode[api.Item](t, []byte(whole[n])); it.Index != want.Index || it.Seq != want.Seq || it.Value != want.Value {
						t.Fatalf("item %d: %+v, want %+v", n, it, want)
					}
					n++
				}
				if len(page.Items) == 0 && !page.Complete || len(page.Items) > 10_000 {
					t.Fatalf("a page of %d items", len(page.Items))
				}
				after, complete = fmt.Sprintf("&after=%d", page.NextAfter), page.Complete
			}
			if n != 18000 {
				t.Errorf("%s by %d: %d items", order, limit, n)
			}
		}
	}
	if p := decode[api.Results](t, s.do("GET", path(j, "/results"), "").body); len(p.Items) != 1000 || p.Complete {
		t.Errorf("a default page has %d items", len(p.Items))
	}
	if got := strings.Count(string(s.do("GET", path(j, "/results?limit=5"), "", "Accept: application/x-ndjson").body), "\n"); got != 6 {
		t.Errorf("%d lines, want 5 items and the end", got)
	}
	none := decode[api.Results](t, s.do("GET", path(s.running(), "/results?after=1"), "").body)
	if none.Complete || none.NextAfter != 1 || len(none.Items) != 0 {
		t.Errorf("of a job without results: %+v", none)
	}
	empty := decode[api.Results](t, s.do("GET", path(s.finished(`{"kind":"squares","numbers":[]}`), "/results"), "").body)
	if !empty.Complete || len(empty.Items) != 0 {
		t.Errorf("of an empty job: %+v", empty)
	}
}

// still is a job that changes only when the test changes it.
type still struct {
	*idle
	mu      sync.Mutex
	changed chan struct{}
	log     []job.LogRecord
}

func (s *still) Get(context.Context, string, job.ID) (job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job, nil
}

func (s *still) Log(_ context.Context, _ job.ID, after uint64, _ int) ([]job.LogRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.log), func(r job.LogRecord) bool { return r.Seq <= after }), nil
}

func (s *still) Watch(job.ID) (<-chan struct{}, func()) { return s.changed, func() {} }

func (s *still) apply(e job.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.job, err = job.Apply(s.job, e); err != nil {
		panic(err)
	}
	s.log = append(s.log, job.LogRecord{Seq: s.job.Seq, Event: e})
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func newStill(t *testing.T, options ...func(*api.Config)) (*still, http.Handler) {
	t.Helper()
	i, _ := newIdle(t, 0)
	s := &still{idle: i, changed: make(chan struct{}, 1)}
	i.job = job.Job{}
	s.apply(job.Submitted{Job: job.Job{
		ID: job.NewID(), Tenant: "default", Kind: "squares", Priority: job.Normal, State: job.Queued, CreatedAt: time.Now().UTC(), Tasks: 1,
	}})
	<-s.changed
	c := api.Config{
		Executor: s, Jobs: s, Groups: s, Log: s, Keys: s, Kinds: kind.NewRegistry(kind.DefaultLimits(), nil), Arrays: failingArrays{},
		Nodes: s, Webhooks: webhooks{}, Deliveries: new(journaltest.Volatile), Pauses: failingPauses{}, Schedules: failingSchedules{}, Stopping: context.Background(), Registerer: prometheus.NewRegistry(),
	}
	for _, o := range options {
		o(&c)
	}
	h, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s, h
}

// A wait lasts until the job is in the requested state, at most for the requested time.
func TestWait(t *testing.T) {
	ask := func(h http.Handler, s *still, headers ...string) (*httptest.ResponseRecorder, time.Duration) {
		r := httptest.NewRequestWithContext(context.Background(), "GET", "/v1/jobs/"+s.job.ID.String(), nil)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		began := time.Now()
		h.ServeHTTP(w, r)
		return w, time.Since(began)
	}
	finish := func(s *still) {
		s.apply(job.Started{At: time.Now()})
		s.apply(job.Finished{State: job.Succeeded, At: time.Now()})
	}
	for _, c := range []struct {
		name    string
		headers []string
		after   time.Duration // when the job finishes; 0 is never
		status  int
		took    time.Duration
		applied string
	}{
		{"no wait", nil, 0, 200, 0, ""},
		{"not finished", []string{"Prefer: wait=7"}, 0, 200, 7 * time.Second, "wait=7"},
		{"capped", []string{"Prefer: respond-async, wait=3600"}, 0, 200, 30 * time.Second, "wait=30"},
		{"finished", []string{"Prefer: wait=7"}, 3 * time.Second, 200, 3 * time.Second, "wait=7"},
		{"unchanged", []string{"Prefer: wait=7", `If-None-Match: W/"1"`}, 0, 304, 7 * time.Second, "wait=7"},
		{"changed before", []string{"Prefer: wait=7", `If-None-Match: "x"`}, 0, 200, 0, "wait=7"},
		{"changed", []string{"Prefer: wait=7", `If-None-Match: "0", W/"1"`}, 2 * time.Second, 200, 2 * time.Second, "wait=7"},
		{"other encoding", []string{"Prefer: wait=7", `If-None-Match: W/"1s"`}, 0, 200, 0, "wait=7"},
		{"nonsense", []string{"Prefer: wait=soon"}, 0, 200, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				s, h := newStill(t)
				if c.after > 0 {
					time.AfterFunc(c.after, func() { finish(s) })
				}
				w, took := ask(h, s, c.headers...)
				if w.Code != c.status || took != c.took || w.Header().Get("Preference-Applied") != c.applied {
					t.Errorf("%d after %s, %q", w.Code, took, w.Header().Get("Preference-Applied"))
				}
				if terminal := s.job.State.Terminal(); terminal == (w.Header().Get("Retry-After") != "") {
					t.Errorf("terminal %t, Retry-After %q", terminal, w.Header().Get("Retry-After"))
				}
			})
		})
	}
	t.Run("gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // time is the subject
			s, h := newStill(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, "GET", "/v1/jobs/"+s.job.ID.String(), nil)
			r.Header.Set("Prefer", "wait=20")
			began := time.Now()
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) || time.Since(began) != time.Second {
					t.Errorf("the wait of a client that went ended after %s", time.Since(began))
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), r)
		})
	})
}

// An idle stream is kept alive; progress is sent at most every quarter of a second, and the last progress before the
// end.
func TestStreamTiming(t *testing.T) {
	for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
		t.Run(accept, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				s, h := newStill(t)
				r := httptest.NewRequestWithContext(context.Background(), "GET", "/v1/jobs/"+s.job.ID.String()+"/events", nil)
				r.Header.Set("Accept", accept)
				w := httptest.NewRecorder()
				done := make(chan struct{})
				go func() { defer close(done); h.ServeHTTP(w, r) }()
				time.Sleep(40 * time.Second)
				s.apply(job.Started{At: time.Now()})
				for range 100 { // in a second
					s.apply(job.TaskProgress{Completed: 1})
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(2 * time.Second)
				s.apply(job.Finished{State: job.Succeeded, At: time.Now()})
				<-done
				body := w.Body.String()
				beats, progress := strings.Count(body, ": still here"), strings.Count(body, "event: progress")
				if accept == "application/x-ndjson" {
					progress = strings.Count(body, `"event":"progress"`)
					beats, progress = 2, progress-2
				}
				if beats != 2 || progress < 4 || progress > 6 {
					t.Errorf("%d beats, %d times progress:\n%s", beats, progress, body)
				}
				if !strings.Contains(body, `"completed":100`) {
					t.Errorf("the last progress is missing:\n%s", body)
				}
			})
		})
	}
}
