package cluster

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"gather/internal/job"
)

// The tasks of a job are cut into task partitions, runs of consecutive tasks. One task of each partition is queued or
// leased at a time, so the number of partitions is how many tasks of a job the nodes run at the same time. Consecutive
// tasks often read the same blocks of a store, and one node runs several of them one after the other.
const (
	// somePartitions is the number of partitions of a job with at least so many tasks, and maxPartitions the limit.
	somePartitions = 64
	maxPartitions  = 128
	// partitionTasks is how many tasks a partition has before a job gets more than somePartitions.
	partitionTasks = 4
)

func partitions(tasks int) int {
	return max(1, min(tasks, somePartitions), min(tasks/partitionTasks, maxPartitions))
}

// partitionStart returns the first task of a partition.
func partitionStart(tasks, partition int) int {
	n := partitions(tasks)
	// Without overflow: the share of each partition, and one task more for the first ones.
	return partition*(tasks/n) + min(partition, tasks%n)
}

// partitionOf returns the partition of a task.
func partitionOf(tasks, task int) int {
	n := partitions(tasks)
	share, rest := tasks/n, tasks%n
	if task < rest*(share+1) {
		return task / (share + 1)
	}
	return rest + (task-rest*(share+1))/max(1, share)
}

// A state has the unfinished jobs, as of the applied part of the log: enough to decide about the next proposal. Only the
// apply loop changes it, in the order of the log, so that all nodes have the same state.
type state struct {
	mu      sync.Mutex
	jobs    map[job.ID]*jobState
	tenants map[string]int
	bytes   int64
	waiting int64
	// Counts by priority: queued jobs, running jobs that may have queued tasks behind their first one, newJobs whose
	// first task may be queued, also when it was given back, and the short ones of them.
	queued, running, newJobs, shortNew [numPriorities]int
	// ends has the rate at which jobs end.
	ends job.Rate
	// delayed has the jobs whose start is a delay that has not passed, on the monotonic clock; instants those whose
	// start is an instant in the future, by the clock of the cluster, which now returns.
	delayed, instants delays
	now               func() time.Time
	// ranks has the positions of the queued jobs, as of rankedAt.
	ranks    map[job.ID]int
	rankedAt time.Time
	// ages has the ages of the parts of the log.
	ages ages
	// inFlight has the submissions of this node that are not applied yet.
	inFlight inFlightSubmissions
	// changed is closed, and replaced, when there may be more tasks to pull.
	changed chan struct{}
}

const numPriorities = int(job.High) + 1

// A jobState is the state of an unfinished job.
type jobState struct {
	job  job.Job
	size job.Size
	// author is the node that submitted the job, in message seq or later.
	author string
	seq    uint64
	// due is true when the start has come: the job is counted as queued.
	due bool
	// countedNew is true while the job is counted in newJobs.
	countedNew bool

	// done has a bit for each finished task; steps counts the steps of the others.
	done  []uint64
	steps map[int]int
	// participants has the nodes that run tasks of the job, or did: true until they have left.
	participants map[string]bool
	active       int
	// ending is the decided end of the job; nil while it runs normally. decidedAt is when this node applied the
	// decision.
	ending    *job.Finished
	decidedAt time.Time
	// movedAt is when this node applied the last change of the job.
	movedAt time.Time
	// started is when the job started, on the monotonic clock of this node.
	started time.Time

	// The fields below are not part of the shared state.

	// ctx ends when the job ends or is ending; nil until a lease needs it.
	ctx    context.Context //nolint:containedctx // of the leases of the job on this node
	cancel context.CancelCauseFunc
	// leases counts the leases that this node has.
	leases  int
	leaving bool
}

func (t *state) init() {
	t.changed = make(chan struct{})
	t.reset()
}

// reset removes all jobs.
func (t *state) reset() {
	t.jobs = make(map[job.ID]*jobState)
	t.tenants = make(map[string]int)
	t.bytes, t.waiting = 0, 0
	t.queued, t.running, t.newJobs, t.shortNew = [numPriorities]int{}, [numPriorities]int{}, [numPriorities]int{}, [numPriorities]int{}
	t.delayed, t.instants = nil, nil
	t.ages.reset()
}

// onlyOneActiveJob reports whether at most one job has runnable tasks, so that keeping a lease delays no other job.
// Caller holds t.mu.
func (t *state) onlyOneActiveJob() bool {
	queued, running := 0, 0
	for p := range t.queued {
		queued += t.queued[p]
		running += t.running[p]
	}
	return queued == 0 && running <= 1
}

// delays is a heap of jobs by their start.
type delays []delay

type delay struct {
	at time.Time
	s  *jobState
}

// Len implements heap.Interface, as do Less and Swap.
func (d delays) Len() int           { return len(d) }
func (d delays) Less(i, k int) bool { return d[i].at.Before(d[k].at) }
func (d delays) Swap(i, k int)      { d[i], d[k] = d[k], d[i] }

// Push implements heap.Interface.
func (d *delays) Push(x any) { *d = append(*d, x.(delay)) }

