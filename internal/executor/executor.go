// Package executor runs the tasks of all jobs on one bounded pool of workers, fairly.
//
// Guarantees.
//   - Admission is bounded (jobs, bytes, waiting items, a quota for each tenant) and never blocks: a submission over a
//     bound is rejected with a *job.Rejection, which has a Retry-After.
//   - A submission is answered only when the journal has it on disk. Its tasks may run before that; their progress is
//     visible when the journal has it.
//   - Workers take one task at a time: between priorities by weight, within a priority alternately from new and from
//     running jobs. So a small job behind a huge one starts immediately, and no job starves.
//   - A short job does not wait for a step of another: there is a worker more for such jobs, which gather_workers leaves out.
//   - A waiting task holds no worker. A job is reported cancelled, or timed out, only when none of its tasks runs.
//   - An error or a panic of a kind's code fails that job alone.
//   - A job recovered from the journal resumes after its last finished task.
//
// Workers run every task under a lease. On one server the lease is local: the executor has all jobs, in a queue over the
// journal. With a Cluster in its Config an executor is one of several that share the jobs: the cluster checks the bounds,
// has the queue, ends the jobs, and grants leases of single tasks; see Cluster. One node at a time has the
// lease of a task, a job ends when no node has one, and Stop releases the leases of waiting tasks immediately.
//
// Goroutines. New starts the workers, one goroutine for timers (waits, delayed starts, timeouts) and, on a node of a
// cluster, one that receives leases; Stop ends and waits for them. Two contexts govern them: claiming ends at the call of
// Stop, working at the end of its grace period.
//
// Failure. While the journal cannot write, submissions are rejected with job.ErrStorage, and workers begin no step while it
// has no room for results; they continue when the journal does. A worker never waits for room with a job locked, so that
// the job can be cancelled.
package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
)

// Journal is the durable record that the executor writes.
type Journal interface {
	// Append queues a batch; the batch's Done is called when it is durable. It may block, until ctx is done, while too many bytes
	// wait to be written. A batch with a submission may be rejected with a *job.Rejection of job.ErrStorage.
	Append(ctx context.Context, b job.Batch) error
	// Release releases the idempotency key of a batch that will not be appended. Append takes over the key of its batch.
	Release(key job.Key)
	// Recover visits every job that is not terminal, oldest first.
	Recover(ctx context.Context, visit func(j job.Job, spec []byte, log job.LogSeq) error) error
	// Get returns the durable view; job.ErrNotFound, job.ErrExpired.
	Get(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Elapsed returns how long ago a recorded instant was, not counting steps of the wall clock since, as far as the record
	// has them.
	Elapsed(since time.Time) time.Duration
}

// Planner makes plans of specs.
type Planner interface {
	// Plan validates a tenant's spec: *fields.Errors with every error. It returns the plan, and the spec to store. A plan
	// that is an io.Closer is closed when its job has ended.
	Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error)
	// Replan plans a stored spec. An error fails the job.
	Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error)
	// Names lists the kinds, for metrics.
	Names() []string
}

