package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// idle is an executor and a journal that do nothing, so that the benchmark measures only the handlers.
type idle struct {
	failing
	job   job.Job
	block job.Items
	spec  []byte
}

func (i *idle) Submit(_ context.Context, subs []job.Submission, _ *job.Key, _ bool) ([]job.Job, error) {
	jobs := make([]job.Job, len(subs))
	for n := range jobs {
		jobs[n] = i.job
	}
	return jobs, nil
}

func (i *idle) Get(context.Context, string, job.ID) (job.Job, error) { return i.job, nil }

func (i *idle) Spec(context.Context, string, job.ID, int) ([]byte, error) { return i.spec, nil }

func (i *idle) Log(_ context.Context, _ job.ID, after uint64, _ int) ([]job.LogRecord, error) {
	n := uint64(i.block.Len())
	if after >= i.job.Seq-1 {
		return []job.LogRecord{{Seq: i.job.Seq, Event: job.Finished{State: job.Succeeded, At: i.job.FinishedAt}}}, nil
	}
	return []job.LogRecord{{Seq: after + n, Event: job.TaskProgress{Items: i.block}}}, nil
}

func (i *idle) ItemsByIndex(context.Context, job.ID, int64, int) ([]job.Item, error) { return nil, nil }

func (i *idle) Watch(job.ID) (<-chan struct{}, func()) { return nil, func() {} }

func newIdle(tb testing.TB, items int) (*idle, http.Handler) {
	tb.Helper()
	now := time.Now().UTC()
	i := &idle{job: job.Job{
		ID: job.NewID(), Tenant: "default", Kind: "squares", Priority: job.Normal, State: job.Queued, Seq: 1, CreatedAt: now,
		Progress: job.Progress{Total: 5},
	}}
	if items > 0 {
		for n := range 16384 {
			i.block.Add(int64(n), fmt.Append(nil, n*n), time.Duration(n))
		}
		blocks := (items + i.block.Len() - 1) / i.block.Len()
		i.job.State, i.job.Seq, i.job.FinishedAt = job.Succeeded, uint64(blocks*i.block.Len())+1, now
		i.job.Progress.Total = int64(items)
	}
	h, err := api.New(api.Config{
		Executor: i, Jobs: i, Groups: i, Log: i, Keys: i, Kinds: kind.NewRegistry(kind.DefaultLimits(), nil), Arrays: failingArrays{},
		Nodes: i, Webhooks: webhooks{}, Deliveries: new(journaltest.Volatile), Pauses: failingPauses{}, Schedules: failingSchedules{}, Stopping: context.Background(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return i, h
}

// sink is a response writer that discards the response.
type sink struct {
	header http.Header
	status int
	n      int64
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(c int)   { s.status = c }
func (s *sink) Write(b []byte) (int, error) {
	if s.n += int64(len(b)); s.status == 0 {
		s.status = http.StatusOK
	}
	return len(b), nil
}
func (s *sink) Flush() {}

func benchmark(b *testing.B, h http.Handler, status int, method, path, body string, header http.Header) {
	b.Helper()
	req := httptest.NewRequestWithContext(b.Context(), method, path, nil)
	req.Header = header
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.ContentLength = int64(len(body))
	}
	w := &sink{header: make(http.Header)}
	text := []byte(body)
	var reader bytes.Reader
	b.ReportAllocs()
	for b.Loop() {
		if body != "" {
			reader.Reset(text)
			req.Body = io.NopCloser(&reader)
		}
		clear(w.header)
		w.status = 0
		h.ServeHTTP(w, req)
		if w.status != status {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkSubmit(b *testing.B) {
	_, h := newIdle(b, 0)
	benchmark(b, h, 202, "POST", "/v1/jobs", `{"kind":"squares","numbers":[1,2,3,4,5]}`, http.Header{})
}

func BenchmarkGet(b *testing.B) {
	i, h := newIdle(b, 0)
	benchmark(b, h, 200, "GET", "/v1/jobs/"+i.job.ID.String(), "", http.Header{})
}

// A million items, as NDJSON and as events; reports the time per item.
func BenchmarkItems(b *testing.B) {
	const items = 1 << 20
	i, h := newIdle(b, items)
	for _, c := range []struct{ name, tail, accept string }{
		{"results", "/results", "application/x-ndjson"},
		{"results as strings", "/results?int_encoding=string", "application/x-ndjson"},
		{"events", "/events", "text/event-stream"},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchmark(b, h, 200, "GET", "/v1/jobs/"+i.job.ID.String()+c.tail, "", http.Header{"Accept": {c.accept}})
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/items, "ns/item")
		})
	}
}
