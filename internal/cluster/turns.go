package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// # Messages of the turns
//
// The stream of turns is a work queue with at most one message for each subject, so that a turn can be offered again
// without harm whenever it may have been lost. Subjects: <prefix>.turns.<priority>.<line>.<job>.<task>, the task of a turn
// that has only the reduction to do being "r". The payload is a uvarint: how far a node must have read the log to know the
// job.
const reductionToken = "r"

// weights are the turns of the priorities while all of them have work, as in one node.
var weights = map[job.Priority]int{job.Low: 1, job.Normal: 4, job.High: 16}

// A class is a line of turns of one priority.
type class struct {
	priority job.Priority
	line     string
	consumer jetstream.Consumer
	// polling tells that a request waits at the server.
	polling bool
}

// A turnQueue is this node's end of the cluster's queue of turns. One goroutine pulls, for as many turns as there are free
// workers; another tells the servers that the turns which this node holds are alive.
type turnQueue struct {
	c       *Cluster
	stream  string
	classes []*class
	out     chan *job.Turn

	mu   sync.Mutex
	free int // workers that wait for a turn and have none on its way
	held map[string]*holder
	// own are turns that need no message of their own: a reduction, behind the last task.
	own    []*job.Turn
	closed bool
	wake   chan struct{}

	// The puller's own: what each priority is owed, and how often it was chosen.
	credits map[job.Priority]int
	chosen  uint8

	running sync.WaitGroup
	halt    context.CancelFunc
}

func (q *turnQueue) start(ctx context.Context, c *Cluster) {
	q.c = c
	ctx, q.halt = context.WithCancel(ctx)
	q.running.Go(func() { q.pull(ctx) })
	q.running.Go(func() { q.keepAlive(ctx) })
}

// stop ends the goroutines. Turns that are held are given back.
func (q *turnQueue) stop() {
	if q.halt != nil {
		q.halt()
	}
	q.running.Wait()
	q.mu.Lock()
	left := make([]*holder, 0, len(q.held))
	for _, h := range q.held {
		left = append(left, h)
	}
	q.mu.Unlock()
	for _, h := range left {
		_ = h.msg.Nak()
	}
}

// close pulls no more.
func (q *turnQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.poke()
}

