package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/api"
	"gather/internal/bucket"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/mapping"
	"gather/internal/outbound"
	"gather/internal/pause"
	"gather/internal/schedule"
	"gather/internal/tenant"
	"gather/web"
)

// server connects the packages and runs the process.
//
// Shutdown runs these steps in order:
//  1. /readyz turns 503, and everything else continues for the drain delay.
//  2. Submissions are rejected; reads continue. A node of a cluster stops pulling tasks and announces that it drains.
//  3. No further HTTP request of a job or to a webhook is sent; those in flight have half of the drain timeout to end.
//  4. The executor starts no further task; running ones finish, or are cancelled after the drain timeout. Tasks that
//     wait on a timer are released to other nodes, or resume at the next start.
//  5. Waits return the current state, streams end, and both listeners close.
//  6. The journal flushes and closes, or the node leaves its cluster.
type server struct {
	cfg *serveCmd
	// log limits how often a message is logged; accessLog, nil without --access-log, does not.
	log, accessLog *slog.Logger

	registry *prometheus.Registry
	backend  backend
	buckets  *bucket.Set
	maps     *mapping.Pool // of files read in place
	// outbound sends the requests of jobs.
	outbound *outbound.Sender
	// executor is nil until the backend is open, because the backend reads the executor's load.
	executor atomic.Pointer[executor.Executor]
	pauses   *pause.Set
	// schedules submits recurring jobs.
	schedules *schedule.Scheduler
	// closeTracing sends the remaining spans.
	closeTracing func(context.Context) error
	tenants      *tenant.Store // nil without API keys
	settings     atomic.Pointer[tenantSettings]
	webhooks     *webhooks
	api          *http.Server
	ops          *http.Server // nil without a metrics listener
	admin        *http.Server // nil without an admin socket

	// leaving is set when the shutdown begins, draining after the drain delay.
	leaving, draining atomic.Bool
	// hup triggers a reload of the key file.
	hup chan os.Signal
	// streams is the context of waits and streams.
	streams    context.Context
	endStreams context.CancelFunc

	apiListener, opsListener, adminListener net.Listener
}

// Limits of the listeners without a setting.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	// maxPending bounds the bytes that wait for the disk: a large body with its results, and little more memory.
	maxPending = 40 << 20
	// spareProcessors are additional processors for requests and the journal.
	spareProcessors = 2
	// closeTimeout bounds how long requests may take to end after waits and streams have ended.
	closeTimeout = 5 * time.Second
	// storageTimeout bounds how long the stores may take to close. A cluster needs five seconds of it when the NATS servers do not answer.
	storageTimeout = 10 * time.Second
)

// newServer opens the backend, recovers its jobs and opens the listeners. The caller must call run.
func newServer(ctx context.Context, c *serveCmd, log *slog.Logger) (_ *server, err error) {
	// If workers were busy on every processor of the Go scheduler, requests would wait for its time slices of 10 ms.
	// With spare processors the kernel shares the CPUs, and prefers goroutines that waited for the network.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), int(c.Workers.n)+spareProcessors))
	c.applyMemory(readMemory(memlimit.FromCgroup, memlimit.FromSystem))
	s := &server{cfg: c, registry: newRegistry(), hup: make(chan os.Signal, 1)}
	registerMemory(s.registry, c.memory)
	if c.AccessLog {
		s.accessLog = log
	}
	log = slog.New(newLimitedHandler(log.Handler()))
	s.log = log
	signal.Notify(s.hup, syscall.SIGHUP) // without a receiver the signal would end the process
	var undo []func()
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()
	if err := s.loadTenants(); err != nil {
		return nil, err
	}
	tracer, closeTracing, err := openTracing(ctx)
	if err != nil {
		return nil, err
	}
	s.closeTracing = closeTracing
	s.maps = mapping.NewPool()
	undo = append(undo, func() { _ = s.maps.Close() })
	if s.backend, err = s.openBackend(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = s.backend.Close() })

	if s.buckets, err = bucket.Open(c.ArrayBucket, s.maps); err != nil {
		return nil, fmt.Errorf("--array-bucket: %w", err)
	}
	undo = append(undo, func() { _ = s.buckets.Close() })
	if err := registerArrays(s.registry, s.backend.arrays, s.buckets); err != nil {
		return nil, err
	}
	kinds := kind.NewRegistry(kind.Limits{
		Items: c.MaxItems.n, Digits: c.MaxDigits.n, Chunks: c.MaxChunks.n, Outputs: c.MaxOutputs.n,
	}, newStoredArrays(s.backend.arrays, s.buckets, log))
	if kinds, err = s.openOutbound(kinds); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = s.closeOutbound() })
	if s.pauses, err = s.openPauses(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, s.pauses.Close)
	exec, err := s.newExecutor(ctx, kinds, tracer)
	if err != nil {
		return nil, err
	}
	s.executor.Store(exec)
	exec.SetPauses(job.NewPauses(s.pauses.List())) // changes since they were read
	undo = append(undo, func() { _ = exec.Stop(context.Background()) })

	if s.schedules, err = s.openSchedules(ctx, exec); err != nil {
		return nil, err
	}
	undo = append(undo, s.schedules.Close)

	s.streams, s.endStreams = context.WithCancel(context.Background())
	undo = append(undo, s.endStreams)
	handler, err := s.newHandler(exec, kinds, tracer)
	if err != nil {
		return nil, err
	}
	undo = append(undo, s.closeWebhooks)
	s.api = s.httpServer(handler)
	if s.apiListener, err = listen(ctx, "listen", c.Listen); err != nil {
		return nil, err
	}
	s.apiListener = api.Listener(s.api, s.apiListener, cmp.Or(s.accessLog, s.log))
	undo = append(undo, func() { _ = s.apiListener.Close() })
	if c.MetricsListen != "" {
		hosts := &api.Hosts{Loopback: loopback(c.MetricsListen), Allowed: c.AllowedHosts}
		s.ops = s.httpServer(opsHandler(s.registry, log, hosts))
		if s.opsListener, err = listen(ctx, "metrics-listen", c.MetricsListen); err != nil {
			return nil, err
		}
	}
	s.openAdmin(ctx)
	return s, nil
}

