package cluster

import (
	"bytes"
	"context"
	"errors"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// ImportJob adds a job with all that happened to it, on all nodes; one that has not ended goes on. It returns when this
// node's view has the job. Errors: job.ErrExists, job.ErrCorrupt, job.ErrStorage.
func (c *Cluster) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event) error {
	if _, err := c.ask(ctx, &job.Proposal{What: job.ProposeJob, View: view, Spec: spec, Log: log}); err != nil {
		return err
	}
	c.t.mu.Lock()
	var subjects []string
	if s := c.t.jobs[view.ID]; s != nil {
		c.turnsOf(s, func(subject string) { subjects = append(subjects, subject) })
	}
	c.t.mu.Unlock()
	for _, subject := range subjects {
		if err := c.enqueueTask(ctx, subject, c.from()); err != nil {
			c.log.Debug("a turn is left to the chief", "subject", subject, "error", err)
			break
		}
	}
	return nil
}

// ImportKey adds a used idempotency key. Errors: as ImportJob's.
func (c *Cluster) ImportKey(ctx context.Context, k job.KeyRecord) error {
	_, err := c.ask(ctx, &job.Proposal{What: job.ProposeKey, KeyRecord: k})
	return err
}

// ImportTombstone adds what is left of a deleted job. Errors: as ImportJob's.
func (c *Cluster) ImportTombstone(ctx context.Context, t job.Tombstone) error {
	_, err := c.ask(ctx, &job.Proposal{What: job.ProposeTombstone, Tombstone: t})
	return err
}

// takeImport applies what was exported from elsewhere.
func (c *Cluster) takeImport(ctx context.Context, next position, p *job.Proposal) error {
	if err := c.view.Settle(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	result := func(err error) { done <- err }
	var err error
	switch p.What {
	case job.ProposeKey:
		err = c.view.ImportKey(ctx, p.KeyRecord, result)
	case job.ProposeTombstone:
		err = c.view.ImportTombstone(ctx, p.Tombstone, result)
	default:
		err = c.view.ImportJob(ctx, p.View, p.Spec, p.Log, result)
	}
	if err != nil {
		return err
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err != nil || p.What != job.ProposeJob {
		return err
	}
	return c.view.Follow(ctx, job.Batch{}, c.adopt(p, next.from+1)...)
}

// adopt takes an imported job of message seq into the table, unless it has ended, and returns the notes of it.
func (c *Cluster) adopt(p *job.Proposal, seq uint64) []journal.Note {
	now := time.Now()
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.ages.submitted(seq)
	if p.View.State.Terminal() {
		c.t.ages.ended(seq, p.View.ExpiresAt, c.cfg.spanLength())
		return c.t.ages.notes()
	}
	s := &jobState{job: p.View, seq: seq, movedAt: now, started: c.clock.ago(p.View.StartedAt)}
	for _, ev := range p.Log {
		if a, ok := ev.(job.Advanced); ok {
			c.t.advanced(s, &a)
		}
	}
	if s.job.State == job.Cancelling {
		s.ending, s.decidedAt = &job.Finished{State: job.Cancelled}, now
	}
	c.t.jobs[s.job.ID] = s
	c.t.enqueue(s, c.clock.ago(p.View.CreatedAt))
	c.t.count(s, +1)
	c.t.line(s, +1)
	c.t.signal()
	return []journal.Note{{Name: noteJob + s.job.ID.String(), Value: s.appendNote(nil)}}
}

// Uses reports whether the spec of a job that has not ended has a mark in it. Only jobs that sum arrays are looked at.
func (c *Cluster) Uses(mark string) bool {
	type name struct {
		tenant string
		id     job.ID
	}
	var names []name
	c.t.mu.Lock()
	for id, s := range c.t.jobs {
		if s.job.Progress.BytesTotal > 0 {
			names = append(names, name{s.job.Tenant, id})
		}
	}
	c.t.mu.Unlock()
	for _, n := range names {
		spec, err := c.view.Spec(context.Background(), n.tenant, n.id)
		if err != nil && !errors.Is(err, job.ErrNotFound) || bytes.Contains(spec, []byte(mark)) {
			return true
		}
	}
	return false
}

// CatchUp returns when this node has all that any node had accepted when it was called. For operations that write anyway: it
// appends a message without effect to the log, and what was accepted before precedes it, whoever leads the log.
func (c *Cluster) CatchUp(ctx context.Context) error {
	d, err := c.ask(ctx, &job.Proposal{What: job.ProposeBatch})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return stalledLog(err)
	}
	return c.await(ctx, d.seq)
}
