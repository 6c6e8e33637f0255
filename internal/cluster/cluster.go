package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/notify"
)

// The causes with which the context of a lease ends.
var (
	errEnding = errors.New("the job is ending")
	errEnded  = errors.New("the job has ended")
)

// A Cluster is one node of a cluster. It is safe for concurrent use.
type Cluster struct {
	cfg Config
	// id identifies this process of the node, and changes with every start.
	id      string
	started time.Time
	log     *slog.Logger
	met     *metrics
	nc      *nats.Conn
	js      jetstream.JetStream
	replica *journal.Journal
	clock   logClock

	logStream   string
	streamID    string // ID of the log
	logReplicas int
	leases      leaseQueue
	members     members
	writer      writer
	state       state
	keys        usedKeys
	documents   documents

	// applyMu is held while a message is applied or the replica is replaced, so that a snapshot has whole messages.
	applyMu sync.Mutex
	// diverged is the number of live nodes whose state differs from this node's.
	diverged atomic.Int64
	// newestSnapshot is the newest snapshot that the leader knows; nil for none.
	newestSnapshot atomic.Pointer[manifest]

	// Owned by the apply loop.
	partialMessages partialMessages
	applied         appliedIndex
	trimRecord      *trimmed // the last trim; nil if the log is complete
	// mismatchSince is when the log was first found not to match the replica; zero while it matches.
	mismatchSince time.Time

	appliedMu      sync.Mutex
	lastApplied    uint64         // last applied message
	appliedTime    time.Time      // the log's time at lastApplied
	rejected       []job.Rejected // rejected submissions that are still in the log
	appliedChanged chan struct{}
	lag            atomic.Int64

	// failed is closed when the node stops participating; failure has the reason.
	failed   chan struct{}
	failOnce sync.Once
	failure  atomic.Pointer[job.Rejection]
	logLost  atomic.Bool
	// unsafe is the error of submissions while the servers are known to lose messages; nil otherwise.
	unsafe atomic.Pointer[job.Rejection]
	// atRisk is the number of streams that the servers may lose.
	atRisk atomic.Int64
	// mismatch is the error of submissions while the log does not match the replica; nil otherwise.
	mismatch atomic.Pointer[job.Rejection]
	// noSnapshot is the error of submissions while the node needs a snapshot and can use none; nil otherwise.
	noSnapshot atomic.Pointer[job.Rejection]
	// logChecked is closed when the log has matched the replica for the first time.
	logChecked chan struct{}
	barriers   barriers
	freshness  freshness
	opened     time.Time // on the monotonic clock

	stop      context.CancelFunc
	stopApply context.CancelFunc
	done      sync.WaitGroup
	applying  sync.WaitGroup
	closed    atomic.Bool
	draining  atomic.Bool
}

