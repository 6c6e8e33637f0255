package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"gather/internal/job"
	"gather/internal/journal"
)

// applyProposal decides one proposal and applies it, together with the applied index after it.
func (c *Cluster) applyProposal(ctx context.Context, next appliedIndex, at time.Time, author string, p *job.Proposal) error {
	var err error
	last := false
	switch p.Kind {
	case job.ProposeBatch:
		return c.applyBatch(ctx, next, at, author, p)
	case job.ProposeJoin, job.ProposeLeave, job.ProposeDecision:
		last, err = c.applyParticipation(ctx, next, p)
	case job.ProposeDelivery:
		return c.applyDelivery(ctx, next, author, p)
	case job.ProposeDelete:
		if err = c.retryReplica(ctx, func() error { return c.replica.Flush(ctx) }); err == nil {
			err = c.retryReplica(ctx, func() error { return c.replica.DeleteReplicated(ctx, p.Tenant, p.ID) })
		}
	case job.ProposeTrim, job.ProposeLargeTrim, job.ProposeSnapshotTrim:
		err = c.applyTrim(ctx, next, p)
	case job.ProposeJob, job.ProposeKey, job.ProposeTombstone:
		err = c.applyImport(ctx, next, p)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.reportOutcome(author, p, applyResult{err, last, next.seq})
	return nil
}

// retryReplica retries an operation on the replica that fails because of this node's disk, because every node must apply
// the log.
func (c *Cluster) retryReplica(ctx context.Context, f func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if errors.Is(err, job.ErrNotFinished) || errors.Is(err, journal.ErrClosed) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(applyPause)), backoff.WithMaxElapsedTime(0), backoff.WithNotify(
		func(err error, _ time.Duration) {
			c.log.Warn("the replica cannot be written; retrying", "error", err)
		}))
	return err
}

