package cluster

import (
	"context"
	"errors"
	"iter"
	"time"

	"gather/internal/job"
)

// Append proposes a batch and returns. b.Done is called once, when the replica of this node has the batch or the batch is
// rejected, and never when Append returns an error. While too much waits for the log, Append blocks until ctx is done,
// except for a batch with a Submitted event. Such a batch is rejected with a *job.Rejection of job.ErrStorage, immediately
// or through Done, while the log accepts no messages; with job.ErrQueueFull or job.ErrQuota if it exceeds its Admission at
// its place in the log; and with a *job.DuplicateKeyError or job.ErrKeyReused if another node has used its key. A batch with an
// event that is invalid at its place is rejected with job.ErrTransition. The events must not be changed afterwards.
func (c *Cluster) Append(ctx context.Context, b job.Batch) error {
	err := c.append(ctx, &b, nil, nil)
	if err != nil && b.Key != nil {
		c.replica.Release(*b.Key)
	}
	return err
}

// append proposes a batch with guards. If decided is not nil, it is called instead of b.Done.
func (c *Cluster) append(ctx context.Context, b *job.Batch, guards []job.Guard, decided func(applyResult)) error {
	now := c.Now()
	tenant, submits := submitter(b.Entries)
	delay := b.Delay
	var reserved *reservation
	if submits {
		delay = 0 // another node may run the job, so no event follows soon
		if err := errors.Join(c.checkHealthy(), c.replica.Ready()); err != nil {
			return asRejection(err)
		}
		nodes := len(c.members.live())
		var err error
		c.state.mu.Lock()
		reserved, err = c.state.reserve(b.Admission, tenant, nodes, func(n int) time.Duration { return c.state.ends.RetryAfter(time.Now(), n) }, time.Now())
		c.state.mu.Unlock()
		if err != nil {
			return err
		}
	}
	p := &job.Proposal{Kind: job.ProposeBatch, At: now, Entries: b.Entries, Guards: guards, Admission: b.Admission}
	if b.Key != nil {
		key := *b.Key
		key.Expires = now.Add(c.cfg.KeyRetention)
		p.Key = &key
	}
	done, key := b.Done, b.Key
	entries := b.Entries
	err := c.writer.put(ctx, p, &pending{submits: submits, reserved: reserved, done: func(d applyResult) {
		if key != nil {
			c.replica.Release(*key)
		}
		if submits {
			c.state.mu.Lock()
			c.state.recordOutcome(reserved, d)
			c.state.mu.Unlock()
		}
		if submits && d.err == nil {
			c.leases.submitted(entries, d.seq)
		}
		switch {
		case decided != nil:
			decided(d)
		case done != nil:
			done(d.err)
		}
	}}, delay)
	if err != nil && submits {
		c.state.mu.Lock()
		c.state.release(reserved)
		c.state.mu.Unlock()
	}
	return err
}

// asRejection returns err as a rejection of a submission.
func asRejection(err error) error {
	if r, ok := errors.AsType[*job.Rejection](err); ok {
		return r
	}
	return newRejection("replica", err.Error(), time.Second)
}

// propose writes a proposal of the node itself without blocking.
func (c *Cluster) propose(p *job.Proposal, done func(applyResult)) {
	if done == nil {
		done = func(applyResult) {}
	}
	if err := c.writer.put(nil, p, &pending{done: done}, 0); err != nil { //nolint:staticcheck // nil: do not wait
		done(applyResult{err: err})
	}
}

// proposeAndWait writes a proposal and waits for the outcome.
func (c *Cluster) proposeAndWait(ctx context.Context, p *job.Proposal) (applyResult, error) {
	if err := c.checkHealthy(); err != nil {
		return applyResult{}, asRejection(err)
	}
	result := make(chan applyResult, 1)
	p.At = c.Now()
	if err := c.writer.put(ctx, p, &pending{done: func(d applyResult) { result <- d }}, 0); err != nil {
		return applyResult{}, err
	}
	select {
	case d := <-result:
		return d, d.err
	case <-ctx.Done():
		return applyResult{}, context.Cause(ctx)
	}
}

// Elapsed returns the time since an instant that a node recorded.
func (c *Cluster) Elapsed(since time.Time) time.Duration { return max(0, c.Now().Sub(since)) }

// Recover visits every unfinished job, in the order of their ids.
func (c *Cluster) Recover(ctx context.Context, visit func(view job.Job, spec []byte, log iter.Seq2[job.LogRecord, error]) error) error {
	return c.replica.Recover(ctx, visit)
}

// Get returns the view of a job. If the replica does not have the job, it applies the log up to its end before it returns
// job.ErrNotFound or job.ErrExpired. It returns job.ErrStorage if the end of the log cannot be determined.
func (c *Cluster) Get(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	j, err := c.replica.Get(ctx, tenant, id)
	if !errors.Is(err, job.ErrNotFound) {
		return j, err
	}
	if err := c.ReadBarrier(ctx); err != nil {
		return job.Job{}, err
	}
	return c.replica.Get(ctx, tenant, id)
}

// Log returns durable events with a last seq above after.
func (c *Cluster) Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	return c.replica.Log(ctx, id, after, limit)
}