// Pop implements heap.Interface.
func (d *delays) Pop() any {
	last := (*d)[len(*d)-1]
	(*d)[len(*d)-1] = delay{}
	*d = (*d)[:len(*d)-1]
	return last
}

// popUntil removes and returns the jobs whose start has come.
func (d *delays) popUntil(now time.Time) (due []*jobState) {
	for len(*d) > 0 && !(*d)[0].at.After(now) {
		due = append(due, heap.Pop(d).(delay).s)
	}
	return due
}

// enqueue records the start of a queued job, or that it has come. The job was created at a time of the monotonic clock.
// Caller holds t.mu.
func (t *state) enqueue(s *jobState, created time.Time) {
	at, now, heaped := s.job.StartAfter, t.now(), &t.instants
	if s.job.Delay > 0 {
		at, now, heaped = created.Add(s.job.Delay), time.Now(), &t.delayed
	}
	if s.due = !at.After(now); !s.due {
		heap.Push(heaped, delay{at: at, s: s})
	}
}

// signal wakes the goroutine that pulls leases. Caller holds t.mu.
func (t *state) signal() {
	close(t.changed)
	t.changed = make(chan struct{})
}

func (s *jobState) isDone(task int) bool {
	return task/64 < len(s.done) && s.done[task/64]&(1<<(task%64)) != 0
}

func (s *jobState) setDone(task int) {
	if s.done == nil {
		s.done = make([]uint64, (s.job.Tasks+63)/64)
	}
	if task/64 < len(s.done) {
		s.done[task/64] |= 1 << (task % 64)
	}
	delete(s.steps, task)
}

// nextUnfinished returns the first unfinished task from the given one to the end of its partition; false when there is none.
func (s *jobState) nextUnfinished(task int) (int, bool) {
	for end := partitionStart(s.job.Tasks, partitionOf(s.job.Tasks, task)+1); task < end; task++ {
		if !s.isDone(task) {
			return task, true
		}
	}
	return 0, false
}

// firstUnfinished returns the first unfinished task of a partition; false when there is none.
func (s *jobState) firstUnfinished(partition int) (int, bool) {
	return s.nextUnfinished(partitionStart(s.job.Tasks, partition))
}

func (s *jobState) allDone() bool { return s.job.TasksDone >= s.job.Tasks }

// short reports whether the job is one task of well under a millisecond.
func (s *jobState) short() bool {
	return job.Size{
		Tasks: s.job.Tasks, Waiting: s.size.Waiting, Units: s.job.Progress.Total, Bytes: s.job.Progress.BytesTotal,
	}.Short()
}

// participates reports whether a node runs tasks of the job.
func (s *jobState) participates(node string) bool { return s.participants[node] }

// count adds the job to the bounds, or subtracts it with sign -1. Caller holds t.mu.
func (t *state) count(s *jobState, sign int) {
	if t.tenants[s.job.Tenant] += sign; t.tenants[s.job.Tenant] == 0 {
		delete(t.tenants, s.job.Tenant)
	}
	t.bytes += int64(sign) * s.size.Memory
	t.waiting += int64(sign) * s.size.Waiting
}

// countQueue adds the job to the counts of what can be pulled, or subtracts it with sign -1. Caller holds t.mu.
func (t *state) countQueue(s *jobState, sign int) {
	p := min(int(s.job.Priority), numPriorities-1)
	first := false
	switch {
	case s.job.State == job.Queued && s.due:
		t.queued[p] += sign
		first = true
	case s.job.State == job.Running && s.ending == nil:
		t.running[p] += sign
		first = !s.isDone(0)
	}
	if sign < 0 { // its first task may have finished since
		first = s.countedNew
	}
	if s.countedNew = first && sign > 0; first {
		t.newJobs[p] += sign
		if s.short() {
			t.shortNew[p] += sign
		}
	}
}

// checkCapacity decides whether submissions fit under their bounds. Caller holds t.mu.
func (t *state) checkCapacity(a *job.Admission, tenant string, retry func(n int) time.Duration) error {
	if a == nil {
		return nil
	}
	return t.fits(a, tenant, demandOf(a), retry)
}

// fits is checkCapacity for the sum of one or several submissions. Caller holds t.mu.
func (t *state) fits(a *job.Admission, tenant string, d demand, retry func(n int) time.Duration) error {
	reject := func(sentinel error, reason, format string, args ...any) error {
		return &job.Rejection{
			Err: sentinel, Reason: reason, Detail: fmt.Sprintf(format, args...) + " in the whole cluster",
			RetryAfter: retry(max(1, a.Jobs/20)),
		}
	}
	switch {
	case a.Jobs > 0 && len(t.jobs)+d.jobs > a.Jobs:
		return reject(job.ErrQueueFull, "jobs", "%d of at most %d jobs are admitted", len(t.jobs), a.Jobs)
	case a.Bytes > 0 && t.bytes+d.bytes > a.Bytes:
		return reject(job.ErrQueueFull, "bytes", "admitted jobs hold %d of at most %d bytes", t.bytes, a.Bytes)
	case a.Waiting > 0 && t.waiting+d.waiting > a.Waiting:
		return reject(job.ErrQueueFull, "waiting", "%d of at most %d items wait", t.waiting, a.Waiting)
	case a.TenantJobs > 0 && t.tenants[tenant]+d.tenantJobs > a.TenantJobs:
		return reject(job.ErrQuota, "quota", "%d of at most %d jobs are admitted", t.tenants[tenant], a.TenantJobs)
	}
	return nil
}