// Config has the bounds and the dependencies of an executor. Bounds must be positive; New checks them.
type Config struct {
	// Workers is the size of the pool.
	Workers int
	// ShortWorkers is the number of workers in addition to Workers that take only short new jobs, of a normal or high priority.
	// WorkerStart is not called for them: a short job waits neither for a step of a long one nor for a thread of lower priority. A
	// node of a cluster has none.
	ShortWorkers int
	// MaxJobs bounds the jobs that are admitted and not terminal. This and the bounds below count the jobs of all nodes.
	MaxJobs int
	// MaxBytes bounds the memory of admitted plans.
	MaxBytes int64
	// MaxWaiting bounds the items of admitted jobs that wait at the same time.
	MaxWaiting int64
	// MaxResultBytes bounds the results of a job, in bytes as they are stored; 0 is no bound.
	MaxResultBytes int64
	// TenantResultBytes returns a tenant's quota of bytes of stored results; 0 is no quota. Nil is none for all.
	TenantResultBytes func(tenant string) int64
	// Results returns the bytes of results that the journal has taken of an unfinished job, and of all jobs of a tenant that
	// are not deleted. Nil is for no TenantResultBytes.
	Results func(tenant string, id job.ID) (ofJob, ofTenant int64)
	// WorkerStart is called by each worker's goroutine before its first task. The worker calls the function that it returns
	// between two steps. Nil for nothing.
	WorkerStart func() (betweenSteps func())
	// Pauses are the pauses at the start; see SetPauses.
	Pauses job.Pauses
	// TenantJobs returns a tenant's quota of jobs that are not terminal; 0 is no quota. Nil is none for all.
	TenantJobs func(tenant string) int
	// MaxStartAfter bounds how far ahead a start may be.
	MaxStartAfter time.Duration

	Journal Journal
	// Room returns nil while the journal takes results, otherwise a channel that is closed when that may have changed: no
	// task starts until then. Nil for a journal that always does.
	Room    func() <-chan struct{}
	Planner Planner
	// Cluster is shared with the other nodes; nil for an executor that has all jobs to itself.
	Cluster    Cluster
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Wall reads the clock of instants: time.Now, or the clock that the nodes of a cluster share. The clock may be set at any
	// time. Durations are measured on the monotonic clock.
	Wall func() time.Time
	// Tracer makes the spans of jobs; nil for none.
	Tracer trace.Tracer
}

// DefaultConfig returns the bounds of a server of no particular size.
func DefaultConfig() Config {
	return Config{
		Workers:       runtime.GOMAXPROCS(0),
		MaxJobs:       100_000,
		MaxBytes:      1 << 30,
		MaxWaiting:    4_000_000,
		MaxStartAfter: 366 * 24 * time.Hour,
	}
}

func (c *Config) validate() error {
	var errs []error
	for _, b := range []struct {
		name  string
		value int64
	}{
		{"workers", int64(c.Workers)},
		{"max jobs", int64(c.MaxJobs)},
		{"max bytes", c.MaxBytes},
		{"max waiting items", c.MaxWaiting},
		{"max start after", int64(c.MaxStartAfter)},
	} {
		if b.value < 1 {
			errs = append(errs, fmt.Errorf("%s must be positive, got %d", b.name, b.value))
		}
	}
	return errors.Join(errs...)
}

// ErrStuck is returned by Stop when a task does not return.
var ErrStuck = errors.New("a cancelled task does not return")

// abortGrace is how long Stop waits for tasks that it has cancelled.
const abortGrace = 3 * time.Second

// The causes with which a task's context ends.
var (
	errStopping  = errors.New("the executor is stopping")
	errCancelled = errors.New("the job was cancelled")
)

// Executor runs jobs. Its methods are safe for concurrent use.
type Executor struct {
	cfg     Config
	submit  submitter
	source  taskSource
	log     *slog.Logger
	metrics *metrics
	timers  *timers
	born    time.Time
	// longSteps has the kinds of which a long step was logged.
	longSteps sync.Map

	// work ends with the grace period of Stop, with cause errStopping; every task's context derives from it.
	work     context.Context
	stopWork context.CancelCauseFunc
	// claims ends when claiming does.
	claims    context.Context
	endClaims context.CancelFunc
	workers   []*worker
	wg        sync.WaitGroup

	mu       sync.Mutex
	ready    sync.Cond // signalled when the queue gets work, or claiming ends
	short    sync.Cond // the same for short workers and short jobs
	idle     int       // short workers that wait
	queue    queue
	jobs     map[job.ID]*jobExecution
	free     int            // workers that claim a task
	tenants  map[string]int // admitted jobs by tenant
	bytes    int64          // admitted
	waiting  int64          // admitted
	draining bool           // no submission is admitted
	claiming bool           // workers take tasks
	finishes job.Rate
	pauses   job.Pauses
	paused   map[*jobExecution]struct{} // jobs that have not started, and that a pause holds
	// dependents has the jobs that wait for other jobs, by the jobs that they wait for.
	dependents map[job.ID]map[*jobExecution]struct{}
}

