package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/notify"
)

// # Compaction of the log
//
// A snapshot is the content of a replica at one applied index, in a bucket of the same NATS servers (snapshotstore.go). A node
// without a replica, or whose replica ends before the log begins, starts from the newest usable snapshot and applies the log
// from there (restore.go). So the log can be trimmed although it has jobs that are kept.
//
// The leader writes a snapshot when the log has grown by about as much as the last snapshot has, reads it back, and then trims
// the log to the snapshot before it. So the last two snapshots can be used, and the messages between them are the margin for
// nodes that lag. Neither the apply loop nor appends wait while a snapshot is written, except for the moment in which it is
// taken. Another leader may do the same at the same time, because snapshots have names of their own and a trim never passes
// the snapshot before the last usable one.
//
// The record of such a trim (job.ProposeSnapshotTrim) is of a format that earlier versions do not read: a node of an earlier
// version would take the rest of the log for everything. So the leader compacts in this way only while all live nodes read that format,
// and otherwise trims what has expired (trim.go). A node of an earlier version that starts later stops at the record.

// Bounds of compaction.
const (
	// snapshotPartBytes is the size of a part before compression.
	snapshotPartBytes = 16 << 20
	// keptSnapshots is the number of snapshots that are kept.
	keptSnapshots = 2
	// compactPause is the pause after a failed compaction.
	compactPause = time.Minute
	// orphanAge is the age at which parts without a manifest belong to no writer.
	orphanAge = time.Hour
)

// snapshots is the leader's knowledge of the snapshots in the bucket. Owned by the goroutine that compacts.
type snapshots struct {
	// usable holds the snapshots that were read completely, newest first.
	usable []*manifest
	// checked is when the bucket was last read, failed when the last compaction failed; zero for never.
	checked, failed time.Time
}

// runCompaction compacts and trims the log while this node is the leader, until ctx is done.
func (c *Cluster) runCompaction(ctx context.Context) {
	var s snapshots
	notify.Every(ctx, max(c.cfg.NodeTimeout/4, heartbeat), nil, func() {
		if !c.isLeader() || c.checkHealthy() != nil || !c.members.membershipStable() {
			s = snapshots{}
			c.newestSnapshot.Store(nil)
			return
		}
		c.compact(ctx, &s)
	})
}

// compact writes a snapshot if the log has grown, and trims the log.
func (c *Cluster) compact(ctx context.Context, s *snapshots) {
	supported := c.snapshotsSupported()
	hourly := time.Since(s.checked) >= c.cfg.trimInterval()
	if time.Since(s.failed) < c.cfg.compactPause || !hourly && !(supported && c.grown(s)) {
		return
	}
	if supported {
		err := c.compactBySnapshot(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.failed = time.Now()
			c.met.snapshots.WithLabelValues("failed").Inc()
			c.log.Error("compacting the log failed; it grows until this succeeds: see the runbook GatherSnapshotFailing", "error", err)
		case len(s.usable) > 0:
			return
		}
	}
	s.checked = time.Now()
	if err := c.trim(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("trim the log", "error", err)
	}
}

// snapshotsSupported reports whether all live nodes read snapshots and the record of a trim to one.
func (c *Cluster) snapshotsSupported() bool {
	return c.members.oldestFormat() >= job.ProposeSnapshotTrim.Format()
}

// grown reports whether the log has grown by as much as the newest snapshot has, and at least by Config.SnapshotBytes.
func (c *Cluster) grown(s *snapshots) bool {
	least := c.cfg.SnapshotBytes
	if len(s.usable) > 0 {
		least = max(least, s.usable[0].bytes())
	}
	return c.bytesSince(s) >= float64(least)
}

// bytesSince estimates the bytes of the log after the newest snapshot, by the mean size of messages.
func (c *Cluster) bytesSince(s *snapshots) float64 {
	first, last, bytes := c.logSize()
	if len(s.usable) == 0 || last < first {
		return float64(bytes)
	}
	after := float64(last) - float64(max(s.usable[0].Seq, first)) + 1
	return float64(bytes) * max(0, after) / float64(last-first+1)
}

// due reports whether a snapshot is due: the log has grown, or is older than a quarter of the time for which it would be kept
// without snapshots.
func (c *Cluster) due(s *snapshots) bool {
	quarter := c.cfg.logRetention() / 4
	if len(s.usable) == 0 {
		return c.grown(s) || c.logAge(time.Time{}) >= quarter.Seconds()
	}
	return c.grown(s) || c.bytesSince(s) > 0 && c.Now().Sub(s.usable[0].Written) >= quarter
}

