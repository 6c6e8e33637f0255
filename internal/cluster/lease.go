package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// A taskLease is a lease of this node.
type taskLease struct {
	c       *Cluster
	lease   *job.Lease
	ref     taskRef
	subject string

	// Guarded by leaseQueue.mu. msg is nil for a lease that did not arrive as a message.
	msg      jetstream.Msg
	finished bool

	// Guarded by state.mu.
	jobState *jobState
	// step is the number of appended steps of the task, on all nodes. appended is closed when the last append of this lease is
	// decided; nil before the first.
	step     int
	appended chan struct{}
	done     bool // the log has the end of the task
	last     bool // the log has the end of all tasks
	rejected bool // an append was rejected
	decided  bool // the lease has decided the end of its job
	// run is the number of tasks of the partition that this node ran before this one under the same message.
	run int
	// seq is the message of the last appended event.
	seq uint64
}

// acceptTimeout bounds the time for which a lease waits for this node's replica.
const acceptTimeout = 2 * time.Second

// accept returns the lease of a message; nil if there is nothing to run.
func (q *leaseQueue) accept(ctx context.Context, m jetstream.Msg) (*job.Lease, error) {
	c := q.c
	p, ok := c.parseSubject(m.Subject())
	if !ok {
		return nil, m.Term()
	}
	minSeq, _ := binary.Uvarint(m.Data())
	wait, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if err := c.awaitApplied(wait, minSeq); err != nil {
		return nil, err
	}
	if meta, err := m.Metadata(); err == nil && meta.NumDelivered > 1 {
		c.met.redelivered.Inc()
	}
	h := &taskLease{c: c, ref: p, subject: m.Subject(), msg: m}
	subjects, drop, err := h.resolveTask()
	if err != nil {
		return nil, err
	}
	for _, subject := range subjects {
		if err := c.enqueueTask(wait, subject, minSeq); err != nil {
			h.release()
			return nil, err
		}
	}
	if drop {
		return nil, m.Ack()
	}
	q.mu.Lock()
	if old := q.held[h.subject]; old != nil {
		// The message was redelivered although this node has the lease: the newer message replaces the older one.
		old.msg = m
		q.mu.Unlock()
		h.release()
		return nil, nil
	}
	q.held[h.subject] = h
	q.mu.Unlock()
	spec, err := c.replica.Spec(wait, h.lease.Job.Tenant, p.id, 0)
	if errors.Is(err, job.ErrNotFound) {
		if err = c.replica.Flush(wait); err == nil {
			spec, err = c.replica.Spec(wait, h.lease.Job.Tenant, p.id, 0)
		}
	}
	if err != nil {
		h.unregister()
		h.release()
		if errors.Is(err, job.ErrNotFound) {
			return nil, m.Nak() // the job has ended; resolveTask drops the message when it is redelivered
		}
		return nil, err
	}
	h.lease.Spec = spec
	c.met.leased(p.queue)
	return h.lease, nil
}

// resolveTask chooses the task of the lease. It returns the subjects of tasks to queue first, and reports whether the
// message is dropped, because its job or task has ended, or a pause holds the job.
func (h *taskLease) resolveTask() (subjects []string, drop bool, err error) {
	t := &h.c.state
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.jobs[h.ref.id]
	if s == nil || s.ending != nil || s.held && s.job.State == job.Queued {
		return nil, true, nil
	}
	task := h.ref.task
	switch {
	case s.job.State == job.Queued && !h.ref.isNew:
		return nil, false, errors.New("the replica lags: the job has not started in it")
	case s.job.State == job.Queued || s.job.Tasks <= 1:
	case task == job.Reduction && !s.allDone():
		return nil, true, nil
	case task == job.Reduction:
	default:
		if h.ref.isNew {
			// The node with the first lease may have died before it queued the other tasks.
			for partition := 1; partition < partitions(s.job.Tasks); partition++ {
				if next, ok := s.firstUnfinished(partition); ok {
					subjects = append(subjects, h.c.subjectOf(s, false, next))
				}
			}
		}
		if !s.isDone(task) {
			break
		}
		if next, ok := s.nextUnfinished(task); ok {
			return append(subjects, h.c.subjectOf(s, false, next)), true, nil
		}
		if !s.allDone() {
			return subjects, true, nil
		}
		task = job.Reduction
	}
	if s.job.Tasks > 0 && s.job.State != job.Queued && s.allDone() {
		task = job.Reduction
	}
	h.attach(s, task)
	return subjects, false, nil
}

