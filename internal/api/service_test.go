package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
	"gather/internal/pause"
	"gather/internal/schedule"
	"gather/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the full stack behind a listener: handlers, executor, kinds, and a journal in memory.
type service struct {
	*httptest.Server
	t        testing.TB
	handler  http.Handler
	executor *executor.Executor
	journal  *journaltest.Volatile
	arrays   *array.Store
	registry *prometheus.Registry
	pauseSet *pause.Set
	logs     *bytes.Buffer
	stop     context.CancelFunc
	key      string // sent with every request unless empty
}

// newService starts a service. Each option may change the config.
func newService(tb testing.TB, options ...func(*service, *api.Config)) *service {
	tb.Helper()
	s := &service{t: tb, journal: new(journaltest.Volatile), registry: prometheus.NewRegistry(), logs: new(bytes.Buffer)}
	kinds := kind.NewRegistry(kind.DefaultLimits(), nil)
	ec := executor.DefaultConfig()
	ec.Journal, ec.Planner, ec.Registerer = s.journal, kinds, prometheus.NewRegistry()
	ec.Logger = slog.New(slog.DiscardHandler)
	var err error
	if s.executor, err = executor.New(tb.Context(), ec); err != nil {
		tb.Fatal(err)
	}
	// Space for two arrays of a hundred float64, but not for one of a thousand.
	s.arrays, err = array.Open(array.Config{Dir: tb.TempDir(), MaxBytes: 4096, TenantBytes: 2048})
	if err != nil {
		tb.Fatal(err)
	}
	stopping, stop := context.WithCancel(context.Background())
	s.stop = stop
	c := api.Config{
		Executor: s.executor, Jobs: s.journal, Groups: s.journal, Log: s.journal, Keys: s.journal, Kinds: kinds, Arrays: s.arrays, Nodes: members{}, Pauses: s.pauses(), Schedules: s.schedules(),
		Webhooks: webhooks{}, Deliveries: s.journal,
		Stopping: stopping, Registerer: s.registry, Logger: slog.New(slog.NewJSONHandler(&lockedWriter{w: s.logs}, nil)),
	}
	for _, o := range options {
		o(s, &c)
	}
	if s.handler, err = api.New(c); err != nil {
		tb.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(s.handler)
	s.Config.MaxHeaderBytes = 16 << 10 // as in cmd/server
	s.Listener = api.Listener(s.Config, s.Listener, c.Logger)
	s.Start()
	tb.Cleanup(func() {
		stop()
		s.Close()
		_ = s.executor.Stop(context.Background())
	})
	return s
}

// webhooks allows the host hooks.example, and gives every job of the tenant acme a webhook.
type webhooks struct{}

func (webhooks) CheckWebhook(_, url string) error {
	if !strings.HasPrefix(url, "https://hooks.example/") {
		return errors.New("is not allowed")
	}
	return nil
}

func (webhooks) TenantWebhooks(tenant string) []job.Webhook {
	if tenant != "acme" {
		return nil
	}
	return []job.Webhook{{URL: "https://acme.example/", Events: job.EventOf(job.Failed), Standing: true}}
}

// pauses returns the pauses of the service.
func (s *service) pauses() *pause.Set {
	s.t.Helper()
	set, err := pause.Open(s.t.Context(), pause.Config{
		Documents: s.journal, Apply: s.executor.SetPauses, Logger: slog.New(slog.DiscardHandler), Registerer: s.registry, Wall: time.Now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(set.Close)
	s.pauseSet = set
	return set
}

// schedules returns the schedules of the service.
func (s *service) schedules() *schedule.Scheduler {
	s.t.Helper()
	set, err := schedule.Open(s.t.Context(), schedule.Config{
		Documents: s.journal, Jobs: s.journal, Executor: s.executor, Logger: slog.New(slog.DiscardHandler), Registerer: s.registry, Wall: time.Now,
		KeyRetention: 24 * time.Hour,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(set.Close)
	return set
}

// failingSchedules fails every call.
type failingSchedules struct{ err error }

func (f failingSchedules) Put(context.Context, string, string, schedule.Definition) (*schedule.Schedule, bool, error) {
	return nil, false, f.err
}

func (f failingSchedules) Get(context.Context, string, string) (*schedule.Schedule, error) {
	return nil, f.err
}
func (failingSchedules) List(string) []*schedule.Schedule               { return nil }
func (f failingSchedules) Delete(context.Context, string, string) error { return f.err }

func (f failingSchedules) SetPaused(context.Context, string, string, bool) (*schedule.Schedule, error) {
	return nil, f.err
}

func (f failingSchedules) Run(context.Context, string, string, string) (job.ID, error) {
	return job.ID{}, f.err
}

// failingPauses fails every change.
type failingPauses struct{ err error }

func (failingPauses) List() []job.Pause { return nil }

func (f failingPauses) Pause(context.Context, job.Pause) (job.Pause, bool, error) {
	return job.Pause{}, false, f.err
}

func (f failingPauses) Resume(context.Context, job.Pause) (bool, error) { return false, f.err }

// withKeys adds a tenant with a key, which the service's requests use.
func withKeys(change func(*tenant.Key)) func(*service, *api.Config) {
	return func(s *service, c *api.Config) {
		key, text, err := tenant.Generate("acme", time.Now())
		if err != nil {
			s.t.Fatal(err)
		}
		if change != nil {
			change(&key)
		}
		store, err := tenant.NewStore([]tenant.Key{key})
		if err != nil {
			s.t.Fatal(err)
		}
		c.Tenants, s.key = store, text
	}
}

// response is a response and its body.
type response struct {
	*http.Response
	status int
	body   []byte
}

// do sends a request; headers are "Name: value".
func (s *service) do(method, path, body string, headers ...string) response {
	s.t.Helper()
	return s.through(s.Client(), method, path, body, headers...)
}

func (s *service) through(client *http.Client, method, path, body string, headers ...string) response {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response{resp, resp.StatusCode, data}
}

// finished submits a job and waits for its end.
func (s *service) finished(body string) api.Job {
	s.t.Helper()
	a := s.do("POST", "/v1/jobs", body, "Prefer: wait=20")
	if a.status != 200 {
		s.t.Fatalf("%d: %s", a.status, a.body)
	}
	return decode[api.Job](s.t, a.body)
}

// running submits a job that runs until it is cancelled.
func (s *service) running() api.Job {
	s.t.Helper()
	a := s.do("POST", "/v1/jobs", `{"kind":"sleep_batch","count":2,"duration":"10m"}`)
	if a.status != 202 {
		s.t.Fatalf("%d: %s", a.status, a.body)
	}
	return decode[api.Job](s.t, a.body)
}

func path(j api.Job, tail string) string { return "/v1/jobs/" + j.Id.String() + tail }

func decode[T any](tb testing.TB, data []byte) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatalf("%v: %s", err, data)
	}
	return v
}

// failing implements the API's dependencies; each call fails.
type failing struct{ err error }

func (f failing) Submit(context.Context, []job.Submission, *job.Key, bool) ([]job.Job, error) {
	return nil, f.err
}

func (f failing) Preview(context.Context, []job.Submission) ([]job.Preview, error) {
	return nil, f.err
}

func (f failing) Cancel(context.Context, string, job.ID) (job.Job, error) { return job.Job{}, f.err }
func (f failing) Outlook(*job.Job) (int, time.Duration)                   { return 0, 0 }
func (f failing) Get(context.Context, string, job.ID) (job.Job, error)    { return job.Job{}, f.err }

func (f failing) Count(context.Context, string, []string) (job.Counts, error) {
	return job.Counts{}, f.err
}

func (f failing) Group(context.Context, string, string) (job.Group, error) { return job.Group{}, f.err }

func (f failing) Groups(context.Context, string, string, int) ([]job.Group, error) {
	return nil, f.err
}

func (f failing) GroupEnds(context.Context, string, string, uint64, int) ([]job.GroupEnd, error) {
	return nil, f.err
}

func (f failing) Spec(context.Context, string, job.ID, int) ([]byte, error) {
	return nil, f.err
}

func (f failing) Delete(context.Context, string, job.ID) error { return f.err }
func (f failing) List(context.Context, job.Query) ([]job.Job, job.ID, error) {
	return nil, job.ID{}, f.err
}

func (failing) Bounds(string) job.Bounds                           { return job.Bounds{} }
func (f failing) Stats(context.Context, string) (job.Stats, error) { return job.Stats{}, f.err }

func (f failing) Nodes(context.Context) ([]job.Node, error) { return nil, f.err }

func (f failing) Reserve(context.Context, job.Key) ([]job.ID, error) { return nil, f.err }
func (f failing) Release(job.Key)                                    {}

// failingArrays implements api.Arrays; each call fails.
type failingArrays struct{ err error }

func (f failingArrays) Put(context.Context, string, string, io.Reader, job.ArrayUpload) (job.Array, bool, error) {
	return job.Array{}, false, f.err
}

func (f failingArrays) Get(context.Context, string, string) (job.Array, error) {
	return job.Array{}, f.err
}

func (f failingArrays) List(context.Context, string, string, int) ([]job.Array, error) {
	return nil, f.err
}

func (f failingArrays) Delete(context.Context, string, string, job.Precondition) error {
	return f.err
}

func (f failingArrays) Open(context.Context, string, string) (job.Array, job.ArrayFile, error) {
	return job.Array{}, nil, f.err
}

// withFailure makes executor, jobs, log, keys and arrays fail.
func withFailure(err error) func(*service, *api.Config) {
	return func(_ *service, c *api.Config) {
		c.Executor, c.Jobs, c.Groups, c.Keys, c.Arrays = failing{err}, failing{err}, failing{err}, failing{err}, failingArrays{err}
		c.Nodes, c.Pauses, c.Schedules = failing{err}, failingPauses{err}, failingSchedules{err}
		c.Ready = func() error { return err }
	}
}
