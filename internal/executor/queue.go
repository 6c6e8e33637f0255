package executor

import (
	"slices"

	"gather/internal/job"
)

// weights are the shares of the priorities while all of them have tasks.
var weights = [...]int{job.Low: 1, job.Normal: 4, job.High: 16}

// queue assigns tasks to workers: smooth weighted round robin between priorities, then, within one priority, alternately
// tasks whose timers have fired, new jobs in order of arrival, and running jobs, one task each. It is guarded by
// Executor.mu.
type queue struct {
	priorities [len(weights)]priorityQueue
}

// priorityQueue is the queue of one priority.
type priorityQueue struct {
	credit int
	turn   uint8

	timerReady deque[assignment]
	leases     deque[assignment]
	newJobs    deque[*jobExecution]
	running    deque[*jobExecution]

	// Positions in newJobs: the sequence number of its head, and those of jobs in it that will not run, ascending.
	head    uint64
	skipped []uint64
}

func (c *priorityQueue) empty() bool {
	return c.timerReady.n == 0 && c.leases.n == 0 && c.newJobs.n == 0 && c.running.n == 0
}

// empty reports whether nothing is queued.
func (q *queue) empty() bool {
	for p := range q.priorities {
		if !q.priorities[p].empty() {
			return false
		}
	}
	return true
}

// leases returns how many leases of a cluster are queued.
func (q *queue) leases() (n int) {
	for p := range q.priorities {
		n += q.priorities[p].leases.n
	}
	return n
}

// pushNew queues a new job behind those that came before.
func (q *queue) pushNew(x *jobExecution) {
	c := &q.priorities[x.job.Priority]
	x.sequence = c.head + uint64(c.newJobs.n)
	x.queued = true
	c.newJobs.push(x)
}

// pushRunning queues a running job.
func (q *queue) pushRunning(x *jobExecution) { q.priorities[x.job.Priority].running.push(x) }

// pushTimerReady queues a task whose timer has fired.
func (q *queue) pushTimerReady(a assignment) {
	q.priorities[a.exec.job.Priority].timerReady.push(a)
}

// pushLease queues a task that is leased to this node.
func (q *queue) pushLease(a assignment) { q.priorities[a.exec.job.Priority].leases.push(a) }

// abandon records that a queued job will not run; it is skipped when it comes to the head.
func (q *queue) abandon(x *jobExecution) {
	if x.queued {
		c := &q.priorities[x.job.Priority]
		i, _ := slices.BinarySearch(c.skipped, x.sequence)
		c.skipped = slices.Insert(c.skipped, i, x.sequence)
	}
}

// hold takes a queued job out of the queue, into which it may be pushed again.
func (q *queue) hold(x *jobExecution) {
	q.abandon(x)
	x.queued = false
}

// position returns the 1-based position of a new job among those of its priority.
func (q *queue) position(x *jobExecution) int {
	c := &q.priorities[x.job.Priority]
	before, _ := slices.BinarySearch(c.skipped, x.sequence)
	return int(x.sequence-c.head) - before + 1
}

// next takes one task, or reports that there is none.
func (q *queue) next() (assignment, bool) {
	for {
		var best *priorityQueue
		total := 0
		for p := range q.priorities {
			c := &q.priorities[p]
			if c.empty() {
				c.credit = 0
				continue
			}
			c.credit += weights[p]
			total += weights[p]
			if best == nil || c.credit > best.credit {
				best = c
			}
		}
		if best == nil {
			return assignment{}, false
		}
		best.credit -= total
		if a, ok := best.next(); ok {
			return a, true
		}
	}
}

// next takes one task; none when all that was queued had been abandoned.
func (c *priorityQueue) next() (assignment, bool) {
	c.turn++
	// New jobs and tasks that waited are short as a rule and go first, but one task in four is of a running job.
	switch c.turn % 4 {
	case 0:
		if a, ok := c.nextRunning(); ok {
			return a, true
		}
		if a, ok := c.nextTimerReady(); ok {
			return a, true
		}
		return c.nextNew()
	case 2:
		if a, ok := c.nextTimerReady(); ok {
			return a, true
		}
		if a, ok := c.nextNew(); ok {
			return a, true
		}
	default:
		if a, ok := c.nextNew(); ok {
			return a, true
		}
		if a, ok := c.nextTimerReady(); ok {
			return a, true
		}
	}
	return c.nextRunning()
}

