package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
)

// Config configures the API. The dependencies, Registerer and Stopping are required; a zero bound selects its default.
type Config struct {
	Executor   Executor
	Jobs       Jobs
	Groups     Groups
	Log        Log
	Keys       Keys
	Kinds      Kinds
	Arrays     Arrays
	Nodes      Nodes
	Pauses     Pauses
	Schedules  Schedules
	Webhooks   Webhooks
	Deliveries Deliveries
	// Replica is nil for a server whose reads are always current.
	Replica Replica
	// Tenants is nil for a server without API keys, where every request belongs to tenant.Default.
	Tenants Tenants
	// Hosts restricts the Host and Origin of requests to a server without API keys; nil accepts all.
	Hosts *Hosts

	// Console has the files of the console, index.html among them; nil for none.
	Console fs.FS

	// Ready returns why the server should get no requests: an error of the problem table, such as job.ErrDraining or
	// job.ErrStorage. Nil is always ready.
	Ready func() error
	// Stopping is done when the server shuts down: waits return the current state and event streams end, so that
	// clients reconnect to another server.
	Stopping context.Context

	// Logger logs errors and slow requests; at debug level all requests.
	Logger *slog.Logger
	// AccessLog, if set, logs every request instead.
	AccessLog  *slog.Logger
	Registerer prometheus.Registerer
	// Tracer starts a span for every request; nil for none.
	Tracer trace.Tracer

	// Wall returns the time on the clock of the jobs' timestamps. Default: time.Now.
	Wall func() time.Time

	// Durability is the durability of accepted jobs. Default: "fsync".
	Durability string
	// Retention is how long finished jobs are kept, unless the job sets its own retention; default 24 h. MaxRetention
	// bounds it; default 30 days.
	Retention, MaxRetention time.Duration
	// FailedRetention is the same for jobs that failed and set neither retention; 0 for Retention.
	FailedRetention time.Duration
	// KeyRetention is how long idempotency keys are stored, which bounds how late a schedule may run; default 24 h.
	KeyRetention time.Duration
	// MaxTimeout bounds the timeout of a job; default 366 days.
	MaxTimeout time.Duration
	// MaxBody bounds one body, default 32 MiB; MaxBodies all concurrent bodies, default 256 MiB.
	MaxBody, MaxBodies int64
	// MaxUploads bounds the buffers of all concurrent uploads, default 128 MiB; UploadMemory the buffers of one, in
	// Arrays and here, default 128 KiB.
	MaxUploads, UploadMemory int64
	// MaxReads bounds the memory of all responses with results and events, including their encoding; default 128 MiB.
	MaxReads int64
	// MaxStreams bounds the open waits and streams; default 10 000.
	MaxStreams int64
	// BodyTimeout bounds the reading of a body; default 60 s. WriteTimeout is the window over which a client must read
	// a response at minRate, and the bound of waiting for memory; default 15 s.
	BodyTimeout, WriteTimeout time.Duration
	// SlowRequest is the duration from which a request that neither waits nor streams is logged as slow; default 1 s.
	SlowRequest time.Duration
	// TrustedProxies are the proxies whose X-Forwarded-For determines the logged client address.
	TrustedProxies []netip.Prefix
}

