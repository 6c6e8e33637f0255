package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// decodingLog returns copies of its records, like a journal on disk.
type decodingLog struct{ *journaltest.Volatile }

func (l decodingLog) Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	records, err := l.Volatile.Log(ctx, id, after, limit)
	for i, r := range records {
		if e, ok := r.Event.(job.TaskProgress); ok {
			var items job.Items
			for k := range e.Items.Len() {
				it := e.Items.At(k)
				items.Add(it.Index, it.Value, it.Duration)
			}
			e.Items = items
			records[i].Event = e
		}
	}
	return records, err
}

func (l decodingLog) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error) {
	items, err := l.Volatile.ItemsByIndex(ctx, id, after, limit)
	for i := range items {
		items[i].Value = bytes.Clone(items[i].Value)
	}
	return items, err
}

// pipeListener accepts unbuffered connections, so that a client that does not read blocks the server's writes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// servePipes serves unbuffered connections.
func servePipes(t *testing.T, h http.Handler) *pipeListener {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
	return l
}

// dial opens a connection.
func (l *pipeListener) dial(t *testing.T) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l.conns <- server
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

const (
	largeItems = 100
	largeItem  = 200_000 // digits
	itemsEvent = 10      // items of an event
	maxReads   = 8 << 20
)

// largeJob is a job with 20 MB of results on a server with 8 MiB for readers, in a synctest bubble.
type largeJob struct {
	t  *testing.T
	l  *pipeListener
	id job.ID
}

func newLargeJob(t *testing.T) *largeJob {
	t.Helper()
	if testing.Short() {
		t.Skip("writes some 20 MB, slowly, of which the race detector, which runs with -short, sees nothing new")
	}
	v := new(journaltest.Volatile)
	id := job.NewID()
	at := time.Now()
	events := []job.Event{
		job.Submitted{Job: job.Job{
			ID: id, Tenant: "default", Kind: "squares", State: job.Queued, CreatedAt: at, Retention: 24 * time.Hour,
			Tasks: largeItems / itemsEvent, Progress: job.Progress{Total: largeItems},
		}},
		job.Started{At: at},
	}
	for first := 0; first < largeItems; first += itemsEvent {
		e := job.TaskProgress{Task: first / itemsEvent, Done: true, Completed: itemsEvent}
		for i := first; i < first+itemsEvent; i++ {
			e.Items.Add(int64(i), bytes.Repeat([]byte{'1' + byte(i%9)}, largeItem), 0)
		}
		events = append(events, e)
	}
	events = append(events, job.Finished{At: at, State: job.Succeeded, Result: bytes.Repeat([]byte{'1'}, 20_000)})
	var failed error
	err := v.Append(t.Context(), job.Batch{
		Entries: []job.Entry{{ID: id, Events: events}}, Done: func(err error) { failed = err },
	})
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	h, err := api.New(api.Config{
		Executor: failing{}, Jobs: v, Groups: v, Log: decodingLog{v}, Keys: v, Kinds: kind.NewRegistry(kind.DefaultLimits(), nil),
		Arrays: failingArrays{}, Nodes: members{}, Webhooks: webhooks{}, Deliveries: v, Pauses: failingPauses{}, Schedules: failingSchedules{}, Stopping: context.Background(), Registerer: prometheus.NewRegistry(), MaxReads: maxReads,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &largeJob{t: t, l: servePipes(t, h), id: id}
}

// ask sends a request about the job and returns the connection without reading from it.
func (j *largeJob) ask(tail, accept string) net.Conn {
	j.t.Helper()
	return j.get("/"+j.id.String()+"/"+tail, accept)
}

// get sends a request for a path below /v1/jobs.
func (j *largeJob) get(path, accept string) net.Conn {
	j.t.Helper()
	client := j.l.dial(j.t)
	_, err := fmt.Fprintf(client, "GET /v1/jobs%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: %s\r\n\r\n", path, accept)
	if err != nil {
		j.t.Fatal(err)
	}
	return client
}

var largeResponses = map[string][2]string{
	"a page":             {"results?limit=10000", "application/json"},
	"a page by index":    {"results?limit=10000&order=index", "application/json"},
	"NDJSON":             {"results", "application/x-ndjson"},
	"NDJSON by index":    {"results?order=index", "application/x-ndjson"},
	"events":             {"events", "text/event-stream"},
	"events as NDJSON":   {"events", "application/x-ndjson"},
	"events from within": {"events?after=55", "text/event-stream"},
}

// Clients that do not read use at most MaxReads of memory, however large the results are, and are disconnected.
func TestStalledReaders(t *testing.T) {
	for name, ask := range largeResponses {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newLargeJob(t)
				before := heap()
				var conns []net.Conn
				for range 20 {
					conns = append(conns, j.ask(ask[0], ask[1]))
				}
				synctest.Wait()
				if got, most := heap()-before, int64(maxReads+512<<10); got > most {
					t.Errorf("20 clients hold %d bytes, want at most %d", got, most)
				}
				// The first are disconnected after WriteTimeout; the others wait for memory, and are rejected or
				// disconnected.
				time.Sleep(4 * 15 * time.Second)
				synctest.Wait()
				for i, c := range conns {
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Fatalf("client %d: got %v, want the connection closed", i, err)
					}
				}
				// All memory is free again.
				for range 4 {
					j.ask(ask[0], ask[1])
				}
				synctest.Wait()
				if got := heap() - before; got < maxReads/2 {
					t.Errorf("4 clients after them hold %d bytes, want at least %d", got, maxReads/2)
				}
			})
		})
	}
}

