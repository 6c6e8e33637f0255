package cluster

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"gather/internal/job"
)

// The tasks of a job are divided into partitions, runs of consecutive tasks. At most one task of each partition is queued or
// leased at a time, so the number of partitions is the maximum number of concurrent tasks of a job. Consecutive tasks often
// read the same blocks of a store, and one node may run several of them in succession.
const (
	// somePartitions is the number of partitions of a job with at least as many tasks, and maxPartitions the limit.
	somePartitions = 64
	maxPartitions  = 128
	// partitionTasks is the number of tasks in each partition at which a job gets more than somePartitions.
	partitionTasks = 4
)

// partitions returns the number of partitions of a job.
func partitions(tasks int) int {
	return max(1, min(tasks, somePartitions), min(tasks/partitionTasks, maxPartitions))
}

// partitionStart returns the first task of a partition.
func partitionStart(tasks, partition int) int {
	n := partitions(tasks)
	// Each partition has the same share of tasks, and the first ones have one more. The order avoids overflow.
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

// state holds the unfinished jobs after the applied part of the log: everything that the next proposal depends on. Only the
// apply loop changes it, in log order, so all nodes have the same state.
type state struct {
	mu      sync.Mutex
	jobs    map[job.ID]*jobState
	tenants map[string]int
	bytes   int64
	waiting int64
	// Counts by priority: queued jobs; running jobs that may have queued tasks after the first one; newJobs, whose first
	// task may be in the work queue, also after its lease was given back; and the newJobs that are short.
	queued, running, newJobs, shortNew [numPriorities]int
	// ends measures the rate at which jobs end.
	ends job.Rate
	// delayed holds the queued jobs with a Delay that has not passed, by the monotonic clock; instants the queued jobs with
	// a StartAfter in the future, by the clock of the cluster, which now returns.
	delayed, instants delays
	now               func() time.Time
	// pauses are the pauses that this node has read.
	pauses job.Pauses
	// ranks holds the positions of the queued jobs at rankedAt.
	ranks    map[job.ID]int
	rankedAt time.Time
	digest   stateDigest
	// dependents has the jobs that wait for others.
	dependents job.Dependents
	// ages holds the ages of the parts of the log.
	ages ages
	// inFlight holds the submissions of this node that are not applied yet.
	inFlight inFlightSubmissions
	// changed is closed and replaced when there may be more tasks to pull.
	changed chan struct{}
}

const numPriorities = int(job.High) + 1

// A jobState is the state of an unfinished job.
type jobState struct {
	job  job.Job
	size job.Size
	// author is the node that submitted the job, and seq a message of the log at or before the submission, and at or before the
	// submissions of the jobs that it waited for.
	author string
	seq    uint64
	// due is true when the job's start time has passed: the job is counted as queued.
	due bool
	// countedNew is true while the job is counted in newJobs.
	countedNew bool

	// done has a bit for each finished task. steps counts the steps of the other tasks.
	done  []uint64
	steps map[int]int
	// participants has the nodes that run or ran tasks of the job: true until the node has left. active counts the true
	// ones.
	participants map[string]bool
	active       int
	// ending is the decided end of the job; nil while it runs normally. decidedAt is when this node applied the decision.
	ending    *job.Finished
	decidedAt time.Time
	// movedAt is when this node applied the last change of the job.
	movedAt time.Time
	// started is when the job started, on the monotonic clock of this node.
	started time.Time

	// The fields below are not part of the shared state.

	// hash is the job's part of stateDigest.jobs.
	hash uint64

	// ctx ends when the job ends or is ending; nil until a lease needs it.
	ctx    context.Context //nolint:containedctx // shared by the leases of the job
	cancel context.CancelCauseFunc
	// held is true while a pause that this node has read keeps the job from starting.
	held bool
	// leases counts the leases of this node.
	leases int
	// leaving is true when this node has proposed to leave the job.
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
	t.delayed, t.instants, t.dependents = nil, nil, job.Dependents{}
	t.digest = stateDigest{buf: t.digest.buf}
	t.ages.reset()
}

// onlyOneActiveJob reports whether at most one job has runnable tasks. A node may then keep its lease after each task,
// because no other job is waiting for it. Caller holds t.mu.
func (t *state) onlyOneActiveJob() bool {
	queued, running := 0, 0
	for p := range t.queued {
		queued += t.queued[p]
		running += t.running[p]
	}
	return queued == 0 && running <= 1
}

// delays is a heap of jobs by their start time.
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

// popUntil removes and returns the jobs whose start time has passed.
func (d *delays) popUntil(now time.Time) (due []*jobState) {
	for len(*d) > 0 && !(*d)[0].at.After(now) {
		due = append(due, heap.Pop(d).(delay).s)
	}
	return due
}

// enqueue marks a queued job as due, or adds it to the delayed jobs, unless it waits for other jobs. created is its creation on the
// monotonic clock. Caller holds t.mu.
func (t *state) enqueue(s *jobState, created time.Time) {
	if s.job.Waits != 0 {
		return
	}
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

// nextUnfinished returns the first unfinished task from the given one to the end of its partition; false if there is none.
func (s *jobState) nextUnfinished(task int) (int, bool) {
	for end := partitionStart(s.job.Tasks, partitionOf(s.job.Tasks, task)+1); task < end; task++ {
		if !s.isDone(task) {
			return task, true
		}
	}
	return 0, false
}

// firstUnfinished returns the first unfinished task of a partition; false if there is none.
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

// countQueue adds the job to the counts of pullable tasks, or subtracts it with sign -1. Caller holds t.mu.
func (t *state) countQueue(s *jobState, sign int) {
	p := min(int(s.job.Priority), numPriorities-1)
	first := false
	switch {
	case s.job.State == job.Queued && s.due && !s.held:
		t.queued[p] += sign
		first = true
	case s.job.State == job.Running && s.ending == nil:
		t.running[p] += sign
		first = !s.isDone(0)
	}
	if sign < 0 { // the first task may have finished since
		first = s.countedNew
	}
	if s.countedNew = first && sign > 0; first {
		t.newJobs[p] += sign
		if s.short() {
			t.shortNew[p] += sign
		}
	}
}

// checkCapacity returns an error if submissions do not fit under their bounds. Caller holds t.mu.
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

// transition returns the error of a proposal that is invalid at its place in the log.
func transition(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{job.ErrTransition}, args...)...)
}