// applyBatch decides and applies a batch of events.
func (c *Cluster) applyBatch(ctx context.Context, next appliedIndex, at time.Time, author string, p *job.Proposal) error {
	now := time.Now()
	tenant, submits := submitter(p.Entries)
	trimRecord := submits && c.trimRecord != nil && next.seq <= c.trimRecord.Through
	var err error
	switch {
	case !trimRecord:
		err = c.checkKey(ctx, p)
	case c.trimRecord.rejects(next):
		err = transition("it was rejected before the log was trimmed")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	last := false
	var metadata []journal.Metadata
	var released []string
	var cancelled []*job.Job
	var reserved *reservation
	if submits && author == c.id {
		reserved = c.writer.reservation(p.Number)
	}
	c.state.mu.Lock()
	c.state.release(reserved) // the submission is decided
	if err == nil && submits && !trimRecord {
		err = c.state.checkCapacity(p.Admission, tenant, func(n int) time.Duration { return c.state.ends.RetryAfter(now, n) })
	}
	var updated map[job.ID]job.Job
	if err == nil {
		updated, err = c.state.check(p)
	}
	var caused []job.Entry
	if err == nil {
		caused = c.state.resolve(p, updated)
		p.Entries = append(slices.Clip(p.Entries), caused...)
		c.state.apply(p, author, updated, origin{
			seq: next.from + 1, at: c.clock.ago(at), spanLength: c.cfg.spanLength(), keyRetention: c.cfg.KeyRetention,
		}, now)
		for id := range updated {
			s := c.state.jobs[id]
			if s == nil {
				metadata = append(metadata, journal.Metadata{Name: metaJob + id.String()})
				continue
			}
			last = last || s.allDone() && s.ending == nil || s.ending != nil && s.active == 0
			if submits || s.ending != nil && s.decidedAt.Equal(now) {
				metadata = append(metadata, journal.Metadata{Name: metaJob + id.String(), Value: s.appendMetadata(nil)})
			}
			c.leaveIfIdle(s)
		}
		metadata = append(metadata, c.state.ages.metadata()...)
		if author == c.id {
			released, cancelled = c.followCaused(caused, updated)
		}
	} else {
		c.state.digest.reject(next)
	}
	c.state.mu.Unlock()
	if err != nil {
		c.met.reject(err)
		if submits {
			metadata = append(metadata, c.recordRejected(job.Rejected{Seq: next.seq, Index: next.n}))
		}
		var b job.Batch
		if errors.Is(err, job.ErrDependencyEnded) { // once the end of the dependency can be read
			b.Done = func(error) { c.reportOutcome(author, p, applyResult{err: err, seq: next.seq}) }
		}
		if err := c.replica.ApplyReplicated(ctx, b, append(metadata, next.metadata())...); err != nil {
			return err
		}
		if b.Done == nil {
			c.reportOutcome(author, p, applyResult{err: err, seq: next.seq})
		}
		return nil
	}
	if p.Key != nil {
		c.keys.add(p)
	}
	return c.replica.ApplyReplicated(ctx, job.Batch{Entries: p.Entries, Key: p.Key, Done: func(err error) {
		if p.Key != nil {
			c.keys.remove(p)
		}
		if err != nil && !errors.Is(err, job.ErrStorage) {
			c.log.Error("the replica rejected a batch that the log accepted", "error", err)
		}
		c.reportOutcome(author, p, applyResult{err, last, next.seq})
		for _, subject := range released {
			c.leases.enqueueTaskAsync(subject, next.seq)
		}
		for _, j := range cancelled {
			c.cfg.Ended(j)
		}
	}}, append(metadata, next.metadata())...)
}

// submitter returns the tenant of the jobs that a batch submits; false if it submits none.
func submitter(entries []job.Entry) (tenant string, submits bool) {
	for i := range entries {
		for _, ev := range entries[i].Events {
			if s, ok := ev.(job.Submitted); ok {
				return s.Job.Tenant, true
			}
		}
	}
	return "", false
}

// checkKey returns an error if the idempotency key of a batch is in use.
func (c *Cluster) checkKey(ctx context.Context, p *job.Proposal) error {
	if p.Key == nil {
		return nil
	}
	// All nodes must agree, so the time is the log's, not the author's.
	at := c.logTime()
	ids, fingerprint, found := c.keys.get(p.Key, at)
	if !found {
		if err := c.retryReplica(ctx, func() (err error) {
			ids, fingerprint, err = c.replica.KeyUsed(ctx, *p.Key, at)
			return err
		}); err != nil {
			return err
		}
	}
	switch {
	case len(ids) == 0:
		return nil
	case fingerprint != p.Key.Fingerprint:
		return job.ErrKeyReused
	}
	return &job.DuplicateKeyError{IDs: ids}
}

// applyParticipation applies a change of a job's participants, or the decision of its end. It reports whether the job now
// waits only for its last event.
func (c *Cluster) applyParticipation(ctx context.Context, next appliedIndex, p *job.Proposal) (last bool, err error) {
	c.state.mu.Lock()
	s := c.state.jobs[p.ID]
	switch {
	case s == nil:
		err = transition("job %s has ended", p.ID)
	case p.Kind == job.ProposeDecision && p.Finished.State == job.Cancelled && s.job.Waits == 0:
		err = transition("job %s no longer waits for other jobs", p.ID)
	case p.Kind == job.ProposeJoin && s.ending != nil:
		err = transition("job %s is ending", p.ID)
	case p.Kind == job.ProposeJoin:
		if !s.participants[p.Node] {
			s.active++
		}
		if s.participants == nil {
			s.participants = make(map[string]bool)
		}
		s.participants[p.Node] = true
	case p.Kind == job.ProposeLeave:
		if s.participants[p.Node] {
			s.active--
			s.participants[p.Node] = false
		}
	default:
		c.state.setEnding(s, p.Finished, time.Now())
		c.leaveIfIdle(s)
	}
	var value []byte
	if err != nil {
		c.state.digest.reject(next)
	} else {
		c.state.digest.update(s)
		last = s.ending != nil && s.active == 0
		value = s.appendMetadata(nil)
		s.movedAt = time.Now()
		c.state.signal()
	}
	c.state.mu.Unlock()
	metadata := []journal.Metadata{next.metadata()}
	if err != nil {
		c.met.reject(err)
	} else {
		metadata = append(metadata, journal.Metadata{Name: metaJob + p.ID.String(), Value: value})
	}
	return last, errors.Join(err, c.replica.ApplyReplicated(ctx, job.Batch{}, metadata...))
}

// reportOutcome reports the outcome of a proposal to its author, if that is this node.
func (c *Cluster) reportOutcome(author string, p *job.Proposal, d applyResult) {
	if author != c.id {
		return
	}
	rejected := c.writer.complete(p.Number, d)
	// The submission was rejected while its outcome was unknown, and is in the log after all. A client with a key was asked to
	// retry, and must get the job.
	if _, submits := submitter(p.Entries); submits && rejected && d.err == nil && p.Key == nil {
		for i := range p.Entries {
			id := p.Entries[i].ID
			c.propose(&job.Proposal{Kind: job.ProposeBatch, At: c.Now(), Entries: []job.Entry{{
				ID: id, Events: []job.Event{job.CancelRequested{At: c.Now()}},
			}}}, func(d applyResult) { c.finishIfLast(id, d) })
		}
	}
}

// finishIfLast ends a job if only its last event is missing after an outcome.
func (c *Cluster) finishIfLast(id job.ID, d applyResult) {
	if d.err == nil && d.last {
		c.finish(id)
	}
}