// attach creates the lease for a task of a job. Caller holds state.mu.
func (h *taskLease) attach(s *jobState, task int) {
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
	}
	s.leases++
	h.jobState, h.step = s, s.steps[task]
	h.lease = &job.Lease{
		Job: s.job, Task: task, Started: s.started, Resumed: h.step > 0, Context: s.ctx, LeaseHandle: h,
	}
}

// release removes the lease from its job, and proposes to leave the job if it is ending.
func (h *taskLease) release() {
	h.c.state.mu.Lock()
	defer h.c.state.mu.Unlock()
	if s := h.jobState; s != nil {
		h.jobState = nil
		s.leases--
		h.c.leaveIfIdle(s)
	}
}

// leaveIfIdle proposes that this node leaves a job that is ending, when it has no lease of the job. Caller holds state.mu.
func (c *Cluster) leaveIfIdle(s *jobState) {
	if s.ending == nil || s.leases > 0 || s.leaving || !s.participates(c.id) || c.state.jobs[s.job.ID] != s {
		return
	}
	s.leaving = true
	id := s.job.ID
	c.propose(&job.Proposal{Kind: job.ProposeLeave, At: c.Now(), ID: id, Node: c.id}, func(d applyResult) { c.finishIfLast(id, d) })
}

func (h *taskLease) unregister() {
	q := &h.c.leases
	q.mu.Lock()
	defer q.mu.Unlock()
	h.finished = true
	if q.held[h.subject] == h {
		delete(q.held, h.subject)
	}
}

// Start implements job.LeaseHandle.
func (h *taskLease) Start(ctx context.Context) error {
	c := h.c
	c.state.mu.Lock()
	s := h.jobState
	switch {
	case s == nil || s.ending != nil || c.state.jobs[h.ref.id] != s:
		c.state.mu.Unlock()
		return transition("job %s is ending", h.ref.id)
	case s.participates(c.id) && s.job.State == job.Running:
		h.lease.Job, h.lease.Started = s.job, s.started
		c.state.mu.Unlock()
		return nil
	}
	queued := s.job.State == job.Queued
	c.state.mu.Unlock()
	now := c.Now()
	if queued {
		// If another node was faster, this proposal is rejected, which does no harm.
		c.propose(&job.Proposal{Kind: job.ProposeBatch, At: now, Entries: []job.Entry{
			{ID: h.ref.id, Events: []job.Event{job.Started{At: now}}},
		}}, nil)
	}
	d, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeJoin, ID: h.ref.id, Node: c.id})
	if err != nil {
		return err
	}
	c.state.mu.Lock()
	h.lease.Job, h.lease.Started = s.job, s.started
	var subjects []string
	if h.ref.isNew && queued {
		for partition := 1; partition < partitions(s.job.Tasks); partition++ {
			if next, ok := s.firstUnfinished(partition); ok {
				subjects = append(subjects, c.subjectOf(s, false, next))
			}
		}
	}
	c.state.mu.Unlock()
	if len(subjects) > 0 {
		c.leases.running.Go(func() { c.enqueueTasks(context.Background(), subjects, d.seq) })
	}
	return nil
}

// enqueueTasks queues tasks. If that fails, the leader queues them.
func (c *Cluster) enqueueTasks(ctx context.Context, subjects []string, minSeq uint64) {
	try, cancel := context.WithTimeout(ctx, 2*publishTimeout)
	defer cancel()
	for _, subject := range subjects {
		if err := c.enqueueTask(try, subject, minSeq); err != nil {
			if ctx.Err() == nil {
				c.log.Debug("the leader will queue the task", "subject", subject, "error", err)
			}
			return
		}
	}
}

// Log implements job.LeaseHandle. It first waits until the replica has as much as the state, because a step of the task
// would otherwise be repeated.
func (h *taskLease) Log(ctx context.Context) job.LogSeq {
	return func(yield func(job.LogRecord, error) bool) {
		if err := h.c.replica.Flush(ctx); err != nil {
			yield(job.LogRecord{}, err)
			return
		}
		for after := uint64(0); ; {
			records, err := h.c.replica.Log(ctx, h.ref.id, after, logPage)
			if err != nil {
				yield(job.LogRecord{}, err)
				return
			}
			if len(records) == 0 {
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
				after = r.Seq
			}
		}
	}
}

// logPage is the number of events and items that one read of a log returns.
const logPage = 65536