// check returns the jobs after the entries of a batch, or an error if the batch is invalid. It changes nothing. Caller
// holds t.mu.
func (t *state) check(p *job.Proposal) (map[job.ID]job.Job, error) {
	updated := make(map[job.ID]job.Job, len(p.Entries))
	for i := range p.Entries {
		e := &p.Entries[i]
		j, seen := updated[e.ID]
		s := t.jobs[e.ID]
		if !seen && s != nil {
			j = s.job
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
			case job.TaskProgress:
				if g.Task >= 0 {
					steps := 0
					if s != nil {
						steps = s.steps[g.Task]
					}
					if ev.Task != g.Task || s != nil && s.isDone(g.Task) || g.Step != steps {
						return nil, transition("another node has advanced task %d of job %s", ev.Task, e.ID)
					}
				}
			case job.Finished:
				if g.Task != job.NoTask && (ev.State == job.Succeeded && j.TasksDone < j.Tasks || s != nil && s.ending != nil) {
					return nil, transition("another end of job %s is decided", e.ID)
				}
				if g.Task >= 0 && ev.State != job.Succeeded && s != nil && (s.isDone(g.Task) || s.steps[g.Task] != g.Step) {
					return nil, transition("another node has advanced task %d of job %s", g.Task, e.ID)
				}
			}
			var err error
			if j, err = job.Apply(j, ev); err != nil {
				return nil, err
			}
		}
		if len(e.Events) > 0 {
			updated[e.ID] = j
		}
		if s == nil {
			if err := t.checkPending(&j, updated); err != nil {
				return nil, err
			}
			if err := t.dependents.CheckRoom(&j); err != nil {
				return nil, err
			}
		}
	}
	return updated, nil
}

// An origin is the place of a batch in the log, and its time.
type origin struct {
	// seq is a message of the log at or before the batch.
	seq uint64
	// at is the time of that message, on the monotonic clock of this node.
	at time.Time
	// spanLength is the length of a span of the log, and keyRetention the time for which keys are kept.
	spanLength, keyRetention time.Duration
}

// apply applies a batch that passed check. Caller holds t.mu.
func (t *state) apply(p *job.Proposal, author string, updated map[job.ID]job.Job, o origin, now time.Time) {
	sizes := 0
	for i := range p.Entries {
		e := &p.Entries[i]
		s := t.jobs[e.ID]
		for _, ev := range e.Events {
			switch ev := ev.(type) {
			case job.Submitted:
				s = &jobState{author: author, seq: t.neededSeq(&ev.Job, o.seq), job: ev.Job, held: t.pauses.Holds(&ev.Job)}
				t.ages.submitted(s.seq)
				if p.Admission != nil && sizes < len(p.Admission.Sizes) {
					s.size = p.Admission.Sizes[sizes]
					sizes++
				}
				t.jobs[e.ID] = s
				t.count(s, +1)
			case job.TaskProgress:
				t.applyTaskProgress(s, &ev)
			case job.CancelRequested:
				t.setEnding(s, job.Finished{State: job.Cancelled}, now)
			}
		}
	}
	for id, j := range updated {
		s := t.jobs[id]
		t.countQueue(s, -1)
		t.dependents.Update(&s.job, &j)
		s.job, s.movedAt = j, now
		if s.started.IsZero() && !j.StartedAt.IsZero() {
			s.started = o.at
		}
		if j.State == job.Queued && !s.due && s.ending == nil {
			created := o.at
			if !j.ReleasedAt.IsZero() {
				created = now.Add(-max(0, t.now().Sub(j.CreatedAt)))
			}
			t.enqueue(s, created)
		}
		t.digest.update(s)
		if j.State.Terminal() {
			t.remove(s)
			t.ages.ended(s.seq, t.neededUntil(&j, o.keyRetention), o.spanLength)
			t.ends.Add(now)
			continue
		}
		t.countQueue(s, +1)
	}
	t.signal()
}

func (t *state) applyTaskProgress(s *jobState, ev *job.TaskProgress) {
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

// setEnding sets how a job ends, unless that is decided already, and ends the leases of this node. Caller holds t.mu.
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
