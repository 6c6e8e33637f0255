package executor_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// fakeCluster is a cluster in memory: one log, one queue of messages and the nodes that lease tasks from it. It fails the
// test when a node breaks the rules of a lease.
type fakeCluster struct {
	t  testing.TB
	mu sync.Mutex
	// jobs holds all submitted jobs; queue has a message for each task that could run now.
	jobs  map[job.ID]*fakeJob
	queue []message
	nodes []*fakeNode
	// slow is the latency of an append; stuck appends wait for their context; reject reports whether an append is rejected.
	slow time.Duration
	// latency is the time from a request for a lease to the lease.
	latency time.Duration
	reject  func(events []job.Event) bool
	stuck   bool
	// skew is how far ahead the clock is that stamps Started events.
	skew time.Duration
	// partitions is the maximum number of tasks of a job that are leased at the same time.
	partitions int
	// full, if not nil, is the error that submissions get.
	full error
	// out is the number of current leases, given the number of leases ever granted.
	out, given int
	leases     map[*fakeLease]struct{}
	// appends counts calls of Append for each job.
	appends   map[job.ID]int
	admission *job.Admission // of the last submission
}

type fakeJob struct {
	view   job.Job
	spec   []byte
	size   job.Size
	log    []job.LogRecord
	ending *job.Finished
	ctx    context.Context //nolint:containedctx // the job's own
	end    context.CancelFunc
	out    int
	done   map[int]bool
	nodes  map[string]int // the number of leases that each node had
	spread bool           // the messages of all tasks are, or were, in the queue
	reduce bool           // the message of the reduction is, or was, in the queue
}

type message struct {
	id   job.ID
	task int
}

func newFakeCluster(t testing.TB) *fakeCluster {
	return &fakeCluster{t: t, partitions: 4, jobs: make(map[job.ID]*fakeJob), appends: make(map[job.ID]int), leases: make(map[*fakeLease]struct{})}
}

// fakeNode is a node of a fakeCluster: it implements executor.Cluster and executor.Journal.
type fakeNode struct {
	*fakeCluster
	name    string
	e       *executor.Executor
	granted chan *job.Lease
	wants   int
	dead    bool
	leader  bool
}

func (r *fakeCluster) join(name string) *fakeNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &fakeNode{fakeCluster: r, name: name, granted: make(chan *job.Lease, 1000), leader: len(r.nodes) == 0}
	r.nodes = append(r.nodes, m)
	return m
}

func (m *fakeNode) Leases() <-chan *job.Lease { return m.granted }

func (m *fakeNode) RequestLeases(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wants += n
	m.later()
}

// later calls deal when the latency has passed. Caller holds mu.
func (r *fakeCluster) later() {
	if r.latency == 0 {
		r.deal()
		return
	}
	time.AfterFunc(r.latency, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.deal()
	})
}

// deal grants leases to the nodes that requested some. Caller holds mu.
func (r *fakeCluster) deal() {
	for again := true; again; {
		again = false
		for _, m := range r.nodes {
			if m.wants > 0 && !m.dead && len(r.queue) > 0 {
				msg := r.queue[0]
				r.queue = r.queue[1:]
				r.give(m, msg)
				again = true
			}
		}
	}
}

func (r *fakeCluster) give(m *fakeNode, msg message) {
	s := r.jobs[msg.id]
	if s.view.State.Terminal() || s.ending != nil {
		return
	}
	h := &fakeLease{m: m, s: s, msg: msg}
	h.lease = &job.Lease{Job: s.view, Spec: s.spec, Task: msg.task, Context: s.ctx, LeaseHandle: h}
	for _, rec := range s.log {
		if a, ok := rec.Event.(job.TaskProgress); ok && a.Task == msg.task {
			h.lease.Resumed = true
		}
	}
	m.wants--
	r.leases[h] = struct{}{}
	r.out++
	r.given++
	s.out++
	s.nodes[m.name]++
	m.granted <- h.lease
}

// Elapsed implements executor.Journal.
func (*fakeNode) Elapsed(since time.Time) time.Duration { return time.Since(since) }

// push inserts a message into the queue, new jobs before running ones. Caller holds mu.
func (r *fakeCluster) push(msg message) {
	at := len(r.queue)
	if r.jobs[msg.id].view.State == job.Queued {
		at = slices.IndexFunc(r.queue, func(m message) bool { return r.jobs[m.id].view.State != job.Queued })
		if at < 0 {
			at = len(r.queue)
		}
	}
	r.queue = slices.Insert(r.queue, at, msg)
	r.later()
}

// apply appends events, all or none. Caller holds mu.
func (r *fakeCluster) apply(s *fakeJob, events ...job.Event) error {
	view, log := s.view, s.log
	for _, ev := range events {
		var err error
		if view, err = job.Apply(view, ev); err != nil {
			return err
		}
		log = append(log, job.LogRecord{Seq: view.Seq, Event: ev})
	}
	s.view, s.log = view, log
	for _, ev := range events {
		if a, ok := ev.(job.TaskProgress); ok && a.Done {
			if s.done[a.Task] {
				r.t.Errorf("task %d is done twice", a.Task)
			}
			s.done[a.Task] = true
		}
	}
	if view.State.Terminal() {
		s.end()
	}
	return nil
}

