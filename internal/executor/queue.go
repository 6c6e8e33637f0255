package executor

import (
	"sort"

	"gather/internal/job"
)

// A unit is one turn of a worker: one step of one task.
type unit struct {
	run  *run
	task int
	// woken is the task that waited; nil when the task has not run yet. With four words a unit is passed in registers.
	woken *job.Task
	// hold is the lease of a cluster's task; else nil.
	hold *hold
}

// weights are the turns of the priorities while all of them have work.
var weights = [...]int{job.Low: 1, job.Normal: 4, job.High: 16}

// queue deals the turns: smooth weighted round robin between priorities, then, within one, by turns between tasks that
// woke up, new jobs in order of arrival and jobs under way, one task each. It is guarded by Executor.mu.
type queue struct {
	classes [len(weights)]class
}

// class is the queue of one priority.
type class struct {
	credit int
	turn   uint8
	woken  deque[unit]
	leases deque[unit]
	fresh  deque[*run]
	active deque[*run]

	// Places in fresh: the ticket of its head, and the tickets of those in it that will not run, ascending.
	head uint64
	gone []uint64
}

func (c *class) empty() bool {
	return c.woken.n == 0 && c.leases.n == 0 && c.fresh.n == 0 && c.active.n == 0
}

// empty reports whether nothing at all is queued.
func (q *queue) empty() bool {
	for p := range q.classes {
		if !q.classes[p].empty() {
			return false
		}
	}
	return true
}

// pushFresh queues a new job behind those that came before.
func (q *queue) pushFresh(r *run) {
	c := &q.classes[r.job.Priority]
	r.ticket = c.head + uint64(c.fresh.n)
	r.fresh = true
	c.fresh.push(r)
}

// pushActive queues a job that is under way.
func (q *queue) pushActive(r *run) { q.classes[r.job.Priority].active.push(r) }

// pushWoken queues a task whose wait is over.
func (q *queue) pushWoken(u unit) { q.classes[u.run.job.Priority].woken.push(u) }

// pushLease queues a task that the cluster has given to this node.
func (q *queue) pushLease(u unit) { q.classes[u.run.job.Priority].leases.push(u) }

// abandon notes that a queued job will not run; its places are skipped when their turn comes.
func (q *queue) abandon(r *run) {
	if r.fresh {
		c := &q.classes[r.job.Priority]
		i := sort.Search(len(c.gone), func(i int) bool { return c.gone[i] >= r.ticket })
		c.gone = append(c.gone, 0)
		copy(c.gone[i+1:], c.gone[i:])
		c.gone[i] = r.ticket
	}
}

// position is the 1-based place of a new job among those of its priority.
func (q *queue) position(r *run) int {
	c := &q.classes[r.job.Priority]
	before := sort.Search(len(c.gone), func(i int) bool { return c.gone[i] >= r.ticket })
	return int(r.ticket-c.head) - before + 1
}

// next takes one unit, or reports that there is none.
func (q *queue) next() (unit, bool) {
	for {
		var best *class
		total := 0
		for p := range q.classes {
			c := &q.classes[p]
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
			return unit{}, false
		}
		best.credit -= total
		if u, ok := best.next(); ok {
			return u, true
		}
	}
}

// next takes one unit; none when all that was queued had been abandoned.
func (c *class) next() (unit, bool) {
	c.turn++
	// New and woken work is short as a rule and goes first, but one turn in four belongs to the jobs under way.
	switch c.turn % 4 {
	case 0:
		if u, ok := c.nextActive(); ok {
			return u, true
		}
		if u, ok := c.nextWoken(); ok {
			return u, true
		}
		return c.nextFresh()
	case 2:
		if u, ok := c.nextWoken(); ok {
			return u, true
		}
		if u, ok := c.nextFresh(); ok {
			return u, true
		}
	default:
		if u, ok := c.nextFresh(); ok {
			return u, true
		}
		if u, ok := c.nextWoken(); ok {
			return u, true
		}
	}
	return c.nextActive()
}

func (c *class) nextWoken() (unit, bool) {
	for c.woken.n > 0 {
		if u := c.woken.pop(); !u.run.dead {
			return u, true
		}
	}
	return unit{}, false
}

func (c *class) nextFresh() (unit, bool) {
	if c.leases.n > 0 {
		return c.leases.pop(), true
	}
	for c.fresh.n > 0 {
		r := c.fresh.pop()
		for len(c.gone) > 0 && c.gone[0] <= c.head {
			c.gone = c.gone[1:]
		}
		c.head++
		r.fresh = false
		if !r.dead {
			return c.take(r), true
		}
	}
	return unit{}, false
}

func (c *class) nextActive() (unit, bool) {
	for c.active.n > 0 {
		if r := c.active.pop(); !r.dead {
			return c.take(r), true
		}
	}
	return unit{}, false
}

// take hands out the next task of a job and puts the job at the end of the line if it has more.
func (c *class) take(r *run) unit {
	u := unit{run: r, task: r.nextTask}
	r.nextTask = r.after(r.nextTask)
	switch {
	case r.nextTask >= r.size.Tasks:
	case r.unsynced > maxUnsynced:
		r.held = true // until synced
	default:
		c.active.push(r)
	}
	return u
}

// maxUnsynced is how many bytes of a job's results may wait for the disk before the job takes no further turn, so that the
// results of small jobs do not wait behind those of a giant.
const maxUnsynced = 512 << 10

// countedBytes is from where on results are counted at all: a short job's are not worth it.
const countedBytes = 4 << 10

// written counts results that are on their way to disk.
func (e *Executor) written(r *run, bytes int64) {
	e.mu.Lock()
	r.unsynced += bytes
	e.mu.Unlock()
}

// synced takes them off again when they are there, and lets a held job go on.
func (e *Executor) synced(r *run, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.unsynced -= bytes
	if r.held && r.unsynced <= maxUnsynced/2 {
		r.held = false
		if !r.dead {
			e.queue.pushActive(r)
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

func (d *deque[T]) pop() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero
	d.head = (d.head + 1) % len(d.buf)
	d.n--
	return v
}