// Open connects to NATS, creates missing streams, opens the replica and waits until it is up to date. It waits for the
// cluster until ctx is done. It returns errors of the replica, such as journal.ErrLocked, ErrUnsafe, or the reason for
// which the cluster cannot be used.
func Open(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	cfg.setDefaults()
	c := &Cluster{
		cfg: cfg, id: hex.EncodeToString(newNodeID()), started: time.Now().UTC(), opened: time.Now(), log: cfg.Logger,
		appliedChanged: make(chan struct{}), failed: make(chan struct{}), logChecked: make(chan struct{}),
	}
	c.met = newMetrics(cfg.Registerer)
	c.clock.wall, c.state.now = cfg.Wall, c.clock.Now
	c.state.init()
	c.writer.init()
	c.leases.init()
	c.documents.init()
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		c.met.disconnects.Inc()
		if err != nil {
			c.log.Warn("lost the connection to NATS", "error", err)
		}
	}), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		c.log.Debug("NATS", "error", err)
	}), nats.ReconnectHandler(func(nc *nats.Conn) {
		c.log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
	}))
	if c.nc, err = nats.Connect(cfg.URL, opts...); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	defer func() {
		if err != nil {
			c.nc.Close()
		}
	}()
	if c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(publishTimeout),
		jetstream.WithPublishAsyncMaxPending(1<<16), jetstream.WithPublishAsyncTimeout(2*publishTimeout)); err != nil {
		return nil, err
	}
	if c.replica, err = journal.Open(ctx, journal.Config{
		Dir: cfg.Dir, Replica: true, TombstoneRetention: cfg.TombstoneRetention, KeyRetention: cfg.KeyRetention,
		MaxPendingBytes: cfg.MaxPendingBytes, MinFreeBytes: cfg.MinFreeBytes, CacheBytes: cfg.CacheBytes, CountResults: cfg.CountResults, Logger: cfg.Logger, Registerer: cfg.Registerer,
		// A node that lags decides about keys as the other nodes did, at an earlier time of the log.
		Now: c.clock.Now, KeyTime: c.logTime,
	}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.replica.Close())
		}
	}()
	if err := c.loadApplied(ctx); err != nil {
		return nil, fmt.Errorf("read the replica: %w", err)
	}
	streamID, err := c.makeStreams(ctx)
	if err != nil && !errors.Is(err, errLogLost) {
		return nil, fmt.Errorf("prepare the streams: %w", err)
	}
	missing := err
	if missing == nil {
		if err := retryUntilReady(ctx, c.readClock); err != nil {
			return nil, fmt.Errorf("read the log's clock: %w", err)
		}
	}
	if err := retryUntilReady(ctx, c.checkStreams); err != nil {
		return nil, err
	}
	if err := c.load(ctx, streamID); err != nil {
		return nil, fmt.Errorf("read the replica: %w", err)
	}
	c.writer.js, c.writer.stream, c.writer.subject = c.js, c.logStream, cfg.Prefix+".log."+c.id
	if cfg.publisher != nil {
		c.writer.js = cfg.publisher(c.js)
	}
	c.writer.limit, c.writer.stallAfter, c.writer.met = cfg.MaxPendingBytes, cfg.stallAfter, c.met
	c.writer.appliedSeq, c.writer.onLogLost = c.appliedSeq, c.stopLogLost
	c.writer.message = int(min(maxMessage, c.nc.MaxPayload()-4096))
	if err := c.met.watch(cfg.Registerer, c); err != nil {
		return nil, err
	}
	if missing != nil {
		c.stopLogLost(missing)
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.shutdown())
	}
	return c, nil
}

func newNodeID() []byte {
	id := uuid.Must(uuid.NewV7())
	return id[:]
}

// start starts the goroutines, and waits until the replica is up to date.
func (c *Cluster) start(ctx context.Context) error {
	apply, stopApply := context.WithCancel(context.WithoutCancel(ctx))
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop, c.stopApply = stop, stopApply
	if c.logLost.Load() {
		return nil
	}
	c.applying.Go(func() { c.runApply(apply) })
	c.done.Go(func() { c.writer.run(apply) })
	c.done.Go(func() { c.watchHealth(run) })
	c.done.Go(func() { c.watchLog(run) })
	c.done.Go(func() { c.watchStreams(run) })
	if err := c.awaitLog(ctx); err != nil && c.failure.Load() == nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if c.failure.Load() != nil {
		return nil //nolint:nilerr // the node serves reads from its replica; Ready returns the reason
	}
	if err := retryUntilReady(ctx, func(try context.Context) error { return c.members.open(try, c) }); err != nil {
		return fmt.Errorf("join the nodes: %w", err)
	}
	if err := retryUntilReady(ctx, c.loadDocuments); err != nil {
		return fmt.Errorf("read the documents: %w", err)
	}
	c.done.Go(func() { c.watchDocuments(run) })
	c.done.Go(func() { c.copyDocuments(run) })
	c.done.Go(func() { c.members.run(run, c) })
	c.done.Go(func() { c.runLeader(run) })
	c.done.Go(func() { c.runCompaction(run) })
	c.done.Go(func() { c.runDelayed(run) })
	c.leases.start(run, c)
	return nil
}

