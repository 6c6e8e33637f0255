package client_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// serverURL is the URL of the service that the examples use.
var serverURL string

func TestMain(m *testing.M) {
	stop := start()
	code := m.Run()
	if err := stop(); err != nil {
		panic(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		panic(err)
	}
}

type noNodes struct{}

func (noNodes) Nodes(context.Context) ([]job.Node, error) {
	return []job.Node{{Name: "a", Self: true}}, nil
}

// noPauses has no pauses.
type noPauses struct{}

func (noPauses) List() []job.Pause { return nil }

func (noPauses) Pause(_ context.Context, p job.Pause) (job.Pause, bool, error) {
	return p, false, job.ErrStorage
}

func (noPauses) Resume(context.Context, job.Pause) (bool, error) { return false, nil }

// anyWebhook allows every URL.
type anyWebhook struct{}

func (anyWebhook) CheckWebhook(string, string) error   { return nil }
func (anyWebhook) TenantWebhooks(string) []job.Webhook { return nil }

// start starts a service with a journal in memory.
func start() (stop func() error) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "gather-client-")
	must(err)
	journal := new(journaltest.Volatile)
	kinds := kind.NewRegistry(kind.DefaultLimits(), nil)
	ec := executor.DefaultConfig()
	ec.Journal, ec.Planner, ec.Registerer, ec.Logger = journal, kinds, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	exec, err := executor.New(context.Background(), ec)
	must(err)
	arrays, err := array.Open(array.Config{Dir: dir})
	must(err)
	stopping, stopAPI := context.WithCancel(context.Background())
	handler, err := api.New(api.Config{
		Executor: exec, Jobs: journal, Groups: journal, Log: journal, Keys: journal, Kinds: kinds, Arrays: arrays, Nodes: noNodes{}, Pauses: noPauses{}, Schedules: struct{ api.Schedules }{}, Webhooks: anyWebhook{}, Deliveries: journal,
		Stopping: stopping, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	must(err)
	s := httptest.NewServer(handler)
	serverURL = s.URL
	return func() error {
		stopAPI()
		s.Close()
		_ = exec.Stop(context.Background())
		return os.RemoveAll(dir)
	}
}