// compactBySnapshot reads the bucket, writes a snapshot if one is due, removes the earlier ones, and trims the log.
func (c *Cluster) compactBySnapshot(ctx context.Context, s *snapshots) error {
	if n := c.diverged.Load(); n > 0 {
		return fmt.Errorf("the states of %d nodes differ from this node's: see the runbook GatherReplicasDiverge", n)
	}
	b, err := c.openSnapshots(ctx, true)
	if err != nil {
		return err
	}
	if err := c.checkSnapshots(ctx, b, s); err != nil {
		return err
	}
	if c.due(s) {
		m, err := c.writeSnapshot(ctx, b)
		if err != nil {
			return fmt.Errorf("write a snapshot: %w", err)
		}
		s.usable = append([]*manifest{m}, s.usable...)
		c.met.snapshots.WithLabelValues("written").Inc()
	}
	c.newestSnapshot.Store(newest(s.usable))
	if len(s.usable) < keptSnapshots {
		return nil
	}
	s.usable = s.usable[:keptSnapshots]
	if err := c.trimToSnapshot(ctx, s.usable[keptSnapshots-1]); err != nil {
		return fmt.Errorf("trim the log to a snapshot: %w", err)
	}
	return b.collect(ctx, s.usable, c.Now().Add(-c.cfg.orphanAge))
}

func newest(all []*manifest) *manifest {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// checkSnapshots reads the snapshots of the bucket, newest first, until keptSnapshots are usable. A damaged one is not
// counted, so that another is written soon.
func (c *Cluster) checkSnapshots(ctx context.Context, b *snapshotBucket, s *snapshots) error {
	if time.Since(s.checked) < c.cfg.trimInterval() {
		return nil
	}
	objects, err := b.objects(ctx)
	if err != nil {
		return err
	}
	s.usable = nil
	for _, name := range snapshotNames(objects) {
		m, err := b.manifest(ctx, name)
		if err == nil {
			err = c.precedesLog(ctx, m)
		}
		if err == nil {
			err = b.verify(ctx, m)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if interrupted(err) {
			return fmt.Errorf("read snapshot %s: %w", name, err) // it may be whole
		}
		if errors.Is(err, errUnusable) && b.removed(ctx, name) {
			continue // by another leader
		}
		if err != nil {
			c.met.snapshots.WithLabelValues("damaged").Inc()
			c.log.Error("a snapshot cannot be used", "snapshot", name, "error", err)
			continue
		}
		if s.usable = append(s.usable, m); len(s.usable) == keptSnapshots {
			break
		}
	}
	s.checked = time.Now()
	return nil
}

// writeSnapshot writes a snapshot of this node's replica, and reads it back.
func (c *Cluster) writeSnapshot(ctx context.Context, b *snapshotBucket) (*manifest, error) {
	began := time.Now()
	s, m, err := c.takeSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	err = s.Parts(ctx, c.cfg.snapshotPartBytes, func(part []byte) error {
		err := b.put(ctx, partName(m.name, len(m.Parts)), part)
		m.Parts = append(m.Parts, snapshotPart{Bytes: int64(len(part)), SHA256: digest(part)})
		return err
	})
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = b.putManifest(ctx, m)
	}
	if err == nil {
		err = b.verify(ctx, m)
	}
	if err != nil {
		return nil, err
	}
	c.log.Info("wrote a snapshot", "snapshot", m.name, "applied", m.Seq-1, "bytes", m.bytes(), "seconds", time.Since(began).Seconds())
	return m, nil
}

// takeSnapshot takes a snapshot of the replica between two messages.
func (c *Cluster) takeSnapshot(ctx context.Context) (*journal.Snapshot, *manifest, error) {
	c.applyMu.Lock()
	defer c.applyMu.Unlock()
	s, err := c.replica.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	value, err := s.Metadata(metaApplied)
	var at appliedIndex
	if err == nil {
		at, err = parseAppliedIndex(value)
	}
	partial := false
	if err == nil {
		partial, err = c.isPartial(ctx)
	}
	if err == nil && (partial || at.seq == 0) {
		err = errors.New("the replica is being rebuilt")
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, &manifest{
		Version: snapshotVersion, Log: c.streamID, From: at.from, Seq: at.seq, N: at.n, At: at.at, Written: c.Now(),
		Writer: c.cfg.Name, Release: c.cfg.Version, name: fmt.Sprintf("%020d-%s", at.seq, c.id),
	}, nil
}

// trimToSnapshot removes the messages of the log that a node that starts from a snapshot does not need.
func (c *Cluster) trimToSnapshot(ctx context.Context, m *manifest) error {
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	p := &job.Proposal{
		Kind: job.ProposeSnapshotTrim, At: c.Now(), First: stream.CachedInfo().State.FirstSeq, Before: m.From + 1, Through: c.appliedSeq(),
	}
	if p.Before <= p.First {
		return nil
	}
	return c.publishAndPurge(ctx, stream, p)
}
