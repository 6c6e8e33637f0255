package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gather/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// list is a source of requests to URLs.
type list struct {
	method string
	header []outbound.Header
	body   string
	urls   []string
}

func (l *list) Request(i int64) (*outbound.Request, error) {
	u, err := url.Parse(l.urls[i])
	method := l.method
	if method == "" {
		method = http.MethodGet
	}
	return &outbound.Request{Method: method, URL: u, Header: l.header, Body: l.body}, err
}

func (l *list) Host(i int64) string {
	u, _ := url.Parse(l.urls[i])
	return u.Host
}

func (*list) Result(_ int64, o *outbound.Outcome) (value []byte, failure string) {
	value = fmt.Appendf(nil, "%d %s %d", o.Status, o.Body, o.Attempts)
	if o.Class != "" {
		return value, string(o.Class) + ": " + o.Error
	}
	if o.Status >= 400 {
		return value, fmt.Sprint(o.Status)
	}
	return value, ""
}

func repeat(link string, n int) *list { return &list{urls: slices.Repeat([]string{link}, n)} }

func options(l *list) outbound.Options {
	return outbound.Options{
		Source: l, Items: int64(len(l.urls)), Concurrency: 1000, Timeout: time.Minute, MaxBody: 1 << 10,
		Retry: outbound.RetryPolicy{Attempts: 1}, Success: func(s int) bool { return s < 400 },
	}
}