// decide records how a job ends, and ends it when none of its tasks is leased. Caller holds mu.
func (r *fakeCluster) decide(m *fakeNode, s *fakeJob, how job.Finished) (ended *job.Job) {
	if s.ending == nil && !s.view.State.Terminal() {
		s.ending = &how
		s.end()
	}
	return r.lastOut(m, s)
}

func (r *fakeCluster) lastOut(m *fakeNode, s *fakeJob) (ended *job.Job) {
	if s.ending == nil || s.out > 0 || s.view.State.Terminal() {
		return nil
	}
	how := *s.ending
	how.At = time.Now()
	if err := r.apply(s, how); err != nil {
		r.t.Errorf("%s ends a job: %v", m.name, err)
	}
	view := s.view
	return &view
}

func (m *fakeNode) Cancel(_ context.Context, tenant string, id job.ID) (job.Job, error) {
	m.mu.Lock()
	s := m.jobs[id]
	if s == nil || s.view.Tenant != tenant {
		m.mu.Unlock()
		return job.Job{}, job.ErrNotFound
	}
	var ended *job.Job
	if m.apply(s, job.CancelRequested{At: time.Now()}) == nil {
		ended = m.decide(m, s, job.Finished{State: job.Cancelled})
	}
	view := s.view
	m.mu.Unlock()
	m.recordEnd(ended)
	return view, nil
}

func (m *fakeNode) recordEnd(ended *job.Job) {
	if ended != nil {
		m.e.RecordEnd(ended)
	}
}

func (m *fakeNode) Position(id job.ID) (int, time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, msg := range m.queue {
		if msg.id == id {
			return i + 1, time.Duration(i+1) * 20 * time.Second, true
		}
	}
	return 0, 0, false
}

func (m *fakeNode) Unfinished(visit func(*job.Job, job.Size)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.jobs {
		if !s.view.State.Terminal() {
			visit(&s.view, s.size)
		}
	}
	return m.leader
}

// Append appends submissions.
func (m *fakeNode) Append(_ context.Context, b job.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.admission = b.Admission
	if m.full != nil {
		b.Done(m.full)
		return nil
	}
	for i, e := range b.Entries {
		sub, ok := e.Events[0].(job.Submitted)
		if !ok || len(e.Events) > 1 {
			m.t.Errorf("got %v, want one Submitted", e.Events)
		}
		s := &fakeJob{
			spec: sub.Spec, size: b.Admission.Sizes[i], done: make(map[int]bool), nodes: make(map[string]int),
		}
		s.ctx, s.end = context.WithCancel(context.Background()) //nolint:fatcontext // each job has its own
		m.jobs[e.ID] = s
		if err := m.apply(s, sub); err != nil {
			m.t.Errorf("submit: %v", err)
		}
		time.AfterFunc(time.Until(s.view.StartAfter), func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.push(message{e.ID, 0})
		})
	}
	b.Done(nil)
	return nil
}

func (m *fakeNode) Get(_ context.Context, tenant string, id job.ID) (job.Job, error) {
	if j := m.job(id); j.Tenant == tenant {
		return j, nil
	}
	return job.Job{}, job.ErrNotFound
}

// Release implements executor.Journal.
func (*fakeNode) Release(job.Key) {}

// Recover must not be called: the jobs are the cluster's.
func (m *fakeNode) Recover(context.Context, func(job.Job, []byte, job.LogSeq) error) error {
	m.t.Error("a node recovers jobs")
	return nil
}

// job returns the view of a job.
func (r *fakeCluster) job(id job.ID) job.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.jobs[id]; s != nil {
		return s.view
	}
	return job.Job{}
}

// leasesByNode returns how many leases of a job each node had.
func (r *fakeCluster) leasesByNode(id job.ID) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[id].nodes
}

// items returns the indexes of the items in a job's log, in ascending order.
func (r *fakeCluster) items(id job.ID) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []int64
	for _, rec := range r.jobs[id].log {
		if a, ok := rec.Event.(job.TaskProgress); ok {
			for _, item := range a.Items.All() {
				all = append(all, item.Index)
			}
		}
	}
	slices.Sort(all)
	return all
}

// kill revokes all leases of a node, which gets no new ones.
func (r *fakeCluster) kill(m *fakeNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.dead = true
	for h := range r.leases {
		if h.m == m {
			h.revoke()
		}
	}
}

var (
	_ executor.Cluster = (*fakeNode)(nil)
	_ executor.Journal = (*fakeNode)(nil)
	_ job.LeaseHandle  = (*fakeLease)(nil)
)
