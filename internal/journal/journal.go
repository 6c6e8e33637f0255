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
	// ErrLocked: another process, or another Journal of this one, has the data directory.
	ErrLocked = errors.New("the data directory is in use by another server")
	// ErrFormat: the data directory was written in a format that this version does not read.
	ErrFormat = errors.New("the data directory has a format that this version does not read")
	// ErrDamaged: data that had been forced to disk is missing or unreadable. Nothing was changed.
	ErrDamaged = errors.New("the data directory is damaged")
	// ErrDiskFull: the disk has no space left to open the journal. The data is whole.
	ErrDiskFull = errors.New("the disk is full; the data is whole: free some space and start again")
	// ErrClosed: the journal was closed. It is a job.ErrStorage.
	ErrClosed = fmt.Errorf("%w: it is closed", job.ErrStorage)
)

// Config configures a Journal. Zero values take the defaults.
type Config struct {
	// Dir is the data directory; it is made when it is not there.
	Dir string
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// View is true for a journal that repeats a record which is kept elsewhere: nothing is forced to disk. See
	// follow.go.
	View bool
	// Now reads the clock of expiries; nil is the machine's.
	Now func() time.Time
	// TombstoneRetention is how long a swept or deleted job answers job.ErrExpired: 24 h. NoTombstones is for not at all.
	TombstoneRetention time.Duration
	// KeyRetention is how long an idempotency key is remembered: 24 h.
	KeyRetention time.Duration
	// SweepInterval is the pause between two sweeps: 10 s.
	SweepInterval time.Duration
	// MaxPendingBytes bounds the bytes that wait for the disk: 64 MiB.
	MaxPendingBytes int64
	// MinFreeBytes refuses submissions while the disk has less free space; 0 is no check. Below half of it, or below 64 MiB
	// if that is more, Room holds results back too. A file of a quarter of it, at most 64 MiB, takes up space until the disk
	// has none left.
	MinFreeBytes uint64
	// CacheBytes is the size of the cache for blocks of tables: 64 MiB.
	CacheBytes int64
	// CountResults reports whether Results counts the jobs of a tenant that are submitted from now on; nil is every tenant. It
	// costs one more key for each job, some 15 % of the writer's time when jobs are small.
	CountResults func(tenant string) bool
	// RetryInterval is the pause before an operation that the disk refused is tried again: 1 s.
	RetryInterval time.Duration
	// Logger takes messages for operators; nil for none.
	Logger *slog.Logger
	// Registerer takes the metrics; none are registered when nil.
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

// A Journal is the durable record. It is safe for concurrent use.
type Journal struct {
	c  Config
	h  hooks
	db *pebble.DB
	fs *retryfs.FS
	// mark has the last durable write, unchecked the bytes written since the free space was looked at; the writer's.
	mark      syncMark
	unchecked int64
	met       *metrics
	log       *slog.Logger

	queue    queue
	jobs     activeJobs
	watchers watchers
	keys     reservations
	clock    steadyClock
	health   health
	ballast  *ballast
	results  resultBytes

	// stop ends the sweeper and the monitor; the writer ends when the queue has been drained.
	stop   context.CancelFunc
	done   sync.WaitGroup
	closed atomic.Bool
	// readers are the calls that use db; Close waits for them.
	readers sync.RWMutex
	close   func() error
}

// hooks are the parts of the world that tests replace.
type hooks struct {
	now   func() time.Time // with a monotonic reading
	wall  func() time.Time
	after func(d time.Duration, f func()) (stop func() bool)
	// stall is how long a write may wait for the disk before submissions are refused.
	stall time.Duration
	// memTable is the size of a memtable.
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

// Open opens or makes the journal in c.Dir. It fails with ErrLocked, ErrFormat, ErrDamaged, ErrDiskFull, or another first
// error of the disk: operations are tried again only once the journal is open.
func Open(ctx context.Context, c Config) (*Journal, error) { return open(ctx, c, realHooks()) }

func open(ctx context.Context, c Config, h hooks) (*Journal, error) {
	c.setDefaults()
	j := &Journal{
		c: c, h: h, log: c.Logger,
	}
	j.queue.init(h)
	j.jobs.init()
	j.watchers.init()
	j.keys.init()
	j.results.reset()
	j.health.init()
	j.met = newMetrics(c.Registerer)
	j.ballast = newBallast(&j.c)
	err := j.openEngine(ctx)
	if isFull(err) && j.ballast.release() {
		j.log.Warn("the disk has no space left: the ballast is removed, for the start")
		j.health.clear()
		err = j.openEngine(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", c.Dir, fullDisk(err))
	}
	if err := cmp.Or(j.loadClock(), j.load(ctx), j.loadResults()); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", c.Dir, err), j.close())
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

// Close makes all appended batches durable, as far as the disk allows, and ends the journal's goroutines. Batches that
// cannot be written get ErrClosed through Done, as if a crash had happened at this moment. Closing twice is allowed.
func (j *Journal) Close() error {
	if !j.closed.CompareAndSwap(false, true) {
		return nil
	}
	j.queue.close()
	// A disk that fails now is not waited for, except for the room of the ballast.
	j.relieve()
	j.fs.DisableRetries()
	j.stop()
	j.done.Wait()
	j.readers.Lock()
	defer j.readers.Unlock()
	err := j.close()
	if j.fs.Off() {
		// Errors of Pebble about a file system without power are of no use.
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

// storage returns the rejection of a submission.
func storage(reason, detail string, retry time.Duration) *job.Rejection {
	return &job.Rejection{Err: job.ErrStorage, Reason: reason, Detail: detail, RetryAfter: retry}
}