// New makes an executor, recovers the journal's jobs and starts its goroutines. The caller must call Stop.
func New(ctx context.Context, cfg Config) (*Executor, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	e := &Executor{
		cfg:      cfg,
		born:     time.Now(),
		log:      cfg.Logger,
		jobs:     make(map[job.ID]*jobExecution),
		tenants:  make(map[string]int),
		claiming: true,
		pauses:   cfg.Pauses,
		paused:   make(map[*jobExecution]struct{}),

		dependents: make(map[job.ID]map[*jobExecution]struct{}),
	}
	e.ready.L, e.short.L = &e.mu, &e.mu
	e.work, e.stopWork = context.WithCancelCause(context.Background())
	e.claims, e.endClaims = context.WithCancel(context.Background())
	e.timers = newTimers(cfg.Wall)
	for range cfg.Workers {
		e.workers = append(e.workers, &worker{e: e})
	}
	e.submit, e.source = localDispatcher{e}, localDispatcher{e}
	if cfg.Cluster != nil {
		d := newClusterDispatcher(e, cfg.Cluster)
		e.submit, e.source = d, d
		defer func() { d.receiver.Go(d.receive) }() // after the metrics, which count leases
	}
	e.metrics = newMetrics(cfg.Registerer, e, cfg.Planner.Names())
	if cfg.Cluster == nil {
		if err := e.recover(ctx); err != nil {
			e.timers.close()
			<-e.timers.done
			return nil, fmt.Errorf("recover jobs: %w", err)
		}
	}
	for _, w := range e.workers {
		e.wg.Go(w.loop)
	}
	for range cfg.ShortWorkers {
		if cfg.Cluster == nil {
			e.wg.Go((&worker{e: e}).loopShort)
		}
	}
	return e, nil
}

// Drain ends admission: every later submission is rejected with job.ErrDraining.
func (e *Executor) Drain() {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
}

func (e *Executor) isDraining() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining
}

// Stop drains, takes no further task, lets the running ones finish until ctx is done, and then cancels the rest.
// Unfinished jobs stay in the journal and are resumed by the next executor. It returns nil if every running task could
// finish, otherwise the cause of ctx; then every goroutine of the executor has ended. It returns ErrStuck when a task does
// not return within abortGrace of being cancelled, as in a read of a mount that hangs: its goroutine and its plan stay.
func (e *Executor) Stop(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.source.stopClaiming()
	e.timers.close()

	idle := make(chan struct{})
	go func() { // ends with the workers and the timers, for which this function waits
		e.wg.Wait()
		<-e.timers.done
		close(idle)
	}()
	err := await(ctx, idle)
	if err != nil {
		e.stopWork(errStopping)
		final, cancel := context.WithTimeoutCause(context.Background(), abortGrace, ErrStuck)
		defer cancel()
		if stuck := await(final, idle); stuck != nil {
			return fmt.Errorf("%w: %w", stuck, err)
		}
	}
	err = cmp.Or(err, await(ctx, e.source.drained()))
	e.stopWork(errStopping)
	for _, x := range e.executions() {
		x.mu.Lock()
		x.leave()
		x.mu.Unlock()
	}
	return err
}

// wall returns the time of the wall clock.
func (e *Executor) wall() time.Time { return e.cfg.Wall().UTC() }

// await waits for done until ctx is: then it returns the cause, unless both are.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	default:
		return context.Cause(ctx)
	}
}

// endClaiming ends the taking of tasks.
func (e *Executor) endClaiming() {
	e.mu.Lock()
	e.claiming = false
	e.endClaims()
	e.ready.Broadcast()
	e.short.Broadcast()
	e.mu.Unlock()
}

func (e *Executor) isClaiming() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.claiming
}

// executions returns the jobs that are executed here.
func (e *Executor) executions() []*jobExecution {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.jobs))
}
