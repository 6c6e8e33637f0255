package cluster

import (
	"bytes"
	"context"
	"errors"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// ImportJob adds a job with its whole log and its deliveries on all nodes; an unfinished job continues. It returns when the replica of this
// node has the job. It returns job.ErrExists, job.ErrCorrupt or job.ErrStorage.
func (c *Cluster) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, deliveries job.Deliveries) error {
	for {
		view, log, err := job.SettleImported(view, log, c.Now(), func(id job.ID) (job.Job, error) { return c.Get(ctx, view.Tenant, id) })
		if err != nil {
			return err
		}
		p := &job.Proposal{Kind: job.ProposeJob, View: view, Spec: spec, Log: log, Deliveries: deliveries}
		_, err = c.proposeAndWait(ctx, p)
		if err == nil {
			break
		}
		if !errors.Is(err, job.ErrDependencyEnded) {
			return err
		}
		if err := c.replica.Flush(ctx); err != nil { // so that Get returns the end
			return err
		}
	}
	c.state.mu.Lock()
	var subjects []string
	if s := c.state.jobs[view.ID]; s != nil {
		c.tasksOf(s, func(subject string) { subjects = append(subjects, subject) })
	}
	c.state.mu.Unlock()
	c.enqueueTasks(ctx, subjects, c.appliedSeq())
	return nil
}

// ImportKey adds a used idempotency key. It returns errors as ImportJob does.
func (c *Cluster) ImportKey(ctx context.Context, k job.KeyRecord) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeKey, KeyRecord: k})
	return err
}

// ImportTombstone adds the tombstone of a deleted job. It returns errors as ImportJob does.
func (c *Cluster) ImportTombstone(ctx context.Context, t job.Tombstone) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeTombstone, Tombstone: t})
	return err
}

// applyImport applies an imported record.
func (c *Cluster) applyImport(ctx context.Context, next appliedIndex, p *job.Proposal) error {
	if err := c.replica.Flush(ctx); err != nil {
		return err
	}
	switch p.Kind {
	case job.ProposeKey:
		return c.replica.ImportKey(ctx, p.KeyRecord)
	case job.ProposeTombstone:
		return c.replica.ImportTombstone(ctx, p.Tombstone)
	}
	c.state.mu.Lock()
	err := c.state.checkPending(&p.View, nil)
	c.state.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.replica.ImportJob(ctx, p.View, p.Spec, p.Log, p.Deliveries); err != nil {
		return err
	}
	return c.replica.ApplyReplicated(ctx, job.Batch{}, c.addImported(p, next.from+1)...)
}

// addImported adds an imported job of message seq to the state, unless it has ended, and returns its metadata.
func (c *Cluster) addImported(p *job.Proposal, seq uint64) []journal.Metadata {
	now := time.Now()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	seq = c.state.neededSeq(&p.View, seq)
	c.state.ages.submitted(seq)
	if p.View.State.Terminal() {
		c.state.ages.ended(seq, p.View.ExpiresAt, c.cfg.spanLength())
		return c.state.ages.metadata()
	}
	s := &jobState{job: p.View, seq: seq, movedAt: now, started: c.clock.ago(p.View.StartedAt)}
	for _, ev := range p.Log {
		if a, ok := ev.(job.TaskProgress); ok {
			c.state.applyTaskProgress(s, &a)
		}
	}
	if s.job.State == job.Cancelling {
		s.ending, s.decidedAt = &job.Finished{State: job.Cancelled}, now
	}
	c.state.jobs[s.job.ID] = s
	c.state.dependents.Update(&job.Job{}, &s.job)
	c.state.enqueue(s, c.clock.ago(p.View.CreatedAt))
	c.state.count(s, +1)
	c.state.countQueue(s, +1)
	c.state.digest.update(s)
	c.state.signal()
	return []journal.Metadata{{Name: metaJob + s.job.ID.String(), Value: s.appendMetadata(nil)}}
}

// Uses reports whether the spec of an unfinished job contains the refID of an array. Only jobs that sum arrays are
// searched.
func (c *Cluster) Uses(refID string) bool {
	type name struct {
		tenant string
		id     job.ID
	}
	var names []name
	c.state.mu.Lock()
	for id, s := range c.state.jobs {
		if s.job.Progress.BytesTotal > 0 {
			names = append(names, name{s.job.Tenant, id})
		}
	}
	c.state.mu.Unlock()
	for _, n := range names {
		spec, err := c.replica.Spec(context.Background(), n.tenant, n.id, 0)
		if err != nil && !errors.Is(err, job.ErrNotFound) || bytes.Contains(spec, []byte(refID)) {
			return true
		}
	}
	return false
}

// CatchUp returns when this node has applied everything that any node had accepted before the call. It appends a message
// without effect, which follows everything accepted before in the log, so it is for operations that write anyway.
func (c *Cluster) CatchUp(ctx context.Context) error {
	d, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeBatch})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return stalledLog(err)
	}
	return c.await(ctx, d.seq)
}