func (s *server) newExecutor(ctx context.Context, kinds executor.Planner, tracer trace.Tracer) (*executor.Executor, error) {
	c, ec := s.cfg, executor.DefaultConfig()
	ec.Workers, ec.MaxJobs, ec.MaxBytes, ec.MaxWaiting = int(c.Workers.n), int(c.QueueJobs.n), c.QueueBytes.n, c.WaitingItems.n
	ec.ShortWorkers = 1
	ec.Journal, ec.Room, ec.Planner, ec.Logger, ec.Registerer = s.backend, s.backend.room, kinds, s.log, s.registry
	ec.Pauses = job.NewPauses(s.pauses.List())
	ec.MaxResultBytes, ec.Results = c.MaxResult.n, s.backend.results
	ec.Cluster, ec.Tracer, ec.WorkerStart, ec.Wall = s.backend.cluster, tracer, lowerPriority, s.backend.wall
	if s.tenants != nil {
		ec.TenantJobs, ec.TenantResultBytes = s.tenants.MaxQueued, s.tenants.MaxResultBytes
	}
	return executor.New(ctx, ec)
}

// openSchedules reads the schedules, and submits their runs.
func (s *server) openSchedules(ctx context.Context, exec *executor.Executor) (*schedule.Scheduler, error) {
	wall := s.backend.wall
	if wall == nil {
		wall = time.Now
	}
	return schedule.Open(ctx, schedule.Config{
		Documents: s.backend, Jobs: s.backend, Executor: exec, Leads: s.backend.leads, KeyRetention: s.cfg.KeyRetention.d, Webhooks: s.TenantWebhooks,
		Wall: wall, Logger: s.log, Registerer: s.registry,
	})
}

// openPauses reads the pauses, and makes the backend and the executor hold paused jobs.
func (s *server) openPauses(ctx context.Context) (*pause.Set, error) {
	wall := s.backend.wall
	if wall == nil {
		wall = time.Now
	}
	return pause.Open(ctx, pause.Config{
		Documents: s.backend, Logger: s.log, Registerer: s.registry, Wall: wall, Apply: func(p job.Pauses) {
			if s.backend.setPauses != nil {
				s.backend.setPauses(p)
			}
			if e := s.executor.Load(); e != nil {
				e.SetPauses(p)
			}
		},
	})
}

func (s *server) newHandler(exec *executor.Executor, kinds api.Kinds, tracer trace.Tracer) (http.Handler, error) {
	c := s.cfg
	ac := api.Config{
		Executor: exec, Jobs: s.backend, Groups: s.backend, Log: s.backend, Keys: s.backend, Nodes: s.backend.nodes, Pauses: s.pauses, Schedules: s.schedules, KeyRetention: c.KeyRetention.d, Webhooks: s, Deliveries: s.backend, Replica: s.backend.replica, Kinds: kinds, Arrays: s.backend.arrays,
		Durability: s.backend.durability, Ready: s.ready, Wall: s.backend.wall, Stopping: s.streams, Logger: s.log, AccessLog: s.accessLog, Registerer: s.registry, Tracer: tracer,
		Retention: c.Retention.d, FailedRetention: c.FailRetention.d, MaxRetention: c.MaxRetention.d, MaxBody: c.MaxBody.n, MaxStreams: c.MaxStreams.n,
		// At least one body and one upload of the maximum size fit.
		MaxBodies: max(c.RequestBytes.n/2, c.MaxBody.n), MaxUploads: max(c.RequestBytes.n/4, s.backend.uploadMemory), MaxReads: c.RequestBytes.n / 4,
		UploadMemory: s.backend.uploadMemory,
	}
	if c.UI {
		ac.Console = web.Files
	}
	for _, p := range c.TrustedProxies {
		ac.TrustedProxies = append(ac.TrustedProxies, netip.MustParsePrefix(p)) // validated
	}
	if s.tenants != nil {
		ac.Tenants = s.tenants
	} else {
		ac.Hosts = &api.Hosts{Loopback: loopback(c.Listen), Allowed: c.AllowedHosts, Origins: c.CORSOrigins}
	}
	h, err := api.New(ac)
	if err != nil {
		return nil, err
	}
	s.openWebhooks(h)
	return allowOrigins(c.CORSOrigins, h), nil
}