// awaitAppended waits until the last append is decided. Steps of a task are compared by their number: if an earlier one of this lease
// were rejected, because another node has taken a step meanwhile, a later one could have the number that comes next, and items would
// be recorded twice.
func (h *taskLease) awaitAppended(ctx context.Context) error {
	h.c.state.mu.Lock()
	last := h.appended
	h.c.state.mu.Unlock()
	if last == nil {
		return nil
	}
	select {
	case <-last:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	h.c.state.mu.Lock()
	defer h.c.state.mu.Unlock()
	if h.rejected {
		return transition("an earlier step of task %d of job %s was rejected", h.lease.Task, h.ref.id)
	}
	return nil
}

// Append implements job.LeaseHandle.
func (h *taskLease) Append(ctx context.Context, done func(error), events ...job.Event) error {
	c := h.c
	if err := h.awaitAppended(ctx); err != nil {
		return err
	}
	guard := job.Guard{Task: h.lease.Task}
	finishes := false
	steps := 0
	task := false
	for _, ev := range events {
		switch ev := ev.(type) {
		case job.TaskProgress:
			steps++
			task = task || ev.Done
		case job.Finished:
			finishes = true
		}
	}
	appended := make(chan struct{})
	c.state.mu.Lock()
	guard.Step = h.step
	h.step += steps
	h.appended = appended
	c.state.mu.Unlock()
	if done == nil {
		done = func(error) {}
	}
	b := &job.Batch{Entries: []job.Entry{{ID: h.ref.id, Events: events}}}
	err := c.append(ctx, b, []job.Guard{guard}, func(d applyResult) {
		c.state.mu.Lock()
		switch {
		case d.err != nil:
			h.rejected = true
		case finishes:
			h.done = true
		case task:
			h.done, h.last = true, d.last
		}
		h.seq = max(h.seq, d.seq)
		c.state.mu.Unlock()
		close(appended)
		done(d.err)
	})
	if err != nil {
		close(appended) // it was not sent
	}
	return err
}

// Decide implements job.LeaseHandle.
func (h *taskLease) Decide(how job.Finished) {
	c := h.c
	c.state.mu.Lock()
	h.decided = true
	c.state.mu.Unlock()
	id := h.ref.id
	c.propose(&job.Proposal{Kind: job.ProposeDecision, At: c.Now(), ID: id, Finished: how}, func(d applyResult) { c.finishIfLast(id, d) })
}

// End implements job.LeaseHandle.
func (h *taskLease) End() {
	c := h.c
	c.state.mu.Lock()
	s := h.jobState
	if s == nil {
		c.state.mu.Unlock()
		return
	}
	over := c.state.jobs[h.ref.id] != s || s.ending != nil
	var next string
	proceed, continues := 0, false
	switch {
	case over || h.decided || h.rejected || !h.done:
	case h.last && s.allDone():
		proceed, continues = job.Reduction, true
	case h.lease.Task >= 0:
		task, ok := s.nextUnfinished(h.lease.Task)
		switch {
		case ok && h.run < maxRun && c.state.onlyOneActiveJob() && !c.draining.Load():
			proceed, continues = task, true
		case ok:
			next = c.subjectOf(s, false, task)
		}
	}
	done, rejected, decided, seq := h.done, h.rejected, h.decided, h.seq
	c.state.mu.Unlock()
	if continues {
		h.continueLocally(s, proceed)
		return
	}
	h.unregister()
	h.release()
	switch {
	case over || done && next == "":
		h.ack()
	case decided || rejected:
		// Another node has the task, or the message is redelivered and dropped because the job is ending.
	case done:
		c.leases.running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*publishTimeout)
			defer cancel()
			if err := c.enqueueTask(ctx, next, seq); err == nil {
				h.ack()
			}
		})
	default:
		h.nak()
	}
}

// maxRun is the number of tasks of a partition that a node runs in succession while no other job has tasks. The partition
// then returns to the queue, so that a node with a free worker can take it.
const maxRun = 16

// continueLocally gives a worker of this node another lease of the job under the same message: for the next task of the
// partition, if no other job waits, or for the reduction.
func (h *taskLease) continueLocally(s *jobState, task int) {
	c := h.c
	r := &taskLease{c: c, ref: h.ref, subject: h.subject, run: h.run + 1}
	c.state.mu.Lock()
	r.attach(s, task)
	r.lease.Spec = h.lease.Spec
	s.leases-- // of h
	h.jobState = nil
	c.state.mu.Unlock()
	q := &c.leases
	q.mu.Lock()
	defer q.mu.Unlock()
	h.finished = true
	r.msg = h.msg
	q.held[h.subject] = r
	p := r.lease.Job.Priority
	q.local[p] = append(q.local[p], r.lease)
	q.localTasks++
	q.wake.Notify()
}

func (h *taskLease) ack() {
	if h.msg != nil {
		_ = h.msg.Ack()
	}
}

// nak returns the task to the queue.
func (h *taskLease) nak() {
	if h.msg != nil {
		_ = h.msg.Nak()
		return
	}
	h.c.leases.enqueueTaskAsync(h.subject, h.c.appliedSeq())
}
