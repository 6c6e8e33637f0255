package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// # Messages of leases
//
// The stream of tasks is a work queue with at most one message for each subject, so a task whose message may be lost can be
// queued again without harm. Subjects are <prefix>.tasks.<priority>.<queue>.<job>.<task>; the task is "r" for the reduction.
// The payload is a uvarint: the sequence number up to which a node must have applied the log to have the job.
const reductionToken = "r"

// weights holds the shares of the priorities while all of them have tasks, as on a single server.
var weights = map[job.Priority]int{job.Low: 1, job.Normal: 4, job.High: 16}

// A taskQueue is one of the queues of a priority.
type taskQueue struct {
	priority job.Priority
	queue    string
	consumer jetstream.Consumer
	// fetching is true while a fetch is in progress.
	fetching bool
	// probe is true if the queue is fetched from although no task is expected, because messages of ended jobs may be left.
	probe bool
}

// A leaseQueue is the connection of this node to the task queue. One goroutine pulls as many leases as there are free
// workers; another extends the leases of this node.
type leaseQueue struct {
	c      *Cluster
	stream string
	queues []*taskQueue
	out    chan *job.Lease

	mu        sync.Mutex
	requested int // leases that free workers have requested and not received
	held      map[string]*taskLease
	// local holds leases by priority that did not arrive as messages, because this node accepted the short job or ran the
	// last task before the reduction. localTasks counts them.
	local      [numPriorities][]*job.Lease
	localTasks int
	closed     bool
	wake       notify.Signal

	// Owned by the goroutine that pulls: the credit of each priority, the number of choices, and the number of leases being
	// fetched.
	credits  map[job.Priority]int
	chosen   uint8
	fetching int

	running sync.WaitGroup
	cancel  context.CancelFunc
}

func (q *leaseQueue) start(ctx context.Context, c *Cluster) {
	q.c = c
	ctx, q.cancel = context.WithCancel(ctx)
	q.running.Go(func() { q.pull(ctx) })
	q.running.Go(func() { q.keepAlive(ctx) })
}

// stop ends the goroutines, and returns the leases to the queue.
func (q *leaseQueue) stop() {
	if q.cancel != nil {
		q.cancel()
	}
	q.running.Wait()
	q.mu.Lock()
	left := make([]*taskLease, 0, len(q.held))
	for _, h := range q.held {
		left = append(left, h)
	}
	q.mu.Unlock()
	for _, h := range left {
		h.nak()
	}
}

// close ends the pulling of leases, and ends the local ones that have no worker.
func (q *leaseQueue) close() {
	q.mu.Lock()
	q.closed = true
	local := q.local
	q.local, q.localTasks = [numPriorities][]*job.Lease{}, 0
	q.wake.Notify()
	q.mu.Unlock()
	for _, leases := range local {
		for _, l := range leases {
			l.End()
		}
	}
}

// Leases implements executor.Cluster.
func (c *Cluster) Leases() <-chan *job.Lease { return c.leases.out }

// RequestLeases implements executor.Cluster.
func (c *Cluster) RequestLeases(n int) {
	q := &c.leases
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requested += n
	q.wake.Notify()
}

func (q *leaseQueue) init() {
	q.out = make(chan *job.Lease)
	q.wake = notify.New()
	q.held = make(map[string]*taskLease)
	q.credits = make(map[job.Priority]int)
}

const (
	// pollExpiry is the time for which a fetch waits at the server.
	pollExpiry = time.Second
	// probeInterval is the interval between fetches from queues that should be empty.
	probeInterval = 5 * time.Second
)

// An arrival is a response to a fetch. A fetch has up to two: the leases that are available, and then one that arrives
// while it waits.
type arrival struct {
	queue *taskQueue
	msgs  []jetstream.Msg
	// requested is the number of leases that the fetch was for; 0 in a second response.
	requested int
	// last is true for the last response to a fetch.
	last bool
}

// pull gives leases to free workers, until ctx is done.
func (q *leaseQueue) pull(ctx context.Context) {
	arrivals := make(chan arrival, 2*len(q.queues))
	var requests sync.WaitGroup
	defer func() {
		requests.Wait()
		close(arrivals)
		for a := range arrivals {
			nakAll(a.msgs)
		}
	}()
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for ctx.Err() == nil {
		q.c.state.mu.Lock()
		changed := q.c.state.changed
		local, tq, n := q.choose()
		q.c.state.mu.Unlock()
		switch {
		case local != nil && q.c.isHeld(local.Job.ID):
			local.End()
			continue
		case local != nil:
			q.give(ctx, local)
			continue
		case tq != nil:
			tq.fetching = true
			q.fetching += n
			requests.Go(func() { q.fetch(ctx, tq, n, arrivals) })
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-changed:
		case <-probe.C:
			for _, tq := range q.queues {
				tq.probe = true
			}
		case a := <-arrivals:
			q.fetching -= a.requested
			if a.last {
				a.queue.fetching, a.queue.probe = false, len(a.msgs) > 0
			}
			q.acceptAll(ctx, a.msgs)
		}
	}
}

