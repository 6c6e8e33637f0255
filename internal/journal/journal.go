package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
	"gather/internal/journal/retryfs"
)

// The errors of Open.
var (
	// ErrLocked: another process, or another Journal of this process, uses the data directory.
	ErrLocked = errors.New("the data directory is in use by another server")
	// ErrFormat: this version cannot read the format of the data directory.
	ErrFormat = errors.New("the data directory has a format that this version does not read")
	// ErrDamaged: data that had been synced to disk is missing or unreadable. If writes or files are missing, nothing was changed.
	ErrDamaged = errors.New("the data directory is damaged")
	// ErrDiskFull: the disk has no space to open the journal. The data is intact.
	ErrDiskFull = errors.New("the disk is full; the data is whole: free some space and start again")
	// ErrClosed: the journal is closed. It wraps job.ErrStorage.
	ErrClosed = fmt.Errorf("%w: it is closed", job.ErrStorage)
)

// Config configures a Journal. Zero values select the defaults.
type Config struct {
	// Dir is the data directory. It is created if it does not exist.
	Dir string
	// FS is the file system; default: the disk.
	FS vfs.FS
	// Replica is true for the replica of a cluster node: nothing is fsynced. See follow.go.
	Replica bool
	// Now returns the time for expiries; default: the journal's clock, see clock.go.
	Now func() time.Time
	// KeyTime returns the time from which later calls of KeyUsed look up keys; default: Now. The sweeper deletes only keys that
	// expired before it.
	KeyTime func() time.Time
	// TombstoneRetention is the time for which reads of an expired or deleted job return job.ErrExpired; default: 24 h.
	TombstoneRetention time.Duration
	// KeyRetention is the lifetime of an idempotency key; default: 24 h.
	KeyRetention time.Duration
	// SweepInterval is the pause between two sweeps; default: 10 s.
	SweepInterval time.Duration
	// MaxPendingBytes bounds the bytes that wait for the disk; default: 64 MiB.
	MaxPendingBytes int64
	// MinFreeBytes is the free disk space below which submissions are rejected; 0 disables the check. Below half of it, or
	// below 64 MiB if that is more, Room holds results too. The ballast file has a quarter of it, at most 64 MiB.
	MinFreeBytes uint64
	// CacheBytes is the size of the block cache; default: 64 MiB.
	CacheBytes int64
	// CountResults reports whether Results counts new jobs of a tenant; default: of every tenant. Counting costs one more key
	// for each job, about 15 % of the writer's time when jobs are small.
	CountResults func(tenant string) bool
	// RetryInterval is the pause before a failed disk operation is retried; default: 1 s.
	RetryInterval time.Duration
	// Logger receives messages for operators; default: none.
	Logger *slog.Logger
	// Registerer registers the metrics; default: they are not registered.
	Registerer prometheus.Registerer
}

// NoTombstones is a TombstoneRetention with which a deleted or expired job is job.ErrNotFound immediately.
const NoTombstones time.Duration = -1

// DefaultMinFreeBytes is the default margin of free disk space of a server.
const DefaultMinFreeBytes = 256 << 20

func (c *Config) setDefaults() {
	c.FS = cmp.Or(c.FS, vfs.Default)
	c.TombstoneRetention = cmp.Or(c.TombstoneRetention, 24*time.Hour)
	c.KeyRetention = cmp.Or(c.KeyRetention, 24*time.Hour)
	c.SweepInterval = cmp.Or(c.SweepInterval, 10*time.Second)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 64<<20)
	c.CacheBytes = cmp.Or(c.CacheBytes, 64<<20)
	c.RetryInterval = cmp.Or(c.RetryInterval, time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
}

// A Journal stores jobs on disk. It is safe for concurrent use.
type Journal struct {
	c  Config
	h  hooks
	db *pebble.DB
	fs *retryfs.FS
	// mark records the last durable write; owned by the writer.
	mark syncMark
	// unchecked is the number of bytes written since the last check of the free space; owned by the writer.
	unchecked int64
	met       *metrics
	log       *slog.Logger

	queue      queue
	jobs       activeJobs
	ending     ending
	watchers   watchers
	keys       reservations
	clock      steadyClock
	health     health
	ballast    *ballast
	results    resultBytes
	counts     jobCounts
	groups     groups
	meter      job.Meter
	deliveries deliveries

	documents documents

	// generation changes before and after the content of a replica is replaced or cleared, so that a batch that was built from
	// the earlier content is recognized. The writer changes it.
	generation atomic.Uint64
	// stop ends the goroutines except the writer, which ends when the closed queue is empty.
	stop   context.CancelFunc
	done   sync.WaitGroup
	closed atomic.Bool
	// readers is held for reading while db is used; Close waits for it.
	readers sync.RWMutex
	close   func() error
}

