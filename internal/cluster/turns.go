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
	// asked tells that a request is under way.
	asked bool
	// probe tells to ask although nothing is known to be there: turns may be left of jobs that have ended.
	probe bool
}

// A turnQueue is this node's end of the cluster's queue of turns. One goroutine pulls, for as many turns as there are free
// workers; another tells the servers that the turns which this node holds are alive.
type turnQueue struct {
	c       *Cluster
	stream  string
	classes []*class
	out     chan *job.Lease

	mu   sync.Mutex
	free int // workers that wait for a turn and have none on its way
	held map[string]*holder
	// own are turns, by priority, that did not come as a message: of short jobs that this node has accepted, and reductions
	// behind the last task. owned counts them.
	own    [numPriorities][]*job.Lease
	owned  int
	closed bool
	wake   chan struct{}

	// The puller's own: what each priority is owed, how often it was chosen, and for how many turns it has asked.
	credits map[job.Priority]int
	chosen  uint8
	asking  int

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
		h.nak()
	}
}

// close pulls no more, and leaves to others what no worker has.
func (q *turnQueue) close() {
	q.mu.Lock()
	q.closed = true
	own := q.own
	q.own, q.owned = [numPriorities][]*job.Lease{}, 0
	q.poke()
	q.mu.Unlock()
	for _, line := range own {
		for _, t := range line {
			t.End()
		}
	}
}