// ItemsByIndex returns durable items with an index above after.
func (c *Cluster) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error) {
	return c.replica.ItemsByIndex(ctx, id, after, limit)
}

// List returns the matching jobs of the replica, newest first.
func (c *Cluster) List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error) {
	return c.replica.List(ctx, q)
}

// Count returns the number of a tenant's jobs by state, of some kinds or of all, in the replica.
func (c *Cluster) Count(ctx context.Context, tenant string, kinds []string) (job.Counts, error) {
	return c.replica.Count(ctx, tenant, kinds)
}

// Group returns a group of a tenant in the replica. If the replica has no job of it, it applies the log up to its end before it
// returns job.ErrGroupNotFound.
func (c *Cluster) Group(ctx context.Context, tenant, name string) (job.Group, error) {
	g, err := c.replica.Group(ctx, tenant, name)
	if !errors.Is(err, job.ErrGroupNotFound) {
		return g, err
	}
	if err := c.ReadBarrier(ctx); err != nil {
		return job.Group{}, err
	}
	return c.replica.Group(ctx, tenant, name)
}

// Groups returns groups of the replica, in the order of their names.
func (c *Cluster) Groups(ctx context.Context, tenant, after string, limit int) ([]job.Group, error) {
	return c.replica.Groups(ctx, tenant, after, limit)
}

// GroupEnds returns ends of jobs of a group in the replica, in their order.
func (c *Cluster) GroupEnds(ctx context.Context, tenant, name string, after uint64, limit int) ([]job.GroupEnd, error) {
	return c.replica.GroupEnds(ctx, tenant, name, after, limit)
}

// Spec returns the spec of a job; see journal.Journal.
func (c *Cluster) Spec(ctx context.Context, tenant string, id job.ID, limit int) ([]byte, error) {
	return c.replica.Spec(ctx, tenant, id, limit)
}

// Watch returns a channel that is signalled after changes of a job in the replica.
func (c *Cluster) Watch(id job.ID) (changed <-chan struct{}, stop func()) { return c.replica.Watch(id) }

// Delete removes a terminal job on all nodes. It returns job.ErrNotFinished, job.ErrNotFound, job.ErrExpired or
// job.ErrStorage.
func (c *Cluster) Delete(ctx context.Context, tenant string, id job.ID) error {
	j, err := c.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	if !j.State.Terminal() { // another node may have shown its end already
		if err := c.CatchUp(ctx); err != nil {
			return err
		}
		if j, err = c.replica.Get(ctx, tenant, id); err != nil {
			return err
		}
		if !j.State.Terminal() {
			return job.ErrNotFinished
		}
	}
	_, err = c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeDelete, Tenant: tenant, ID: id})
	return err
}

// Results returns the bytes of results in the replica, of an unfinished job and of all jobs of a tenant.
func (c *Cluster) Results(tenant string, id job.ID) (ofJob, ofTenant int64) {
	return c.replica.Results(tenant, id)
}

// Stats returns the counts of a tenant's jobs, of the whole cluster, since this node started.
func (c *Cluster) Stats(ctx context.Context, tenant string) (job.Stats, error) {
	return c.replica.Stats(ctx, tenant)
}

// Reserve reserves an idempotency key on this node; see journal.Journal. If another node uses the key at the same time, the
// later submission in the log is rejected.
func (c *Cluster) Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error) {
	return c.replica.Reserve(ctx, key)
}

// Release releases a reserved key.
func (c *Cluster) Release(key job.Key) { c.replica.Release(key) }

// Cancel requests that a job stops, and returns the job when the request is durable. A job that has ended or is being
// cancelled is returned unchanged. It returns job.ErrNotFound, job.ErrExpired or job.ErrStorage.
func (c *Cluster) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	j, err := c.Get(ctx, tenant, id)
	if err != nil || j.State.Terminal() || j.State == job.Cancelling {
		return j, err
	}
	d, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeBatch, Entries: []job.Entry{
		{ID: id, Events: []job.Event{job.CancelRequested{At: c.Now()}}},
	}})
	if err != nil && !errors.Is(err, job.ErrTransition) { // otherwise it has ended, or was cancelled, meanwhile
		return job.Job{}, err
	}
	c.finishIfLast(id, d)
	if err := c.replica.Flush(ctx); err != nil {
		return job.Job{}, err
	}
	return c.replica.Get(ctx, tenant, id)
}

// finish ends a job that is ending and has no participants left.
func (c *Cluster) finish(id job.ID) {
	c.state.mu.Lock()
	s := c.state.jobs[id]
	if s == nil || s.ending == nil || s.active > 0 {
		c.state.mu.Unlock()
		return
	}
	how, j := *s.ending, s.job
	c.state.mu.Unlock()
	how.At = c.Now()
	p := &job.Proposal{Kind: job.ProposeBatch, At: how.At, Entries: []job.Entry{{ID: id, Events: []job.Event{how}}}}
	c.propose(p, func(d applyResult) {
		if d.err != nil {
			return // another node has ended the job
		}
		if ended, err := job.Apply(j, how); err == nil {
			c.cfg.Ended(&ended)
		}
	})
}