// hooks holds the clocks, timers and limits that tests replace.
type hooks struct {
	now   func() time.Time // with a monotonic reading
	wall  func() time.Time
	after func(d time.Duration, f func()) (stop func() bool)
	// stall is how long a write may wait for the disk before submissions are rejected.
	stall time.Duration
	// memTable is the size of a memtable in bytes.
	memTable uint64
}

func realHooks() hooks {
	return hooks{
		now: time.Now, wall: time.Now,
		after: func(d time.Duration, f func()) func() bool {
			return time.AfterFunc(d, f).Stop
		},
		stall:    5 * time.Second,
		memTable: memTableBytes,
	}
}

// Open opens or creates the journal in c.Dir. It returns ErrLocked, ErrFormat, ErrDamaged, ErrDiskFull, or the first other
// error of the disk: operations are retried only after Open.
func Open(ctx context.Context, c Config) (*Journal, error) { return open(ctx, c, realHooks()) }

func open(ctx context.Context, c Config, h hooks) (*Journal, error) {
	c.setDefaults()
	j := &Journal{
		c: c, h: h, log: c.Logger,
	}
	j.queue.init(h)
	j.jobs.init()
	j.watchers.init()
	j.results.reset()
	j.counts.reset()
	j.groups.reset()
	j.meter.Reset()
	j.deliveries.init()
	j.health.init()
	j.met = newMetrics(c.Registerer)
	j.ballast = newBallast(&j.c)
	err := j.openEngine(ctx)
	if isFull(err) && j.ballast.release() {
		j.log.Warn("the disk has no space left: the ballast is removed for the start")
		j.health.clear()
		err = j.openEngine(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", c.Dir, explainFull(explainDamaged(err)))
	}
	if err := j.loadAll(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", c.Dir, explainDamaged(err)), j.close())
	}
	if err := j.met.watch(c.Registerer, j); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", c.Dir, err), j.close())
	}
	j.fs.EnableRetries()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	j.stop = stop
	j.done.Go(j.runWriter)
	j.done.Go(func() { j.runSweeper(run) })
	j.done.Go(func() { j.runMonitor(run) })
	j.done.Go(func() { j.runMark(run) })
	return j, nil
}

// loadAll reads what is kept in memory.
func (j *Journal) loadAll(ctx context.Context) error {
	if err := j.loadClock(); err != nil {
		return err
	}
	if err := j.loadJobs(ctx); err != nil {
		return err
	}
	return j.loadDocuments(ctx)
}

// loadJobs reads what is kept in memory of the jobs.
func (j *Journal) loadJobs(ctx context.Context) error {
	return errors.Join(j.load(ctx), j.loadResults(), j.loadCounts(), j.loadDeliveries(ctx))
}

// Close makes all appended batches durable and ends the journal's goroutines. If the disk fails, the Done of each batch that
// cannot be written receives ErrClosed, as after a crash at this moment. Close may be called more than once.
func (j *Journal) Close() error {
	if !j.closed.CompareAndSwap(false, true) {
		return nil
	}
	j.queue.close()
	// Closing does not wait for a failing disk, so a full disk first gets the space of the ballast.
	j.releaseBallast()
	j.fs.DisableRetries()
	j.stop()
	j.done.Wait()
	j.readers.Lock()
	defer j.readers.Unlock()
	err := j.close()
	if j.fs.Off() {
		// The cause is the error of the disk, not a later error of Pebble.
		err = fmt.Errorf("close journal %s: the disk failed: %w", j.c.Dir, j.fs.LastErr())
	}
	return err
}

// read runs f on the engine unless the journal is closed.
func (j *Journal) read(ctx context.Context, f func(db *pebble.DB) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.readers.RLock()
	defer j.readers.RUnlock()
	if j.closed.Load() {
		return ErrClosed
	}
	err := f(j.db)
	if err != nil && j.fs.Off() {
		// The journal is closing on a disk that fails: Pebble cannot read tables whose writes were skipped.
		return ErrClosed
	}
	return err
}

// newRejection returns a rejection of a submission with job.ErrStorage.
func newRejection(reason, detail string, retry time.Duration) *job.Rejection {
	return &job.Rejection{Err: job.ErrStorage, Reason: reason, Detail: detail, RetryAfter: retry}
}