// world answers requests after a time.
type world struct {
	takes   time.Duration
	respond func(r *http.Request, n int) (*http.Response, error)

	mu       sync.Mutex
	inFlight map[string]int // by host; "" for all
	most     map[string]int
	sent     []time.Time
	hosts    []string
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	if w.inFlight == nil {
		w.inFlight, w.most = make(map[string]int), make(map[string]int)
	}
	for _, h := range []string{"", r.URL.Host} {
		w.inFlight[h]++
		w.most[h] = max(w.most[h], w.inFlight[h])
	}
	n := len(w.sent)
	w.sent, w.hosts = append(w.sent, time.Now()), append(w.hosts, r.URL.Host)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inFlight[""]--
		w.inFlight[r.URL.Host]--
	}()
	select {
	case <-time.After(w.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if w.respond != nil {
		return w.respond(r, n)
	}
	return response(200, ""), nil
}

func response(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func sender(t *testing.T, w http.RoundTripper, change ...func(*outbound.Config)) *outbound.Sender {
	t.Helper()
	c := outbound.Config{Policy: policy(t, "*,127.0.0.0/8"), InFlight: 1000, Bytes: 1 << 30, UserAgent: "gather/test", Registerer: prometheus.NewRegistry()}
	for _, f := range change {
		f(&c)
	}
	s, err := outbound.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if w != nil {
		s.SetTransport(w)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// collect returns the outcomes of a batch, by item, and its retries.
func collect(t *testing.T, b *outbound.Batch) (map[int64]outbound.Result, []outbound.Retry) {
	t.Helper()
	all, retries := make(map[int64]outbound.Result), []outbound.Retry(nil)
	for {
		ready := make(chan struct{})
		b.Await(func() { close(ready) })
		<-ready
		results, again, ended := b.Collect()
		retries = append(retries, again...)
		for _, r := range results {
			if _, twice := all[r.Item]; twice {
				t.Errorf("item %d has two outcomes", r.Item)
			}
			all[r.Item] = r
		}
		if ended {
			return all, retries
		}
	}
}

// A job of ten requests beside one of many is served immediately, although the many would take every place.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: 10 * time.Second}
		s := sender(t, w, func(c *outbound.Config) { c.InFlight = 100 })
		ctx, cancel := context.WithCancel(t.Context())
		giant := options(repeat("http://giant.example/", 100_000))
		giant.Job = [16]byte{1}
		big := s.Start(ctx, giant)
		time.Sleep(15 * time.Second)
		w.mu.Lock()
		if got := w.most["giant.example"]; got != 80 {
			t.Errorf("the giant has %d requests in flight, want 80 of 100", got)
		}
		w.mu.Unlock()
		before := time.Now()
		small := options(repeat("http://small.example/", 10))
		small.Job = [16]byte{2}
		results, _ := collect(t, s.Start(t.Context(), small))
		if d := time.Since(before); d != 10*time.Second || len(results) != 10 {
			t.Errorf("ten requests took %v with %d outcomes, want 10s: all sent immediately", d, len(results))
		}
		cancel()
		collect(t, big)
	})
}

// While two jobs have requests they alternate; of two priorities the higher has four times as many.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: time.Second}
		s := sender(t, w, func(c *outbound.Config) { c.InFlight = 1 })
		var batches []*outbound.Batch
		for i, priority := range []int{1, 1, 2} {
			o := options(repeat(fmt.Sprintf("http://job%d.example/", i), 100))
			o.Job, o.Priority = [16]byte{byte(i)}, priority
			batches = append(batches, s.Start(t.Context(), o))
		}
		time.Sleep(50 * time.Second)
		counts := make(map[string]int)
		w.mu.Lock()
		for _, h := range w.hosts {
			counts[h]++
		}
		w.mu.Unlock()
		if a, b, c := counts["job0.example"], counts["job1.example"], counts["job2.example"]; max(a-b, b-a) > 1 || c < 38 || c > 42 {
			t.Errorf("the jobs have sent %d, %d and %d requests, want the same and four times both", a, b, c)
		}
		for _, b := range batches {
			b.Stop()
			collect(t, b)
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := &list{}
		for i := range 100 {
			hosts.urls = append(hosts.urls, fmt.Sprintf("http://host%d.example/", i/50))
		}
		for _, tt := range []struct {
			name   string
			change func(*outbound.Options)
			took   time.Duration
			most   map[string]int
		}{
			{"concurrency", func(o *outbound.Options) { o.Concurrency = 10 }, 10 * time.Second, map[string]int{"": 10}},
			{"per host", func(o *outbound.Options) { o.PerHost = 5 }, 10 * time.Second, map[string]int{"": 10, "host0.example": 5, "host1.example": 5}},
			{"both", func(o *outbound.Options) { o.PerHost, o.Concurrency = 20, 25 }, 5 * time.Second, map[string]int{"": 25, "host0.example": 20}},
			{"rate", func(o *outbound.Options) { o.Interval = 100 * time.Millisecond }, 10900 * time.Millisecond, map[string]int{"": 11}},
			{"high rate", func(o *outbound.Options) { o.Interval = time.Millisecond }, 1099 * time.Millisecond, map[string]int{"": 100}},
			{"start", func(o *outbound.Options) { o.Interval, o.Start = 1, time.Now().Add(5*time.Second) }, 6 * time.Second, map[string]int{"": 100}},
			{"none", func(*outbound.Options) {}, time.Second, map[string]int{"": 100}},
		} {
			w := &world{takes: time.Second}
			o := options(hosts)
			tt.change(&o)
			before := time.Now()
			results, _ := collect(t, sender(t, w).Start(t.Context(), o))
			if d := time.Since(before).Truncate(time.Millisecond); len(results) != 100 || max(d-tt.took, tt.took-d) > 15*time.Millisecond {
				t.Errorf("%s: %d outcomes after %v, want 100 after %v", tt.name, len(results), d, tt.took)
			}
			for h, want := range tt.most {
				if got := w.most[h]; got > want || got < want-1 {
					t.Errorf("%s: %d requests in flight to %q, want %d", tt.name, got, h, want)
				}
			}
		}
	})
}