// heap returns the size of what is referenced. A sync.Pool keeps its content over one collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client slower than minRate is disconnected; a slow client above it gets the whole response.
func TestSlowReaders(t *testing.T) {
	for name, ask := range largeResponses {
		for rate, whole := range map[int]bool{2 << 10: false, 10 << 10: true, 32 << 10: true} {
			t.Run(fmt.Sprintf("%s at %d", name, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newLargeJob(t).ask(ask[0], ask[1])
					got, err := int64(0), error(nil)
					for buf := make([]byte, rate/4); err == nil; {
						var n int
						n, err = c.Read(buf)
						got += int64(n)
						time.Sleep(time.Second / 4 * time.Duration(n) / time.Duration(len(buf)))
					}
					if least := int64(4 << 20); whole != (got >= least) || !errors.Is(err, io.EOF) {
						t.Errorf("%d bytes a second: got %d bytes and %v, want at least %d: %t", rate, got, err, least, whole)
					}
				})
			})
		}
	}
}

// readResponse reads a response to its end, and returns the time until it started.
func (j *largeJob) readResponse(conn net.Conn) (status int, body []byte, took time.Duration) {
	j.t.Helper()
	began := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		j.t.Fatal(err)
	}
	body, err = io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		j.t.Errorf("after %d bytes: %v", len(body), err)
	}
	return resp.StatusCode, body, time.Since(began)
}

// A client waits for memory while others stall, and then gets its response.
func TestReadersTakeTurns(t *testing.T) {
	for name, c := range map[string]struct {
		path func(*largeJob) string
		want string
	}{
		"results": {func(j *largeJob) string { return "/" + j.id.String() + "/results?limit=3" }, `"index":2`},
		"jobs":    {func(*largeJob) string { return "?page_size=32" }, `"jobs":[{`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newLargeJob(t)
				for range 4 { // one of them also waits
					j.ask("results", "application/x-ndjson")
				}
				synctest.Wait()
				status, body, took := j.readResponse(j.get(c.path(j), "application/json"))
				if status != http.StatusOK || !bytes.Contains(body, []byte(c.want)) {
					t.Errorf("got %d with %d bytes, want 200 with %s: %.300s", status, len(body), c.want, body)
				}
				if took == 0 || took > 16*time.Second {
					t.Errorf("the response came after %s, want after the first were disconnected, at most 16 s", took)
				}
			})
		})
	}
}

