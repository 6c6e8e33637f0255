package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// awaitLog waits until the log was compared with the replica and the replica is up to date.
func (c *Cluster) awaitLog(ctx context.Context) error {
	select {
	case <-c.logChecked:
	case <-c.failed:
		return c.failure.Load()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var last uint64
	err := retryUntilReady(ctx, func(try context.Context) (err error) {
		last, _, err = c.queryLog(try)
		return err
	})
	if err != nil {
		return err
	}
	return c.await(ctx, last)
}

// loadApplied reads the ID of the log that the replica was made from, and its applied index.
func (c *Cluster) loadApplied(ctx context.Context) error {
	streamID, err := c.replica.Metadata(ctx, metaLog)
	if err != nil {
		return err
	}
	at, err := c.replica.Metadata(ctx, metaApplied)
	if err != nil {
		return err
	}
	if c.applied, err = parseAppliedIndex(at); err != nil {
		return err
	}
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	c.streamID, c.lastApplied = string(streamID), c.applied.from
	return nil
}

// load restores the state of the apply loop from the replica.
func (c *Cluster) load(ctx context.Context, streamID string) (err error) {
	var record *trimmed
	if c.lastApplied == 0 || streamID == c.streamID {
		err = retryUntilReady(ctx, func(try context.Context) (err error) {
			record, err = c.lastTrim(try)
			return err
		})
		if err != nil {
			return err
		}
		c.trimRecord = record.forDecisions()
	}
	partial, err := c.isPartial(ctx)
	if err != nil {
		return err
	}
	if partial && record.needsSnapshot() {
		c.log.Warn("the replica was being rebuilt; starting from a snapshot")
		c.lastApplied = 0
	}
	if c.lastApplied == 0 {
		c.streamID, c.applied = streamID, appliedIndex{}
		if err := c.replica.Clear(ctx); err != nil {
			return err
		}
		return errors.Join(c.replica.ApplyReplicated(ctx, job.Batch{}, journal.Metadata{Name: metaLog, Value: []byte(streamID)}), c.replica.Flush(ctx))
	}
	return c.loadState(ctx)
}

// isPartial reports whether the replica was rebuilt from the rest of a log, and has not reached the message from which it is
// complete.
func (c *Cluster) isPartial(ctx context.Context) (bool, error) {
	value, err := c.replica.Metadata(ctx, metaPartial)
	through, _ := binary.Uvarint(value)
	applied := c.appliedSeq()
	return applied > 0 && applied < through, err
}

// loadState reads the rejected submissions, the ages and the unfinished jobs.
func (c *Cluster) loadState(ctx context.Context) error {
	var rejected []job.Rejected
	err := c.replica.ScanMetadata(ctx, metaRejected, func(name string, _ []byte) error {
		d, err := parseRejected(name)
		rejected = append(rejected, d)
		return err
	})
	if err != nil {
		return err
	}
	c.appliedMu.Lock()
	c.rejected = rejected
	c.appliedMu.Unlock()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	if err := c.loadAges(ctx); err != nil {
		return err
	}
	now := time.Now()
	return c.replica.Recover(ctx, func(j job.Job, _ []byte, log iter.Seq2[job.LogRecord, error]) error {
		s := &jobState{job: j, movedAt: now, started: c.clock.ago(j.StartedAt), held: c.state.pauses.Holds(&j)}
		for r, err := range log {
			if err != nil {
				return err
			}
			if a, ok := r.Event.(job.TaskProgress); ok {
				c.state.applyTaskProgress(s, &a)
			}
		}
		value, err := c.replica.Metadata(ctx, metaJob+j.ID.String())
		if err == nil {
			err = s.readMetadata(value, now)
		}
		if err != nil {
			return err
		}
		if s.ending == nil && j.State == job.Cancelling {
			s.ending, s.decidedAt = &job.Finished{State: job.Cancelled}, now
		}
		c.state.jobs[j.ID] = s
		c.state.dependents.Update(&job.Job{}, &j)
		c.state.digest.update(s)
		c.state.ages.submitted(s.seq)
		c.state.enqueue(s, c.clock.ago(j.CreatedAt))
		c.state.count(s, +1)
		c.state.countQueue(s, +1)
		return nil
	})
}

// loadAges reads the ages of the log. A replica of an earlier version has none; the whole log is then assumed to be new,
// and needed until the last of its jobs expires. Caller holds state.mu.
func (c *Cluster) loadAges(ctx context.Context) error {
	a := &c.state.ages
	value, err := c.replica.Metadata(ctx, metaTime)
	if err != nil {
		return err
	}
	a.readTime(value)
	c.appliedTime = a.now
	if err := c.replica.ScanMetadata(ctx, metaSpan, a.readSpan); err != nil || len(a.spans) > 0 || c.lastApplied == 0 {
		return err
	}
	last, err := c.replica.LastExpiry(ctx)
	if err != nil {
		return err
	}
	a.now = c.clock.Now()
	a.spans = []span{{first: 1, begun: a.now, expires: last}}
	a.markDirty(1)
	return nil
}