func TestRetries(t *testing.T) {
	type answer struct {
		status  int
		after   string // Retry-After
		respond func(*http.Request, int) (*http.Response, error)
	}
	refused := answer{respond: func(*http.Request, int) (*http.Response, error) { return nil, syscall.ECONNREFUSED }}
	for _, tt := range []struct {
		name        string
		method      string
		answer      answer
		change      func(*outbound.Options)
		attempts    int
		least, most time.Duration // of the waits
	}{
		{"success", "GET", answer{status: 200}, nil, 1, 0, 0},
		{"not found", "GET", answer{status: 404}, nil, 1, 0, 0},
		{"unavailable", "GET", answer{status: 503}, nil, 4, 0, 7 * time.Second},
		{"timeout", "PUT", answer{status: 408}, nil, 4, 0, 7 * time.Second},
		{"too early", "DELETE", answer{status: 425}, nil, 4, 0, 7 * time.Second},
		{"too many", "HEAD", answer{status: 429, after: "10"}, nil, 4, 30 * time.Second, 37 * time.Second},
		{"date", "GET", answer{respond: func(*http.Request, int) (*http.Response, error) {
			return response(503, "", "Retry-After", time.Now().Add(10*time.Second).UTC().Format(http.TimeFormat)), nil
		}}, nil, 4, 27 * time.Second, 37 * time.Second},
		{"too long", "GET", answer{status: 503, after: "999999999"}, nil, 1, 0, 0},
		{"not idempotent", "POST", answer{status: 503}, nil, 1, 0, 0},
		{"unsafe", "POST", answer{status: 503}, func(o *outbound.Options) { o.Retry.Unsafe = true }, 4, 0, 7 * time.Second},
		{"connection", "GET", refused, nil, 4, 0, 7 * time.Second},
		{"connection of POST", "POST", refused, nil, 1, 0, 0},
		{"a success", "GET", answer{status: 503}, func(o *outbound.Options) { o.Success = func(int) bool { return true } }, 1, 0, 0},
		{"max", "GET", answer{status: 500}, func(o *outbound.Options) { o.Retry.Attempts, o.Retry.Max = 20, 0 }, 20, 0, 0},
		{"then success", "GET", answer{respond: func(_ *http.Request, n int) (*http.Response, error) {
			return response([]int{503, 500, 200}[n], ""), nil
		}}, nil, 3, 0, 3 * time.Second},
		{"slow", "GET", answer{respond: func(r *http.Request, _ int) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		}}, func(o *outbound.Options) { o.Timeout = 5 * time.Second }, 4, 20 * time.Second, 27 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{respond: tt.answer.respond}
				if w.respond == nil {
					w.respond = func(*http.Request, int) (*http.Response, error) {
						return response(tt.answer.status, "", "Retry-After", tt.answer.after), nil
					}
				}
				l := repeat("http://api.example/", 1)
				l.method = tt.method
				o := options(l)
				o.Retry = outbound.RetryPolicy{Attempts: 4, Backoff: time.Second, Max: time.Minute}
				if tt.change != nil {
					tt.change(&o)
				}
				before := time.Now()
				results, retries := collect(t, sender(t, w).Start(t.Context(), o))
				d := time.Since(before) - 100*time.Millisecond // lingers
				if len(w.sent) != tt.attempts || d > tt.most || time.Since(before) < tt.least {
					t.Errorf("%d attempts in %v, want %d in %v to %v", len(w.sent), d, tt.attempts, tt.least, tt.most)
				}
				if got := string(results[0].Value); !strings.HasSuffix(got, fmt.Sprint(" ", tt.attempts)) {
					t.Errorf("the outcome is %q, want %d attempts", got, tt.attempts)
				}
				if len(retries) != tt.attempts-1 {
					t.Errorf("got %d retries, want %d", len(retries), tt.attempts-1)
				}
			})
		})
	}
}

// Retries of before a restart keep their attempts and their time, and done items are not sent.
func TestRestoredRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{respond: func(*http.Request, int) (*http.Response, error) { return response(503, ""), nil }}
		o := options(repeat("http://api.example/", 4))
		o.Done = []bool{true, true, false, true}
		o.Retry = outbound.RetryPolicy{Attempts: 4}
		o.Retries = []outbound.Retry{{Item: 3, Attempts: 3, At: time.Now().Add(time.Hour)}, {Item: 1, Attempts: 2, At: time.Now().Add(-time.Hour)}}
		before := time.Now()
		results, _ := collect(t, sender(t, w).Start(t.Context(), o))
		if d := time.Since(before); d < time.Hour || d > time.Hour+time.Second || len(results) != 3 || len(w.sent) != 4+2+1 {
			t.Errorf("%d outcomes and %d requests after %v, want 3 and 7 after an hour", len(results), len(w.sent), d)
		}
	})
}