func (q *turnQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Turns gives turns to workers that asked for one with Want.
func (c *Cluster) Turns() <-chan *job.Turn { return c.turns.out }

// Want tells that so many more, or fewer, workers wait for a turn.
func (c *Cluster) Want(n int) {
	q := &c.turns
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free += n
	q.poke()
}

func (q *turnQueue) init() {
	q.out = make(chan *job.Turn)
	q.wake = make(chan struct{}, 1)
	q.held = make(map[string]*holder)
	q.credits = make(map[job.Priority]int)
}

// The pauses of pulling.
const (
	// pollExpiry is how long a request for a turn waits at the server.
	pollExpiry = time.Second
	// fetchTimeout bounds a request that does not wait.
	fetchTimeout = 2 * time.Second
)

// arrival is the outcome of a request that waited.
type arrival struct {
	class *class
	msgs  []jetstream.Msg
	err   error
}

// pull gives turns to free workers, until ctx is done.
func (q *turnQueue) pull(ctx context.Context) {
	arrivals := make(chan arrival, len(q.classes))
	var polls sync.WaitGroup
	defer func() {
		polls.Wait()
		close(arrivals)
		for a := range arrivals {
			giveBack(a.msgs)
		}
	}()
	for ctx.Err() == nil {
		q.mu.Lock()
		free, closed := q.free, q.closed
		var own *job.Turn
		if free > 0 && len(q.own) > 0 {
			own, q.own = q.own[0], q.own[1:]
		}
		q.mu.Unlock()
		if own != nil {
			q.give(ctx, own)
			continue
		}
		q.c.t.mu.Lock()
		changed := q.c.t.changed
		cl := q.choose()
		q.c.t.mu.Unlock()
		if free > 0 && !closed && cl != nil && q.c.nc.IsConnected() {
			msgs, err := q.fetch(ctx, cl, free)
			q.deal(ctx, msgs)
			if len(msgs) > 0 {
				q.credits[cl.priority] -= (len(msgs) - 1) * weights[cl.priority]
				continue
			}
			// None now: wait for one, and look at the others meanwhile.
			cl.polling = true
			polls.Go(func() {
				if err != nil {
					select { // an error is not to be repeated at once
					case <-time.After(retryPause):
					case <-ctx.Done():
					}
				}
				batch, err := cl.consumer.Fetch(1, jetstream.FetchMaxWait(pollExpiry))
				a := arrival{class: cl, err: err}
				if err == nil {
					for m := range batch.Messages() {
						a.msgs = append(a.msgs, m)
					}
				}
				arrivals <- a
			})
			continue
		}
		var again <-chan time.Time
		if free > 0 && !closed && cl != nil {
			again = time.After(retryPause)
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-changed:
		case <-again:
		case a := <-arrivals:
			a.class.polling = false
			q.deal(ctx, a.msgs)
		}
	}
}

// choose returns the class to ask next, of those that may have turns: smooth weighted round robin between the priorities,
// and within one new jobs first, but for one time in four. Caller holds the table's lock.
func (q *turnQueue) choose() *class {
	var best *class
	total := 0
	q.chosen++
	var found [numPriorities]*class
	for _, cl := range q.classes {
		fresh := cl.line == lines[0]
		n := q.c.t.running[cl.priority]
		if fresh {
			n = q.c.t.queued[cl.priority]
		}
		if n > 0 && !cl.polling && (found[cl.priority] == nil || fresh == (q.chosen%4 != 0)) {
			found[cl.priority] = cl
		}
	}
	for p, cl := range found {
		if cl == nil {
			delete(q.credits, job.Priority(p))
			continue
		}
		q.credits[cl.priority] += weights[cl.priority]
		total += weights[cl.priority]
		if best == nil || q.credits[cl.priority] > q.credits[best.priority] {
			best = cl
		}
	}
	if best != nil {
		q.credits[best.priority] -= total
	}
	return best
}

// fetch asks for turns that are there now.
func (q *turnQueue) fetch(ctx context.Context, cl *class, n int) (msgs []jetstream.Msg, err error) {
	batch, err := cl.consumer.FetchNoWait(min(n, 16))
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(fetchTimeout)
	defer timeout.Stop()
	for {
		select {
		case m, ok := <-batch.Messages():
			if !ok {
				return msgs, batch.Error()
			}
			msgs = append(msgs, m)
		case <-timeout.C:
			return msgs, errors.New("no answer")
		}
	}
}

func giveBack(msgs []jetstream.Msg) {
	for _, m := range msgs {
		_ = m.Nak()
	}
}

// deal makes turns of messages. What there is no worker for goes back.
func (q *turnQueue) deal(ctx context.Context, msgs []jetstream.Msg) {
	for i, m := range msgs {
		q.mu.Lock()
		room := q.free > 0 && !q.closed
		q.mu.Unlock()
		if !room {
			giveBack(msgs[i:])
			return
		}
		turn, err := q.accept(ctx, m)
		if err != nil {
			q.c.log.Debug("a turn is given back", "error", err)
			_ = m.NakWithDelay(retryPause)
			continue
		}
		if turn != nil {
			q.give(ctx, turn)
		}
	}
}

// give hands a turn to a worker; there is a free one.
func (q *turnQueue) give(ctx context.Context, t *job.Turn) {
	select {
	case q.out <- t:
		q.mu.Lock()
		q.free--
		q.mu.Unlock()
	case <-ctx.Done():
		t.End()
	}
}

// A place is what the subject of a turn says.
type place struct {
	priority string
	fresh    bool
	id       job.ID
	task     int
}

func (c *Cluster) parseSubject(subject string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(subject, c.cfg.Prefix+".turns.")
	f := strings.Split(rest, ".")
	if !ok || len(f) != 4 {
		return p, false
	}
	id, err := job.ParseID(f[2])
	p = place{priority: f[0], fresh: f[1] == lines[0], id: id, task: job.Reduction}
	if err == nil && f[3] != reductionToken {
		p.task, err = strconv.Atoi(f[3])
	}
	return p, err == nil
}

func (c *Cluster) subjectOf(j *job.Job, fresh bool, task int) string {
	line, token := lines[1], reductionToken
	if fresh {
		line = lines[0]
	}
	if task != job.Reduction {
		token = strconv.Itoa(task)
	}
	return c.turnSubject(j.Priority, line) + "." + j.ID.String() + "." + token
}

// offer publishes a turn. One that is there already is not offered twice, and that is no error.
func (c *Cluster) offer(ctx context.Context, subject string, known uint64) error {
	msg := &nats.Msg{Subject: subject, Data: binary.AppendUvarint(nil, known)}
	_, err := c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(c.turns.stream), jetstream.WithRetryAttempts(2))
	if err != nil && strings.Contains(err.Error(), "maximum messages per subject") {
		return nil
	}
	return err
}

// submitted offers the first turns of jobs that this node has submitted. It is called from the view's goroutine and does
// not wait; should this fail, or the node end, the chief offers them.
func (q *turnQueue) submitted(entries []job.Entry, known uint64) {
	now := time.Now()
	for i := range entries {
		for _, ev := range entries[i].Events {
			s, ok := ev.(job.Submitted)
			if !ok || s.Job.StartAfter.After(now) {
				continue
			}
			msg := &nats.Msg{Subject: q.c.subjectOf(&s.Job, true, 0), Data: binary.AppendUvarint(nil, known)}
			if _, err := q.c.js.PublishMsgAsync(msg, jetstream.WithExpectStream(q.stream)); err != nil {
				q.c.log.Debug("a first turn is left to the chief", "job_id", s.Job.ID.String(), "error", err)
			}
		}
	}
}

// keepAlive tells the servers, three times in every AckWait, that this node has its turns, until ctx is done. A node whose
// view takes nothing tells nothing: others should have its turns.
func (q *turnQueue) keepAlive(ctx context.Context) {
	t := time.NewTicker(q.c.cfg.AckWait / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if q.c.view.Ready() != nil || q.c.failure.Load() != nil {
			continue
		}
		q.mu.Lock()
		msgs := make([]jetstream.Msg, 0, len(q.held))
		for _, h := range q.held {
			if !h.finished {
				msgs = append(msgs, h.msg)
			}
		}
		q.mu.Unlock()
		for _, m := range msgs {
			_ = m.InProgress()
		}
	}
}