// isShort reports whether a short worker may take a new job.
func isShort(x *jobExecution) bool {
	return x.job.Priority != job.Low && x.size.Short() && x.size.Memory <= maxShortMemory
}

// maxShortMemory bounds the plan of a job for a short worker: a few numbers may have very many digits.
const maxShortMemory = 64 << 10

// nextShort takes a short job that is the first of the new jobs of its priority.
func (q *queue) nextShort() (assignment, bool) {
	for _, p := range [...]job.Priority{job.High, job.Normal} {
		c := &q.priorities[p]
		for c.newJobs.n > 0 && isShort(c.newJobs.first()) {
			if a, ok := c.popNew(); ok {
				return a, true
			}
		}
	}
	return assignment{}, false
}

func (c *priorityQueue) nextTimerReady() (assignment, bool) {
	for c.timerReady.n > 0 {
		if a := c.timerReady.pop(); !a.exec.dead || a.hasEffects() {
			return a, true
		}
	}
	return assignment{}, false
}

func (c *priorityQueue) nextNew() (assignment, bool) {
	if c.leases.n > 0 {
		return c.leases.pop(), true
	}
	for c.newJobs.n > 0 {
		if a, ok := c.popNew(); ok {
			return a, true
		}
	}
	return assignment{}, false
}

// popNew takes the first of the new jobs; false if it will not run.
func (c *priorityQueue) popNew() (assignment, bool) {
	x := c.newJobs.pop()
	current := x.queued && x.sequence == c.head // otherwise a pause has taken it out since
	for len(c.skipped) > 0 && c.skipped[0] <= c.head {
		c.skipped = c.skipped[1:]
	}
	if current {
		x.queued = false
	}
	c.head++
	if current && !x.dead {
		return c.take(x), true
	}
	return assignment{}, false
}

func (c *priorityQueue) nextRunning() (assignment, bool) {
	for c.running.n > 0 {
		if x := c.running.pop(); !x.dead {
			return c.take(x), true
		}
	}
	return assignment{}, false
}

// take takes the next task of a job, and moves the job to the end of the queue if it has more.
func (c *priorityQueue) take(x *jobExecution) assignment {
	a := assignment{exec: x, task: x.nextTask}
	x.nextTask = x.after(x.nextTask)
	switch {
	case x.nextTask >= x.size.Tasks:
	case x.unsynced > maxUnsynced:
		x.held = true // until synced
	default:
		c.running.push(x)
	}
	return a
}

// maxUnsynced is how many bytes of a job's results may wait for the disk before the job takes no further step, so that the
// results of small jobs do not wait behind the results of a huge one.
const maxUnsynced = 512 << 10

// countedBytes is the size from which on a step's results are counted in unsynced.
const countedBytes = 4 << 10

// written adds results that are on their way to disk.
func (e *Executor) written(x *jobExecution, bytes int64) {
	e.mu.Lock()
	x.unsynced += bytes
	e.mu.Unlock()
}

// synced subtracts results that are on disk, and lets a held job continue.
func (e *Executor) synced(x *jobExecution, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.unsynced -= bytes
	if x.held && x.unsynced <= maxUnsynced/2 {
		x.held = false
		if !x.dead {
			e.queue.pushRunning(x)
			e.ready.Signal()
		}
	}
}

// deque is a first-in, first-out ring. The zero value is empty.
type deque[T any] struct {
	buf  []T
	head int
	n    int
}

func (d *deque[T]) push(v T) {
	if d.n == len(d.buf) {
		grown := make([]T, max(16, 2*d.n))
		for i := range d.n {
			grown[i] = d.buf[(d.head+i)%len(d.buf)]
		}
		d.buf, d.head = grown, 0
	}
	d.buf[(d.head+d.n)%len(d.buf)] = v
	d.n++
}

func (d *deque[T]) first() T { return d.buf[d.head] }

func (d *deque[T]) pop() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero
	d.head = (d.head + 1) % len(d.buf)
	d.n--
	return v
}