// choose returns the local lease to give next, or the queue from which to fetch up to n leases. Priorities share by smooth
// weighted round robin; within a priority new jobs come first three times out of four. Caller holds state.mu.
func (q *leaseQueue) choose() (local *job.Lease, tq *taskQueue, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.requested <= 0 || q.closed {
		return nil, nil, 0
	}
	n = min(q.requested-q.fetching, maxFetch)
	fetchable := n > 0 && q.c.nc.IsConnected()
	if !fetchable && q.localTasks == 0 {
		return nil, nil, 0
	}
	best, total := 0, 0
	var queues [numPriorities]*taskQueue
	var waits [numPriorities]bool
	for _, tq := range q.queues {
		p := tq.priority
		there := q.c.state.running[p]
		switch tq.queue {
		case newQueue:
			there = q.c.state.newJobs[p] - q.c.state.shortNew[p]
		case shortQueue:
			there = q.c.state.shortNew[p] - len(q.local[p])
		}
		if tq.probe {
			there++
		}
		waits[p] = waits[p] || there > 0
		if fetchable && !tq.fetching && there > 0 && (queues[p] == nil || (tq.queue == runningQueue) == (q.chosen%4 == 0)) {
			queues[p] = tq
		}
	}
	for p := range queues {
		priority := job.Priority(p)
		if queues[p] == nil && len(q.local[p]) == 0 {
			if !waits[p] {
				delete(q.credits, priority)
			}
			continue
		}
		q.credits[priority] += weights[priority]
		total += weights[priority]
		if best == 0 || q.credits[priority] > q.credits[job.Priority(best)] {
			best = p
		}
	}
	if best == 0 {
		return nil, nil, 0
	}
	q.chosen++
	q.credits[job.Priority(best)] -= total
	// Half of the time leases from the queue come before local ones.
	if waiting := q.local[best]; len(waiting) > 0 && (queues[best] == nil || q.chosen%4 >= 2 || q.c.state.onlyOneActiveJob()) {
		local, q.local[best] = waiting[0], waiting[1:]
		q.localTasks--
		return local, nil, 0
	}
	return nil, queues[best], n
}

// maxFetch bounds one fetch. Leases of short jobs are fetched in larger numbers, because a round trip takes longer than all
// of them.
const (
	maxFetch      = 16
	maxFetchShort = 64
)