// transition returns the error of a proposal that is not legal at its place.
func transition(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{job.ErrTransition}, args...)...)
}

// check decides about the entries of a batch, and returns the jobs after it, without changing anything. Caller holds
// t.mu.
func (t *state) check(p *job.Proposal) (map[job.ID]job.Job, error) {
	heads := make(map[job.ID]job.Job, len(p.Entries))
	for i := range p.Entries {
		e := &p.Entries[i]
		head, seen := heads[e.ID]
		s := t.jobs[e.ID]
		if !seen && s != nil {
			head = s.job
		}
		g := job.Guard{Task: job.NoTask}
		if i < len(p.Guards) {
			g = p.Guards[i]
		}
		for _, ev := range e.Events {
			switch ev := ev.(type) {
			case job.Submitted:
				if ev.Job.ID != e.ID {
					return nil, transition("job %s submitted as %s", ev.Job.ID, e.ID)
				}
			case job.Advanced:
				if g.Task >= 0 {
					known := 0
					if s != nil {
						known = s.steps[g.Task]
					}
					if ev.Task != g.Task || s != nil && s.isDone(g.Task) || g.Step != known {
						return nil, transition("task %d of job %s is another node's", ev.Task, e.ID)
					}
				}
			case job.Finished:
				if g.Task != job.NoTask && (ev.State == job.Succeeded && head.TasksDone < head.Tasks || s != nil && s.ending != nil) {
					return nil, transition("job %s is to end otherwise", e.ID)
				}
				if g.Task >= 0 && ev.State != job.Succeeded && s != nil && (s.isDone(g.Task) || s.steps[g.Task] != g.Step) {
					return nil, transition("task %d of job %s is another node's", g.Task, e.ID)
				}
			}
			var err error
			if head, err = job.Apply(head, ev); err != nil {
				return nil, err
			}
		}
		if len(e.Events) > 0 {
			heads[e.ID] = head
		}
	}
	return heads, nil
}

// An origin is the place and the time of a batch.
type origin struct {
	// seq is the message of the log that the batch is in or behind.
	seq uint64
	// at is the time of that message, on the monotonic clock of this node.
	at         time.Time
	spanLength time.Duration
}

// apply applies a batch that check found legal. Caller holds t.mu.
func (t *state) apply(p *job.Proposal, author string, heads map[job.ID]job.Job, o origin, now time.Time) {
	sizes := 0
	for i := range p.Entries {
		e := &p.Entries[i]
		s := t.jobs[e.ID]
		for _, ev := range e.Events {
			switch ev := ev.(type) {
			case job.Submitted:
				s = &jobState{author: author, seq: o.seq, job: ev.Job}
				t.ages.submitted(s.seq)
				if p.Admission != nil && sizes < len(p.Admission.Sizes) {
					s.size = p.Admission.Sizes[sizes]
					sizes++
				}
				t.jobs[e.ID] = s
				t.count(s, +1)
			case job.Advanced:
				t.applyAdvanced(s, &ev)
			case job.CancelRequested:
				t.setEnding(s, job.Finished{State: job.Cancelled}, now)
			}
		}
	}
	for id, head := range heads {
		s := t.jobs[id]
		t.countQueue(s, -1)
		s.job, s.movedAt = head, now
		if s.started.IsZero() && !head.StartedAt.IsZero() {
			s.started = o.at
		}
		if head.State == job.Queued && !s.due {
			t.enqueue(s, o.at)
		}
		if head.State.Terminal() {
			t.remove(s)
			t.ages.ended(s.seq, head.ExpiresAt, o.spanLength)
			t.ends.Add(now)
			continue
		}
		t.countQueue(s, +1)
	}
	t.signal()
}

func (t *state) applyAdvanced(s *jobState, ev *job.Advanced) {
	if ev.Done {
		s.setDone(ev.Task)
		return
	}
	if s.steps == nil {
		s.steps = make(map[int]int)
	}
	s.steps[ev.Task]++
}

// remove removes a job that has ended or was deleted. Caller holds t.mu.
func (t *state) remove(s *jobState) {
	t.count(s, -1)
	delete(t.jobs, s.job.ID)
	if s.cancel != nil {
		s.cancel(errEnded)
	}
}

// setEnding decides how a job ends, unless that was decided, and ends the leases of this node. Caller holds t.mu.
func (t *state) setEnding(s *jobState, how job.Finished, now time.Time) {
	if s.ending != nil {
		return
	}
	t.countQueue(s, -1)
	s.ending, s.decidedAt = &how, now
	t.countQueue(s, +1)
	if s.cancel != nil {
		s.cancel(errEnding)
	}
}