func (q *turnQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Leases implements executor.Cluster.
func (c *Cluster) Leases() <-chan *job.Lease { return c.turns.out }

// RequestLeases implements executor.Cluster.
func (c *Cluster) RequestLeases(n int) {
	q := &c.turns
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free += n
	q.poke()
}

func (q *turnQueue) init() {
	q.out = make(chan *job.Lease)
	q.wake = make(chan struct{}, 1)
	q.held = make(map[string]*holder)
	q.credits = make(map[job.Priority]int)
}

const (
	// pollExpiry is how long a request for a turn waits at the server.
	pollExpiry = time.Second
	// probeInterval is how often the classes are asked that should be empty.
	probeInterval = 5 * time.Second
)

// arrival is the answer to a request, or one of its two: first what is there, then what comes while it waits.
type arrival struct {
	class *class
	msgs  []jetstream.Msg
	// given back are the turns that were asked for, last tells that no more comes of the request.
	asked int
	last  bool
}

// pull gives turns to free workers, until ctx is done.
func (q *turnQueue) pull(ctx context.Context) {
	arrivals := make(chan arrival, 2*len(q.classes))
	var requests sync.WaitGroup
	defer func() {
		requests.Wait()
		close(arrivals)
		for a := range arrivals {
			giveBack(a.msgs)
		}
	}()
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for ctx.Err() == nil {
		q.c.t.mu.Lock()
		changed := q.c.t.changed
		own, cl, n := q.choose()
		q.c.t.mu.Unlock()
		switch {
		case own != nil:
			q.give(ctx, own)
			continue
		case cl != nil:
			cl.asked = true
			q.asking += n
			requests.Go(func() { q.ask(ctx, cl, n, arrivals) })
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-changed:
		case <-probe.C:
			for _, cl := range q.classes {
				cl.probe = true
			}
		case a := <-arrivals:
			q.asking -= a.asked
			if a.last {
				a.class.asked, a.class.probe = false, len(a.msgs) > 0
			}
			q.deal(ctx, a.msgs)
		}
	}
}

// choose returns the turn to give next, or the class to ask for up to n: smooth weighted round robin between the
// priorities, and within one new jobs first, but for one time in four. Caller holds the table's lock.
func (q *turnQueue) choose() (own *job.Lease, cl *class, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free <= 0 || q.closed {
		return nil, nil, 0
	}
	n = min(q.free-q.asking, maxAsk)
	askable := n > 0 && q.c.nc.IsConnected()
	if !askable && q.owned == 0 {
		return nil, nil, 0
	}
	best, total := 0, 0
	var classes [numPriorities]*class
	var waits [numPriorities]bool
	for _, cl := range q.classes {
		p := cl.priority
		there := q.c.t.running[p]
		switch cl.line {
		case fresh:
			there = q.c.t.first[p] - q.c.t.brief[p]
		case short:
			there = q.c.t.brief[p] - len(q.own[p])
		}
		if cl.probe {
			there++
		}
		waits[p] = waits[p] || there > 0
		if askable && !cl.asked && there > 0 && (classes[p] == nil || (cl.line == active) == (q.chosen%4 == 0)) {
			classes[p] = cl
		}
	}
	for p := range classes {
		priority := job.Priority(p)
		if classes[p] == nil && len(q.own[p]) == 0 {
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
	// What others have left to this node goes before its own every other time.
	if line := q.own[best]; len(line) > 0 && (classes[best] == nil || q.chosen%4 >= 2 || q.c.t.lonely()) {
		own, q.own[best] = line[0], line[1:]
		q.owned--
		return own, nil, 0
	}
	return nil, classes[best], n
}

// maxAsk bounds one request. Turns of short jobs are asked for by the dozen, for one worker: a round trip takes longer than
// all of them.
const (
	maxAsk      = 16
	maxAskShort = 64
)

// ask asks for turns that are there and, when there are none, waits for one.
func (q *turnQueue) ask(ctx context.Context, cl *class, n int, arrivals chan<- arrival) {
	count := n
	if cl.line == short {
		count = maxAskShort
	}
	batch, err := cl.consumer.FetchNoWait(count)
	var msgs []jetstream.Msg
	if err == nil {
		for m := range batch.Messages() {
			msgs = append(msgs, m)
		}
		err = batch.Error()
	}
	if len(msgs) > 0 {
		arrivals <- arrival{class: cl, msgs: msgs, asked: n, last: true}
		return
	}
	arrivals <- arrival{class: cl, asked: n}
	if err != nil && !errors.Is(err, nats.ErrTimeout) {
		select { // an error is not to be repeated at once
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
	if batch, err = cl.consumer.Fetch(1, jetstream.FetchMaxWait(pollExpiry)); err == nil {
		for m := range batch.Messages() {
			msgs = append(msgs, m)
		}
	}
	arrivals <- arrival{class: cl, msgs: msgs, last: true}
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
		room := (q.free > 0 || isShort(m.Subject())) && !q.closed
		q.mu.Unlock()
		if !room {
			giveBack(msgs[i:])
			return
		}
		turn, err := q.accept(ctx, m)
		if turn != nil && turn.Task != job.Reduction && isShort(m.Subject()) {
			q.mu.Lock()
			q.own[turn.Job.Priority] = append(q.own[turn.Job.Priority], turn)
			q.owned++
			q.mu.Unlock()
			continue
		}
		if err != nil {
			q.c.log.Debug("a turn is given back", "subject", m.Subject(), "error", err)
			_ = m.NakWithDelay(retryPause)
			continue
		}
		if turn != nil {
			q.give(ctx, turn)
		}
	}
}

func isShort(subject string) bool { return strings.Contains(subject, "."+short+".") }

// give hands a turn to a worker; there is a free one.
func (q *turnQueue) give(ctx context.Context, t *job.Lease) {
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
	line  string
	fresh bool
	id    job.ID
	task  int
}

func (c *Cluster) parseSubject(subject string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(subject, c.cfg.Prefix+".turns.")
	f := strings.Split(rest, ".")
	if !ok || len(f) != 4 {
		return p, false
	}
	if f[1] != fresh && f[1] != active && f[1] != short {
		return p, false
	}
	id, err := job.ParseID(f[2])
	p = place{line: f[1], fresh: f[1] != active, id: id, task: job.Reduction}
	if err == nil && f[3] != reductionToken {
		p.task, err = strconv.Atoi(f[3])
	}
	return p, err == nil
}

func (c *Cluster) subjectOf(s *tracked, first bool, task int) string {
	line, token := active, reductionToken
	switch {
	case first && s.short():
		line = short
	case first:
		line = fresh
	}
	if task != job.Reduction {
		token = strconv.Itoa(task)
	}
	return c.turnSubject(s.head.Priority, line) + "." + s.head.ID.String() + "." + token
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

// maxOwned is how many turns of short jobs wait on the node that accepted them: some milliseconds of work. What is more
// goes to the nodes that are free.
const maxOwned = 512

// submitted offers the first turns of jobs that this node has submitted; those of short jobs stay here, as long as there
// are not too many. It is called from the view's goroutine and does not wait; should this fail, or the node end, the chief
// offers them.
func (q *turnQueue) submitted(entries []job.Entry, known uint64) {
	for i := range entries {
		for _, ev := range entries[i].Events {
			if ev, ok := ev.(job.Submitted); ok {
				q.first(&ev, known)
			}
		}
	}
}

// offerLater publishes a turn without waiting.
func (q *turnQueue) offerLater(subject string, known uint64) {
	msg := &nats.Msg{Subject: subject, Data: binary.AppendUvarint(nil, known)}
	if _, err := q.c.js.PublishMsgAsync(msg, jetstream.WithExpectStream(q.stream)); err != nil {
		q.c.log.Debug("a turn is left to the chief", "subject", subject, "error", err)
	}
}

// first keeps or offers the first turn of a job.
func (q *turnQueue) first(ev *job.Submitted, known uint64) {
	c := q.c
	q.mu.Lock()
	room := q.owned < maxOwned && !q.closed
	q.mu.Unlock()
	c.t.mu.Lock()
	s := c.t.jobs[ev.Job.ID]
	if s == nil || s.ending != nil || s.head.State != job.Queued || !s.due {
		c.t.mu.Unlock()
		return
	}
	h := &holder{c: c, place: place{line: short, fresh: true, id: ev.Job.ID}, subject: c.subjectOf(s, true, 0)}
	keep := room && s.short()
	if keep {
		h.take(s, 0)
		h.turn.Spec = ev.Spec
	}
	c.t.mu.Unlock()
	if !keep {
		q.offerLater(h.subject, known)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held[h.subject] = h
	q.own[ev.Job.Priority] = append(q.own[ev.Job.Priority], h.turn)
	q.owned++
	q.poke()
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
			if !h.finished && h.msg != nil {
				msgs = append(msgs, h.msg)
			}
		}
		q.mu.Unlock()
		for _, m := range msgs {
			_ = m.InProgress()
		}
	}
}
