package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// jobStore has the methods that executor and API need of a journal, so that both compared journals are wired in the same way.
type jobStore interface {
	executor.Journal
	jobReader
	api.Keys
	api.Deliveries
}

// A jobReader reads jobs and their logs.
type jobReader interface {
	api.Jobs
	api.Groups
	api.Log
}

// noPauses has no pauses.
type noPauses struct{}

// List implements api.Pauses.
func (noPauses) List() []job.Pause { return nil }

// Pause implements api.Pauses.
func (noPauses) Pause(_ context.Context, p job.Pause) (job.Pause, bool, error) {
	return p, false, job.ErrStorage
}

// Resume implements api.Pauses.
func (noPauses) Resume(context.Context, job.Pause) (bool, error) { return false, nil }

// noWebhooks allows no webhook.
type noWebhooks struct{}

// CheckWebhook implements api.Webhooks.
func (noWebhooks) CheckWebhook(string, string) error { return errors.New("is not allowed") }

// TenantWebhooks implements api.Webhooks.
func (noWebhooks) TenantWebhooks(string) []job.Webhook { return nil }

// noNodes is the list of nodes of a server without a cluster.
type noNodes struct{}

// Nodes implements api.Nodes.
func (noNodes) Nodes(context.Context) ([]job.Node, error) { return nil, nil }

// serve is a server process that can run without a journal; everything else is as in cmd/server.
func serve(args []string) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	volatile := fs.Bool("volatile", false, "keep the jobs in memory only")
	listen := fs.String("listen", "", "address of the API")
	opsListen := fs.String("metrics-listen", "", "address of the metrics")
	dir := fs.String("data-dir", "", "directory of the journal")
	_ = fs.String("log-format", "json", "ignored: always JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	reg := prometheus.NewRegistry()

	ec := executor.DefaultConfig()
	var rec jobStore = &journaltest.Volatile{}
	if !*volatile {
		j, err := journal.Open(ctx, journal.Config{Dir: *dir, Logger: log, Registerer: reg})
		if err != nil {
			return err
		}
		defer func() { _ = j.Close() }()
		rec, ec.Room = j, j.Room
	}
	arrays, err := array.Open(array.Config{Dir: filepath.Join(*dir, "arrays"), MaxBytes: 1 << 20, TenantBytes: 1 << 20})
	if err != nil {
		return err
	}
	kinds := kind.NewRegistry(kind.DefaultLimits(), nil) // no stored arrays
	ec.Journal, ec.Planner, ec.Logger, ec.Registerer = rec, kinds, log, reg
	exec, err := executor.New(ctx, ec)
	if err != nil {
		return err
	}
	handler, err := api.New(api.Config{
		Executor: exec, Jobs: rec, Groups: rec, Log: rec, Keys: rec, Kinds: kinds, Arrays: arrays, Nodes: noNodes{}, Pauses: noPauses{}, Schedules: struct{ api.Schedules }{}, Webhooks: noWebhooks{}, Deliveries: rec, Stopping: ctx,
		Logger: log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	ops := http.NewServeMux()
	ops.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))

	var lc net.ListenConfig
	apiListener, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	opsListener, err := lc.Listen(ctx, "tcp", *opsListen)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	servers := []*http.Server{
		{Handler: handler, ReadHeaderTimeout: 5 * time.Second},
		{Handler: ops, ReadHeaderTimeout: 5 * time.Second},
	}
	for i, l := range []net.Listener{apiListener, opsListener} {
		go func() { failed <- servers[i].Serve(l) }() // ends with Close
	}
	log.Info("serving", "api", apiListener.Addr().String(), "metrics", opsListener.Addr().String())
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	for _, s := range servers {
		err = errors.Join(err, s.Close())
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, exec.Stop(grace))
}
