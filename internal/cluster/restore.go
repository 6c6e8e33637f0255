package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

var (
	// errNoSnapshot means that a node needs a snapshot and can use none.
	errNoSnapshot = errors.New("the log was trimmed past this node's replica, and no snapshot can be used: see the runbook GatherSnapshotFailing")
	// errReplica means that the content of the replica was replaced and cannot be read.
	errReplica = errors.New("the replica cannot be read: restart the node")
)

// restorePause is the pause before a node that needs a snapshot looks for one again.
const restorePause = 5 * time.Second

// restore replaces the replica by the newest snapshot that can be used: it belongs to this log, its digests match, and the log
// has all messages after it. It reports false if there is none, with the reasons. It returns job.ErrVersion if a newer one is
// of a later version, and errReplica.
func (c *Cluster) restore(ctx context.Context) (restored bool, err error) {
	b, err := c.openSnapshots(ctx, false)
	if b == nil || err != nil {
		return false, err
	}
	objects, err := b.objects(ctx)
	if err != nil {
		return false, err
	}
	record, err := c.lastTrim(ctx)
	if err != nil {
		return false, err
	}
	var failed error
	for _, name := range snapshotNames(objects) {
		err := c.restoreFrom(ctx, b, name)
		switch {
		case err == nil:
			err = c.reload(ctx, record)
			return err == nil, err
		case ctx.Err() != nil || errors.Is(err, job.ErrVersion) || errors.Is(err, errReplica):
			return false, err
		case errors.Is(err, errUnusable) && b.removed(ctx, name):
			c.log.Info("a snapshot was removed while it was read, because there are later ones", "snapshot", name)
			failed = errors.Join(failed, err)
			continue
		}
		c.met.restores.WithLabelValues("failed").Inc()
		if interrupted(err) {
			c.log.Warn("a snapshot cannot be read now", "snapshot", name, "error", err)
		} else {
			c.log.Error("a snapshot cannot be used", "snapshot", name, "error", err)
		}
		failed = errors.Join(failed, err)
	}
	return false, failed
}

// restoreFrom replaces the content of the replica by a snapshot. The replica is unchanged after an error other than errReplica.
func (c *Cluster) restoreFrom(ctx context.Context, b *snapshotBucket, name string) error {
	began := time.Now()
	m, err := b.manifest(ctx, name)
	if err != nil {
		return err
	}
	if err := c.precedesLog(ctx, m); err != nil {
		return err
	}
	if err := c.replica.Flush(ctx); err != nil {
		return err
	}
	before, err := c.replica.Metadata(ctx, metaApplied)
	if err != nil {
		return err
	}
	if err := c.replica.Restore(ctx, b.parts(ctx, m)); err != nil {
		if after, again := c.replica.Metadata(ctx, metaApplied); again != nil || string(after) != string(before) {
			err = errors.Join(errReplica, err, again)
		}
		return err
	}
	c.met.restores.WithLabelValues("restored").Inc()
	c.log.Info("restored the replica from a snapshot", "snapshot", name, "applied", m.Seq-1, "bytes", m.bytes(),
		"seconds", time.Since(began).Seconds())
	return nil
}

// precedesLog returns an error unless the log can be applied after a snapshot.
func (c *Cluster) precedesLog(ctx context.Context, m *manifest) error {
	last := m.Seq - 1
	for trimmed := uint64(0); ; {
		// The log may have been trimmed since the manifest was read, and is longer than it was when the bucket was listed.
		stream, err := c.js.Stream(ctx, c.logStream)
		if err != nil {
			return err
		}
		state := &stream.CachedInfo().State
		switch {
		case m.Log != stream.CachedInfo().Config.Metadata[streamIDKey]:
			return fmt.Errorf("%w: it belongs to another log", errUnusable)
		case m.From+1 < state.FirstSeq:
			return fmt.Errorf("%w: the log begins at message %d, and the snapshot needs message %d", errUnusable, state.FirstSeq, m.From+1)
		case last > state.LastSeq:
			return fmt.Errorf("%w: the log ends at message %d, and the snapshot has message %d", errUnusable, state.LastSeq, last)
		case m.At == 0 || last < state.FirstSeq:
			return nil
		}
		msg, err := stream.GetMsg(ctx, last)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound) && state.FirstSeq > trimmed:
			trimmed = state.FirstSeq // look again: it has just been trimmed
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return fmt.Errorf("%w: the log lacks message %d", errUnusable, last)
		case err != nil:
			return err
		case msg.Time.UnixNano() != m.At:
			return fmt.Errorf("%w: the log has another message %d", errUnusable, last)
		default:
			return nil
		}
	}
}

// reload reads the state of the apply loop from a restored replica. The tasks of this node have moved to other nodes, and the
// outcome of its proposals before the snapshot is unknown.
func (c *Cluster) reload(ctx context.Context, record *trimmed) error {
	c.dropState()
	if err := errors.Join(c.loadApplied(ctx), c.loadState(ctx)); err != nil {
		return errors.Join(errReplica, err)
	}
	c.trimRecord = record.forDecisions()
	c.partialMessages = partialMessages{}
	c.advance(c.applied.from)
	c.noSnapshot.Store(nil)
	c.writer.skip(c.applied.from, newRejection("outcome-unknown", "the node was cut off from the log for too long", 0))
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	for _, s := range c.state.jobs {
		c.leaveIfIdle(s)
	}
	c.state.signal()
	return nil
}

// dropState removes all jobs from the state, and ends the leases of this node.
func (c *Cluster) dropState() {
	c.state.mu.Lock()
	for _, s := range c.state.jobs {
		c.state.remove(s)
	}
	ends := c.state.ends
	c.state.reset()
	c.state.ends = ends
	c.state.mu.Unlock()
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	c.rejected = nil
}