// fail stops the participation of this node: it takes no more leases and writes nothing more, and other nodes get its
// tasks.
func (c *Cluster) fail(reason string, err error) {
	c.failOnce.Do(func() {
		failure := newRejection(reason, err.Error(), 0)
		c.failure.Store(failure)
		close(c.failed)
		c.leases.close()
		c.writer.close()
		c.writer.failPending(failure)
	})
}

// Ready returns nil, or a job.ErrStorage with the reason for which this node should get no requests.
func (c *Cluster) Ready() error {
	if err := c.checkHealthy(); err != nil {
		return err
	}
	return c.replica.Ready()
}

// checkReadable returns nil, or the reason for which this node cannot read from the log.
func (c *Cluster) checkReadable() error {
	switch {
	case c.closed.Load():
		return journal.ErrClosed
	case c.failure.Load() != nil:
		return c.failure.Load()
	case c.mismatch.Load() != nil:
		return c.mismatch.Load()
	case c.noSnapshot.Load() != nil:
		return c.noSnapshot.Load()
	case !c.nc.IsConnected():
		return newRejection("log-disconnected", "no connection to NATS", time.Second)
	}
	return nil
}

// checkHealthy returns nil, or the reason for which this node does not participate now.
func (c *Cluster) checkHealthy() error {
	if err := c.checkReadable(); err != nil {
		return err
	}
	if c.unsafe.Load() != nil {
		return c.unsafe.Load()
	}
	if err := c.writer.stalled(); err != nil {
		return newRejection("log-stalled", err.Error(), time.Second)
	}
	return nil
}

// watchHealth rejects waiting submissions while the log does not answer, until ctx is done.
func (c *Cluster) watchHealth(ctx context.Context) {
	notify.Every(ctx, 250*time.Millisecond, nil, func() {
		if c.writer.stalled() != nil && !c.closed.Load() {
			c.writer.rejectPending(newRejection("log-stalled", "the cluster's log does not answer, and may have accepted the job: retry with "+
				"the same Idempotency-Key", time.Second))
		}
	})
}

// Drain stops the pulling of leases. Leases of this node continue.
func (c *Cluster) Drain() {
	c.draining.Store(true)
	c.leases.close()
	c.members.beat.Notify()
}

// closeWait is the time for which Close waits until the appended batches are in the log and in the replica.
const closeWait = 5 * time.Second

// Close writes the appended batches as far as the log accepts them, leaves the cluster and ends the goroutines of the node.
// Batches that cannot be written get job.ErrStorage through Done.
func (c *Cluster) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	c.Drain()
	return c.shutdown()
}

// shutdown stops in this order: leases end; appended batches are written and decided; the heartbeat ends; the apply loop
// ends; the replica closes.
func (c *Cluster) shutdown() error {
	c.closed.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	c.leases.close()
	c.leases.stop()
	c.writer.close()
	c.writer.drained(ctx)
	c.stop()
	c.stopApply()
	c.applying.Wait()
	c.done.Wait()
	if c.members.kv != nil && c.nc.IsConnected() {
		if err := c.members.leave(ctx, c.id); err != nil {
			c.log.Debug("leave the nodes", "error", err)
		}
	}
	err := c.replica.Close()
	c.writer.failPending(newRejection("closed", "the node is closed", 0))
	c.nc.Close()
	return err
}

// JetStream returns the JetStream client of the node, for other data in the same cluster.
func (c *Cluster) JetStream() jetstream.JetStream { return c.js }

// Replicas returns the number of servers that store each message of the log, from the configuration of its stream.
func (c *Cluster) Replicas() int { return c.logReplicas }

// upper returns the prefix of the names of streams and buckets.
func (c *Cluster) upper() string { return strings.ToUpper(c.cfg.Prefix) }