func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: limitUnsent}
	lc.SetMultipathTCP(false) // its connections would not inherit the limit
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// httpServer returns a server without a write timeout: waits and streams set their own deadlines.
func (s *server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func (s *server) loadTenants() error {
	if s.cfg.APIKeys == "" {
		return nil
	}
	content, err := tenant.LoadFile(s.cfg.APIKeys)
	if err == nil {
		err = s.applySettings(content.Tenants)
	}
	if err == nil {
		s.tenants, err = tenant.NewStore(content.Keys)
	}
	if err != nil {
		return fmt.Errorf("--api-keys %s: %w", s.cfg.APIKeys, err)
	}
	return nil
}

// reloadTenants reloads the key file; an invalid file is logged and changes nothing.
func (s *server) reloadTenants() {
	if s.tenants == nil {
		return
	}
	content, err := tenant.LoadFile(s.cfg.APIKeys)
	if err == nil {
		_, err = parseSettings(content.Tenants)
	}
	if err == nil {
		err = s.tenants.Replace(content.Keys)
	}
	if err != nil {
		s.log.Error("the key file is invalid; the keys are unchanged", "error", err)
		return
	}
	_ = s.applySettings(content.Tenants) // parsed before
	s.log.Info("reloaded the key file", "keys", len(content.Keys))
}

// ready returns the state that /readyz reports.
func (s *server) ready() error {
	if s.leaving.Load() {
		return job.ErrDraining
	}
	return s.backend.Ready()
}

// run serves until ctx is done, then shuts down.
func (s *server) run(ctx context.Context) error {
	defer signal.Stop(s.hup)
	failed := make(chan error, 3)
	serving := 0
	for srv, l := range map[*http.Server]net.Listener{s.api: s.apiListener, s.ops: s.opsListener, s.admin: s.adminListener} {
		if srv != nil {
			serving++
			go func() { failed <- serve(srv, l) }() // ends with Shutdown
		}
	}
	metrics := ""
	if s.ops != nil {
		metrics = s.opsListener.Addr().String()
	}
	s.log.Info("serving", append([]any{
		"api", s.apiListener.Addr().String(), "metrics", metrics, "data_dir", s.cfg.DataDir,
		"workers", s.cfg.Workers.n, "memory_limit", s.cfg.memory.limit, "queue_bytes", s.cfg.QueueBytes.n,
		"request_bytes", s.cfg.RequestBytes.n, "version", version(),
	}, s.backend.startupAttrs...)...)
	var err error
	for waiting := true; waiting; {
		select {
		case <-s.hup:
			s.reloadTenants()
		case err = <-failed:
			serving--
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	s.leaving.Store(true)
	if err == nil && s.cfg.DrainDelay.d > 0 {
		s.log.Info("not ready; requests are still served", "drain_delay", s.cfg.DrainDelay.d)
		select {
		case <-time.After(s.cfg.DrainDelay.d):
		case err = <-failed:
			serving--
		}
	}
	err = errors.Join(err, s.shutdown())
	for range serving {
		err = errors.Join(err, <-failed)
	}
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}

func serve(srv *http.Server, l net.Listener) error {
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// shutdown runs the steps documented at server.
func (s *server) shutdown() error {
	s.draining.Store(true)
	s.backend.drain()
	s.schedules.Close()
	exec := s.executor.Load()
	exec.Drain()

	grace, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout.d)
	defer cancel()
	s.drainOutbound(grace)
	s.closeWebhooks()
	stopped := exec.Stop(grace)
	if stopped != nil {
		s.log.Warn("running tasks did not finish in time; they restart at the next start, or on another node",
			"drain_timeout", s.cfg.DrainTimeout.d, "error", stopped)
	}

	s.endStreams()
	closing, cancelClosing := context.WithTimeout(context.Background(), closeTimeout)
	defer cancelClosing()
	for _, srv := range []*http.Server{s.api, s.ops, s.admin} {
		if srv == nil {
			continue
		}
		if err := srv.Shutdown(closing); err != nil {
			s.log.Warn("requests did not end in time; their connections are closed", "error", err)
			_ = srv.Close()
		}
	}
	if err := s.closeTracing(closing); err != nil {
		s.log.Warn("spans were lost", "error", err)
	}
	if err := s.closeOutbound(); err != nil {
		s.log.Warn("close the connections of jobs", "error", err)
	}
	s.pauses.Close()
	if err := s.closeStorage(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// closeStorage closes the stores, or gives up after a timeout: then the end of the process closes them. Everything
// acknowledged is already on disk.
func (s *server) closeStorage() error {
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(s.backend.Close(), s.buckets.Close(), s.maps.Close()) }() // ends with the process at the latest
	select {
	case err := <-closed:
		return err
	case <-time.After(storageTimeout):
		return errors.New("closing the storage timed out")
	}
}