// A client that reads slowly but steadily keeps its memory while others stall and wait.
func TestSteadyReaderAmongStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newLargeJob(t)
		steady := j.ask("results", "application/x-ndjson")
		synctest.Wait()
		for range 20 {
			j.ask("results", "application/x-ndjson")
		}
		got, waited, err := 0, time.Duration(0), error(nil)
		for buf := make([]byte, 64<<10); err == nil; {
			began := time.Now()
			var n int
			n, err = io.ReadFull(steady, buf)
			got, waited = got+n, waited+time.Since(began)
			time.Sleep(time.Second)
			if got < largeItems*largeItem/2 { // so that other clients always wait
				j.ask("results", "application/x-ndjson")
			}
		}
		if want := largeItems * largeItem; got < want || waited > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %d bytes and %v, and waited %s for them; want all results, more than %d, without a wait", got, err, waited, want)
		}
	})
}

// A list of jobs that is not read reserves about its own size, not the size of the largest list.
func TestStalledListHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newLargeJob(t)
		j.get("?page_size=200", "application/json")
		synctest.Wait()
		if status, body, took := j.readResponse(j.ask("results?limit=3", "application/json")); status != http.StatusOK || took != 0 {
			t.Errorf("got %d after %s, want 200 immediately: %.300s", status, took, body)
		}
	})
}

// Idle streams reserve no memory for results.
func TestIdleStreamsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newStill(t, func(c *api.Config) { c.MaxReads = maxReads })
		j := &largeJob{t: t, l: servePipes(t, h), id: s.job.ID}
		for range 20 {
			conn := j.ask("events", "text/event-stream")
			go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the server
		}
		synctest.Wait()
		if status, body, took := j.readResponse(j.ask("results", "application/json")); status != http.StatusOK || took != 0 {
			t.Errorf("got %d after %s, want 200 immediately: %.300s", status, took, body)
		}
	})
}

// A page larger than the readers' budget can still be read.
func TestLittleReadMemory(t *testing.T) {
	for name, option := range map[string]func(*service, *api.Config){"with keys": withKeys(nil), "without keys": func(*service, *api.Config) {}} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, option, func(_ *service, c *api.Config) { c.MaxReads = 64 << 10 })
			j := s.finished(`{"kind":"squares","numbers":[1,2]}`)
			for _, target := range []string{"/v1/jobs?page_size=200", path(j, "/results"), path(j, "/results?order=index"), path(j, "/events")} {
				if a := s.do("GET", target, ""); a.status != http.StatusOK {
					t.Errorf("%s: got %d, want 200: %s", target, a.status, a.body)
				}
			}
		})
	}
}

// A JSON page of large items ends early, and its cursor continues.
func TestLargePages(t *testing.T) {
	for _, order := range []string{"completed", "index"} {
		synctest.Test(t, func(t *testing.T) {
			j := newLargeJob(t)
			pages, next := 0, int64(0)
			if order == "index" {
				next = -1
			}
			var indexes []int64
			for complete := false; !complete; pages++ {
				c := j.ask(fmt.Sprintf("results?limit=10000&order=%s&after=%d", order, next), "application/json")
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || len(body) > 6<<20 {
					t.Fatalf("got %d with %d bytes, %v; want 200 with about 4 MiB", resp.StatusCode, len(body), err)
				}
				var page struct {
					Items []struct {
						Index int64
						Value json.Number
					}
					NextAfter int64 `json:"next_after"`
					Complete  bool
				}
				if err := json.Unmarshal(body, &page); err != nil {
					t.Fatal(err)
				}
				for _, it := range page.Items {
					indexes = append(indexes, it.Index)
					if want := byte('1' + it.Index%9); len(it.Value) != largeItem || it.Value[0] != want {
						t.Fatalf("item %d has %d digits, want %d of %c", it.Index, len(it.Value), largeItem, want)
					}
				}
				next, complete = page.NextAfter, page.Complete
			}
			if pages < 4 || len(indexes) != largeItems {
				t.Errorf("got %d items in %d pages, want %d in at least 4", len(indexes), pages, largeItems)
			}
			for i, index := range indexes {
				if index != int64(i) {
					t.Fatalf("item %d has index %d, want each once, in order", i, index)
				}
			}
		})
	}
}
