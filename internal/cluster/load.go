package cluster

import (
	"context"
	"errors"
	"iter"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// awaitLog waits until the identity of the log was checked and the replica is up to date.
func (c *Cluster) awaitLog(ctx context.Context) error {
	select {
	case <-c.recognized:
	case <-c.failed:
		return c.failure.Load()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var last uint64
	err := retryUntilReady(ctx, func(try context.Context) (err error) {
		last, _, err = c.look(try)
		return err
	})
	if err != nil {
		return err
	}
	return c.await(ctx, last)
}

// loadPosition reads the identity of the log that the replica was made from, and how far it is applied.
func (c *Cluster) loadPosition(ctx context.Context) error {
	known, err := c.view.Metadata(ctx, noteLog)
	if err != nil {
		return err
	}
	at, err := c.view.Metadata(ctx, notePosition)
	if err != nil {
		return err
	}
	if c.applied, err = parsePosition(at); err != nil {
		return err
	}
	c.streamID, c.read = string(known), c.applied.from
	return nil
}

// load restores the state of the apply loop from the replica.
func (c *Cluster) load(ctx context.Context, streamID string) (err error) {
	if c.read == 0 {
		c.streamID, c.applied = streamID, position{}
		if c.trimRecord, err = c.lastTrim(ctx); err != nil {
			return err
		}
		if err := c.view.Clear(ctx); err != nil {
			return err
		}
		return errors.Join(c.view.ApplyReplicated(ctx, job.Batch{}, journal.Metadata{Name: noteLog, Value: []byte(streamID)}), c.view.Flush(ctx))
	}
	if streamID == c.streamID {
		if c.trimRecord, err = c.lastTrim(ctx); err != nil {
			return err
		}
	}
	err = c.view.ScanMetadata(ctx, noteDropped, func(name string, _ []byte) error {
		d, err := parseDropped(name)
		c.dropped = append(c.dropped, d)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.loadAges(ctx); err != nil {
		return err
	}
	now := time.Now()
	return c.view.Recover(ctx, func(j job.Job, _ []byte, log iter.Seq2[job.LogRecord, error]) error {
		s := &jobState{job: j, movedAt: now, started: c.clock.ago(j.StartedAt)}
		for r, err := range log {
			if err != nil {
				return err
			}
			if a, ok := r.Event.(job.Advanced); ok {
				c.t.advanced(s, &a)
			}
		}
		value, err := c.view.Metadata(ctx, noteJob+j.ID.String())
		if err == nil {
			err = s.readNote(value, now)
		}
		if err != nil {
			return err
		}
		if s.ending == nil && j.State == job.Cancelling {
			s.ending, s.decidedAt = &job.Finished{State: job.Cancelled}, now
		}
		c.t.jobs[j.ID] = s
		c.t.ages.submitted(s.seq)
		c.t.enqueue(s, c.clock.ago(j.CreatedAt))
		c.t.count(s, +1)
		c.t.countQueue(s, +1)
		return nil
	})
}

// loadAges reads the ages of the log. A replica of an earlier version has none: then the whole log is assumed to be new,
// and needed until the last of its jobs expires.
func (c *Cluster) loadAges(ctx context.Context) error {
	a := &c.t.ages
	value, err := c.view.Metadata(ctx, noteTime)
	if err != nil {
		return err
	}
	a.readTime(value)
	c.readTime = a.now
	if err := c.view.ScanMetadata(ctx, noteSpan, a.readSpan); err != nil || len(a.spans) > 0 || c.read == 0 {
		return err
	}
	last, err := c.view.LastExpiry(ctx)
	if err != nil {
		return err
	}
	a.now = c.clock.Now()
	a.spans = []span{{first: 1, begun: a.now, expires: last}}
	a.touch(1)
	return nil
}