// After the end of the context no request is sent, and the batch reports when the last one has ended.
func TestCancel(t *testing.T) {
	for name, stop := range map[string]func(b *outbound.Batch, cancel func()){
		"context": func(_ *outbound.Batch, cancel func()) { cancel() },
		"stop":    func(b *outbound.Batch, _ func()) { b.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{takes: time.Second}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := options(repeat("http://api.example/", 1000))
				o.Concurrency = 10
				b := sender(t, w).Start(ctx, o)
				time.Sleep(1500 * time.Millisecond)
				stop(b, cancel)
				results, _ := collect(t, b)
				sent := len(w.sent)
				if len(results) != 10 || sent != 20 || w.inFlight[""] != 0 {
					t.Errorf("%d outcomes of %d requests, %d in flight; want 10, 20 and 0", len(results), sent, w.inFlight[""])
				}
				time.Sleep(time.Hour)
				if len(w.sent) != sent {
					t.Errorf("%d requests were sent after the end", len(w.sent)-sent)
				}
			})
		})
	}
}

func TestFailFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: time.Second, respond: func(_ *http.Request, n int) (*http.Response, error) { return response([]int{200, 404}[n/10], ""), nil }}
		o := options(repeat("http://api.example/", 20))
		o.Concurrency, o.FailFast = 10, true
		results, _ := collect(t, sender(t, w).Start(t.Context(), o))
		failed := 0
		for _, r := range results {
			if r.Failure != "" {
				failed++
			}
		}
		if len(results) < 11 || failed < 1 || len(w.sent) != 20 {
			t.Errorf("%d outcomes, %d failed, of %d requests; want 10 and the failures of 20", len(results), failed, len(w.sent))
		}
	})
}

// Outcomes that nobody collects are bounded, and so are the bytes of responses in flight.
func TestUncollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: time.Millisecond}
		s := sender(t, w)
		b := s.Start(t.Context(), options(repeat("http://api.example/", 100_000)))
		time.Sleep(time.Minute)
		w.mu.Lock()
		sent := len(w.sent)
		w.mu.Unlock()
		if sent < 1024 || sent > 2048 {
			t.Errorf("%d requests were sent while nobody collects, want at most 1024 and 1000", sent)
		}
		b.Stop()
		collect(t, b)

		slow := &world{takes: time.Second}
		s = sender(t, slow, func(c *outbound.Config) { c.Bytes = 10 << 10 })
		if results, _ := collect(t, s.Start(t.Context(), options(repeat("http://api.example/", 100)))); len(results) != 100 || slow.most[""] != 10 {
			t.Errorf("%d outcomes with %d in flight, want 100 with 10: the bodies of the others have no room", len(results), slow.most[""])
		}
	})
}

// Drain sends nothing more, and returns when the requests in flight have ended and are collected.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: 10 * time.Second}
		s := sender(t, w)
		o := options(repeat("http://api.example/", 100))
		o.Concurrency = 10
		ctx, cancel := context.WithCancel(t.Context())
		b := s.Start(ctx, o)
		time.Sleep(time.Second)
		go func() {
			ready := make(chan struct{})
			b.Await(func() { close(ready) })
			<-ready
			b.Collect()
		}()
		before := time.Now()
		s.Drain(t.Context())
		if d := time.Since(before); d != 9*time.Second || len(w.sent) != 10 {
			t.Errorf("drained after %v with %d requests, want 9s and 10", d, len(w.sent))
		}
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		s.Drain(short)
		cancel()
		collect(t, b)
	})
}

func TestConfig(t *testing.T) {
	if _, err := outbound.New(outbound.Config{Bytes: 1}); err == nil {
		t.Error("no bound is no error")
	}
	_, err := outbound.New(outbound.Config{InFlight: 1, Bytes: 1, SecretsDir: t.TempDir() + "/none"})
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("got %v, want that the directory does not exist", err)
	}
}