func (c *Config) complete() error {
	if c.Executor == nil || c.Jobs == nil || c.Groups == nil || c.Log == nil || c.Keys == nil || c.Kinds == nil || c.Arrays == nil ||
		c.Nodes == nil || c.Pauses == nil || c.Schedules == nil || c.Webhooks == nil || c.Deliveries == nil {
		return errors.New("api: a dependency is missing in the config")
	}
	if c.Registerer == nil || c.Stopping == nil {
		return errors.New("api: the registerer or the stopping context is missing in the config")
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Durability == "" {
		c.Durability = string(JobDurabilityFsync)
	}
	if !JobDurability(c.Durability).Valid() {
		return fmt.Errorf("api: unknown durability %q", c.Durability)
	}
	const day = 24 * time.Hour
	orDefault(&c.Retention, day)
	orDefault(&c.MaxRetention, max(30*day, c.Retention))
	orDefault(&c.KeyRetention, day)
	orDefault(&c.MaxTimeout, 366*day)
	orDefault(&c.MaxBody, 32<<20)
	orDefault(&c.MaxBodies, max(256<<20, c.MaxBody))
	orDefault(&c.UploadMemory, minUploadMemory)
	orDefault(&c.MaxUploads, max(128<<20, c.UploadMemory))
	orDefault(&c.MaxReads, 128<<20)
	orDefault(&c.MaxStreams, 10_000)
	orDefault(&c.BodyTimeout, time.Minute)
	orDefault(&c.WriteTimeout, 15*time.Second)
	orDefault(&c.SlowRequest, time.Second)
	return nil
}

func orDefault[T time.Duration | int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// server implements the operations of the contract.
type server struct {
	Config
	log     *slog.Logger
	router  chi.Router
	metrics *metrics
	docs    docs
	console map[string]consoleFile
	// queryParams are the query parameters of each operation.
	queryParams queryParams
	// kinds is the response of GET /v1/kinds; kindNames has the kinds' names by their JSON.
	kinds     []byte
	kindNames map[string]string
	// valueKinds has the kinds whose finished jobs include the values of their items.
	valueKinds map[string]bool
	// kindLimits has the limits of each kind, by name.
	kindLimits map[string]map[string]int64

	// streams counts open waits and streams, encoders the compressed responses that are being written.
	streams, encoders atomic.Int64
	// bodies, uploads and readers bound the memory of request bodies, array uploads, and responses with results and
	// events.
	bodies, uploads, readers *budget
}

// A Handler serves the contract.
type Handler interface {
	http.Handler
	// EncodeJob returns a job, and its JSON as GET returns it. Errors: job.ErrNotFound, job.ErrExpired.
	EncodeJob(ctx context.Context, tenant string, id job.ID) (job.Job, []byte, error)
}

// New returns the handler of the whole contract. It fails when the config is incomplete or a kind has no schema in the
// contract.
func New(c Config) (Handler, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &server{Config: c, log: c.Logger, docs: newDocs(), kindNames: make(map[string]string), valueKinds: make(map[string]bool), kindLimits: make(map[string]map[string]int64)}
	s.bodies = newBudget(c.MaxBodies, c.MaxBody, c.Tenants != nil, rejectedBodies, "request bodies")
	s.uploads = newBudget(c.MaxUploads, c.UploadMemory, c.Tenants != nil, rejectedUploads, "uploads")
	s.readers = newBudget(c.MaxReads, readMemory, c.Tenants != nil, rejectedReaders, "results that are being read")
	s.readers.reserve = 0 // every read starts large
	infos := c.Kinds.Describe()
	for _, k := range infos {
		s.kindNames[strconv.Quote(k.Name)] = k.Name
		s.valueKinds[k.Name] = k.Values
		s.kindLimits[k.Name] = k.Limits
	}
	var err error
	if s.kinds, err = describeKinds(infos); err != nil {
		return nil, err
	}
	if s.console, err = newConsole(c.Console); err != nil {
		return nil, err
	}
	if s.queryParams, err = newQueryParams(); err != nil {
		return nil, err
	}
	s.router = s.newRouter()
	s.metrics = newMetrics(c.Registerer, s)
	return s, nil
}

// openStream counts a wait or a stream if MaxStreams allows one more. The caller must then call closeStream.
func (s *server) openStream() bool {
	if s.streams.Add(1) > s.MaxStreams {
		s.streams.Add(-1)
		return false
	}
	return true
}

func (s *server) closeStream() { s.streams.Add(-1) }

var errStreams = &job.Rejection{
	Err: job.ErrQueueFull, Reason: rejectedStreams, RetryAfter: time.Second,
	Detail: "the limit of open streams is reached; poll instead, or repeat the request",
}
