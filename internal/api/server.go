package api

import (
	"context"
	"errors"
	"fmt"
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

// Config is how the API is set up. The rooms, the registerer and Stopping must be given; a zero bound is read as its
// default.
type Config struct {
	Executor Executor
	Jobs     Jobs
	Log      Log
	Keys     Keys
	Kinds    Kinds
	Arrays   Arrays
	Nodes    Nodes
	// Replica is nil for a server whose reads are always current.
	Replica Replica
	// Tenants is nil for a server without keys, where everyone is tenant.Default.
	Tenants Tenants
	// Hosts restricts the Host and Origin of requests to a server without keys; nil accepts all.
	Hosts *Hosts

	// Ready returns why no request should be sent here: an error of the problem table, such as job.ErrDraining or
	// job.ErrStorage. Nil is always ready.
	Ready func() error
	// Stopping is done when the server shuts down: waits answer with the current state and event streams end, so that
	// clients reconnect, to another server.
	Stopping context.Context

	// Logger takes requests that were answered with an error, or slowly; all of them at debug level.
	Logger *slog.Logger
	// AccessLog, if there is one, takes every request instead.
	AccessLog  *slog.Logger
	Registerer prometheus.Registerer
	// Tracer makes a span of every request; nil for none.
	Tracer trace.Tracer

	// Wall reads the clock that the instants of jobs are of; time.Now.
	Wall func() time.Time

	// Durability is the durability of a job that is answered 202: "fsync" by default.
	Durability string
	// Retention is how long jobs are kept after their end, unless the job sets its own; 24 h. MaxRetention bounds that;
	// 30 days.
	Retention, MaxRetention time.Duration
	// MaxTimeout bounds the timeout of a job; 366 days.
	MaxTimeout time.Duration
	// MaxBody bounds one body, 32 MiB; MaxBodies all bodies that are being read and accepted, 256 MiB.
	MaxBody, MaxBodies int64
	// MaxUploads bounds the buffers of all uploads of arrays, 128 MiB; UploadMemory is the most that one of them holds, in
	// Arrays and here, 128 KiB.
	MaxUploads, UploadMemory int64
	// MaxReads bounds the memory of all answers for results and events that they read, and their encoding; 128 MiB.
	MaxReads int64
	// MaxStreams bounds the waits and streams that are open at the same time; 10 000.
	MaxStreams int64
	// BodyTimeout bounds the reading of a body, 60 s. WriteTimeout, 15 s, is the time over which a client must read an answer
	// at minRate, and bounds how long a read waits for memory.
	BodyTimeout, WriteTimeout time.Duration
	// SlowRequest is from where a request that neither waits nor streams is logged as slow; 1 s.
	SlowRequest time.Duration
	// TrustedProxies are the proxies whose X-Forwarded-For is used as the client address in the log.
	TrustedProxies []netip.Prefix
}

func (c *Config) complete() error {
	if c.Executor == nil || c.Jobs == nil || c.Log == nil || c.Keys == nil || c.Kinds == nil || c.Arrays == nil ||
		c.Nodes == nil {
		return errors.New("api: a room is missing in the config")
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

// server carries the contract out. Its operations are in the files of their subjects.
type server struct {
	Config
	log     *slog.Logger
	router  chi.Router
	metrics *metrics
	docs    docs
	// queryParams are the query parameters that each operation takes.
	queryParams queryParams
	// kinds is the answer of GET /v1/kinds; kindNames has the names of the kinds by their JSON.
	kinds     []byte
	kindNames map[string]string
	// valueKinds has the kinds whose finished jobs show the values of their items.
	valueKinds map[string]bool

	// streams counts the waits and streams that are open, of MaxStreams.
	streams atomic.Int64
	// bodies is the budget of request bodies, uploads that of uploads of arrays, readers that of answers with results
	// and events.
	bodies, uploads, readers *budget
}

// New returns the handler of the whole contract. It returns an error when the config is not complete, or a kind has no
// schema in the contract.
func New(c Config) (http.Handler, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &server{Config: c, log: c.Logger, docs: newDocs(), kindNames: make(map[string]string), valueKinds: make(map[string]bool)}
	s.bodies = newBudget(c.MaxBodies, c.MaxBody, c.Tenants != nil, refusedBodies, "request bodies")
	s.uploads = newBudget(c.MaxUploads, c.UploadMemory, c.Tenants != nil, refusedUploads, "uploads")
	s.readers = newBudget(c.MaxReads, readMemory, c.Tenants != nil, refusedReaders, "results that are being read")
	s.readers.reserve = 0 // every read begins large
	infos := c.Kinds.Describe()
	for _, k := range infos {
		s.kindNames[strconv.Quote(k.Name)] = k.Name
		s.valueKinds[k.Name] = k.Values
	}
	var err error
	if s.kinds, err = describeKinds(infos); err != nil {
		return nil, err
	}
	if s.queryParams, err = newQueryParams(); err != nil {
		return nil, err
	}
	s.router = s.newRouter()
	if s.metrics, err = newMetrics(c.Registerer, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Routes returns the routes that are served, for inspection.
func (s *server) Routes() chi.Routes { return s.router }

// openStream counts a wait or a stream in, if there is room for one more. The caller then calls s.closeStream.
func (s *server) openStream() bool {
	if s.streams.Add(1) > s.MaxStreams {
		s.streams.Add(-1)
		return false
	}
	return true
}

func (s *server) closeStream() { s.streams.Add(-1) }

var errStreams = &job.Rejection{
	Err: job.ErrQueueFull, Reason: refusedStreams, RetryAfter: time.Second,
	Detail: "the limit of open streams is reached; poll instead, or repeat the request",
}