// fetch fetches available leases or, if there are none, waits for one.
func (q *leaseQueue) fetch(ctx context.Context, tq *taskQueue, n int, arrivals chan<- arrival) {
	count := n
	if tq.queue == shortQueue {
		count = maxFetchShort
	}
	batch, err := tq.consumer.FetchNoWait(count)
	var msgs []jetstream.Msg
	if err == nil {
		for m := range batch.Messages() {
			msgs = append(msgs, m)
		}
		err = batch.Error()
	}
	if len(msgs) > 0 {
		arrivals <- arrival{queue: tq, msgs: msgs, requested: n, last: true}
		return
	}
	arrivals <- arrival{queue: tq, requested: n}
	if err != nil && !errors.Is(err, nats.ErrTimeout) {
		select { // pause before the next attempt
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
	if batch, err = tq.consumer.Fetch(1, jetstream.FetchMaxWait(pollExpiry)); err == nil {
		for m := range batch.Messages() {
			msgs = append(msgs, m)
		}
	}
	arrivals <- arrival{queue: tq, msgs: msgs, last: true}
}

func nakAll(msgs []jetstream.Msg) {
	for _, m := range msgs {
		_ = m.Nak()
	}
}

// acceptAll accepts messages and gives their leases to workers. It returns messages without a worker to the queue.
func (q *leaseQueue) acceptAll(ctx context.Context, msgs []jetstream.Msg) {
	for i, m := range msgs {
		q.mu.Lock()
		room := (q.requested > 0 || isShort(m.Subject())) && !q.closed
		q.mu.Unlock()
		if !room {
			nakAll(msgs[i:])
			return
		}
		lease, err := q.accept(ctx, m)
		if lease != nil && lease.Task != job.Reduction && isShort(m.Subject()) {
			q.mu.Lock()
			q.local[lease.Job.Priority] = append(q.local[lease.Job.Priority], lease)
			q.localTasks++
			q.mu.Unlock()
			continue
		}
		if err != nil {
			q.c.log.Debug("a lease is returned to the queue", "subject", m.Subject(), "error", err)
			_ = m.NakWithDelay(retryPause)
			continue
		}
		if lease != nil {
			q.give(ctx, lease)
		}
	}
}

func isShort(subject string) bool { return strings.Contains(subject, "."+shortQueue+".") }

// give passes a lease to a free worker.
func (q *leaseQueue) give(ctx context.Context, t *job.Lease) {
	select {
	case q.out <- t:
		q.mu.Lock()
		q.requested--
		q.mu.Unlock()
	case <-ctx.Done():
		t.End()
	}
}

// A taskRef is a parsed subject.
type taskRef struct {
	queue string
	isNew bool
	id    job.ID
	task  int
}

func (c *Cluster) parseSubject(subject string) (p taskRef, ok bool) {
	rest, ok := strings.CutPrefix(subject, c.cfg.Prefix+".tasks.")
	f := strings.Split(rest, ".")
	if !ok || len(f) != 4 {
		return p, false
	}
	if !slices.Contains(taskQueues[:], f[1]) {
		return p, false
	}
	id, err := job.ParseID(f[2])
	p = taskRef{queue: f[1], isNew: f[1] != runningQueue, id: id, task: job.Reduction}
	if err == nil && f[3] != reductionToken {
		p.task, err = strconv.Atoi(f[3])
	}
	return p, err == nil
}

func (c *Cluster) subjectOf(s *jobState, first bool, task int) string {
	queue, token := runningQueue, reductionToken
	switch {
	case first && s.short():
		queue = shortQueue
	case first:
		queue = newQueue
	}
	if task != job.Reduction {
		token = strconv.Itoa(task)
	}
	return c.taskSubject(s.job.Priority, queue) + "." + s.job.ID.String() + "." + token
}

// enqueueTask queues a task. It returns nil for a task that is queued already.
func (c *Cluster) enqueueTask(ctx context.Context, subject string, minSeq uint64) error {
	msg := &nats.Msg{Subject: subject, Data: binary.AppendUvarint(nil, minSeq)}
	_, err := c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(c.leases.stream), jetstream.WithRetryAttempts(2))
	if err != nil && strings.Contains(err.Error(), "maximum messages per subject") {
		return nil
	}
	return err
}

// maxLocalTasks is the number of leases of short jobs that wait on the node that accepted them: some milliseconds of work.
// More go to nodes with free workers.
const maxLocalTasks = 512

// submitted queues the first tasks of jobs that this node has submitted; tasks of short jobs stay on this node, up to
// maxLocalTasks. The replica's writer calls it, so it does not block. If it fails, or the node dies, the leader queues the
// tasks.
func (q *leaseQueue) submitted(entries []job.Entry, minSeq uint64) {
	for i := range entries {
		for _, ev := range entries[i].Events {
			if ev, ok := ev.(job.Submitted); ok {
				q.enqueueFirst(&ev, minSeq)
			}
		}
	}
}

// enqueueTaskAsync queues a task without waiting for the acknowledgement.
func (q *leaseQueue) enqueueTaskAsync(subject string, minSeq uint64) {
	msg := &nats.Msg{Subject: subject, Data: binary.AppendUvarint(nil, minSeq)}
	if _, err := q.c.js.PublishMsgAsync(msg, jetstream.WithExpectStream(q.stream)); err != nil {
		q.c.log.Debug("the leader will queue the task", "subject", subject, "error", err)
	}
}

// enqueueFirst queues the first task of a job, or keeps it on this node.
func (q *leaseQueue) enqueueFirst(ev *job.Submitted, minSeq uint64) {
	c := q.c
	q.mu.Lock()
	room := q.localTasks < maxLocalTasks && !q.closed
	q.mu.Unlock()
	c.state.mu.Lock()
	s := c.state.jobs[ev.Job.ID]
	if s == nil || s.ending != nil || s.job.State != job.Queued || !s.due || s.held {
		c.state.mu.Unlock()
		return
	}
	h := &taskLease{c: c, ref: taskRef{queue: shortQueue, isNew: true, id: ev.Job.ID}, subject: c.subjectOf(s, true, 0)}
	keep := room && s.short()
	if keep {
		h.attach(s, 0)
		h.lease.Spec = ev.Spec
	}
	c.state.mu.Unlock()
	if !keep {
		q.enqueueTaskAsync(h.subject, minSeq)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held[h.subject] = h
	q.local[ev.Job.Priority] = append(q.local[ev.Job.Priority], h.lease)
	q.localTasks++
	q.wake.Notify()
}

// keepAlive extends the leases of this node, three times in every NodeTimeout, until ctx is done. It does not while the
// replica cannot be written, so that other nodes get the tasks.
func (q *leaseQueue) keepAlive(ctx context.Context) {
	notify.Every(ctx, q.c.cfg.NodeTimeout/3, nil, func() {
		if q.c.replica.Ready() != nil || q.c.failure.Load() != nil {
			return
		}
		q.mu.Lock()
		msgs := make([]jetstream.Msg, 0, len(q.held))
		for _, h := range q.held {
			if !h.finished && h.msg != nil {
				msgs = append(msgs, h.msg)
			}
		}
		q.mu.Unlock()
		for _, m := range msgs {
			_ = m.InProgress()
		}
	})
}
