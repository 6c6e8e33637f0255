package outbound

import (
	"container/heap"
	"context"
	"time"
)

// A Source supplies the requests of a batch, by item, and encodes their outcomes. Its methods are called by several
// goroutines at the same time.
type Source interface {
	// Request returns the request of an item. Its error is the item's.
	Request(item int64) (*Request, error)
	// Host returns the host of an item's request, for Options.PerHost. It must be quick.
	Host(item int64) string
	// Result encodes the outcome of an item: a value, and why it failed; "" if it succeeded.
	Result(item int64, o *Outcome) (value []byte, failure string)
}

// Options describe a batch.
type Options struct {
	// Job identifies the batches of one job, which share its turns. Priority is 0 to 2.
	Job      [16]byte
	Priority int
	Tenant   string
	Source   Source
	// Items is the number of items. Done has those that are not to be sent; nil for none.
	Items int64
	Done  []bool
	// Retries are items that were sent before, and wait for another attempt.
	Retries []Retry
	// Concurrency bounds the requests in flight, PerHost those to one host; 0 is no bound.
	Concurrency, PerHost int
	// Interval is the minimum time between two requests, from Start on; 0 for none.
	Interval time.Duration
	Start    time.Time
	// Timeout bounds an attempt, with its redirects and the body.
	Timeout time.Duration
	// MaxBody bounds a body in bytes; further ones are not read. Discard reads bodies without keeping them.
	MaxBody int64
	Discard bool
	// NoRedirects makes the response with a redirect the outcome.
	NoRedirects bool
	Retry       RetryPolicy
	// Success reports whether a status is a success.
	Success func(status int) bool
	// FailFast sends no further request after the first failure.
	FailFast bool
	// TraceParent is sent with each request; "" for none.
	TraceParent string
}

// A Retry is an item that waits for another attempt.
type Retry struct {
	Item int64
	// Attempts counts the attempts so far.
	Attempts int
	// At is the time of the next one, on the monotonic clock.
	At time.Time
}

// A Result is the outcome of an item.
type Result struct {
	Item     int64
	Value    []byte
	Failure  string // "" if it succeeded
	Duration time.Duration
}

// Bounds of what a batch holds until it is collected: then it sends no further request.
const (
	maxResults     = 1024
	maxResultBytes = 1 << 20
	// someResults and someBytes are reported immediately, fewer after linger.
	someResults = 256
	someBytes   = 256 << 10
	linger      = 5 * time.Millisecond
	// maxBlocked bounds the items that are set aside because their host is busy.
	maxBlocked = 4096
)

// A Batch is a batch of requests that a Sender sends.
type Batch struct {
	Options
	sender *Sender
	group  *group
	ctx    context.Context //nolint:containedctx // of the requests
	cancel context.CancelCauseFunc
	watch  func() bool

	// Guarded by Sender.mu.
	queued   bool // in the queue of its job
	stopped  bool // sends no further request
	ended    bool // the group no longer counts the batch
	inFlight int
	cursor   int64 // the first item that was never taken
	retries  retryHeap
	hosts    map[string]*hostState
	free     []*hostState // with items that are set aside and may be sent
	blocked  int          // items that are set aside
	next     time.Time    // the earliest time of the next request
	timer    *time.Timer  // of next, or of the earliest retry
	timerAt  time.Time

	results []Result
	retried []Retry // since the last Collect
	bytes   int64   // of results
	since   bool    // the linger has begun
	flush   *time.Timer
	due     bool // the linger has ended
	ready   func()
}

// hostState counts the requests to a host, if they are bounded.
type hostState struct {
	inFlight int
	aside    fifo[launch]
	listed   bool // in Batch.free
}

// Start begins to send a batch; its requests end with ctx. The caller collects the outcomes, until Collect reports the end.
func (s *Sender) Start(ctx context.Context, o Options) *Batch {
	b := &Batch{Options: o, sender: s, next: o.Start}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.retries = append(b.retries, o.Retries...)
	heap.Init(&b.retries)
	b.Retries = nil
	if o.PerHost > 0 {
		b.hosts = make(map[string]*hostState)
	}
	s.mu.Lock()
	g := s.groups[o.Job]
	if g == nil {
		g = &group{key: o.Job, lane: min(max(o.Priority, 0), priorities-1), tenant: s.tenantOf(o.Tenant)}
		s.groups[o.Job] = g
	}
	g.open++
	b.group = g
	s.enqueue(b)
	s.dispatch()
	s.mu.Unlock()
	b.watch = context.AfterFunc(ctx, b.stopNow)
	return b
}

// Stop ends the batch: no further request is sent, and those in flight are cancelled.
func (b *Batch) Stop() {
	b.cancel(errStopped)
	b.stopNow()
}

func (b *Batch) stopNow() {
	s := b.sender
	s.mu.Lock()
	b.stopped = true
	ready := b.check()
	s.mu.Unlock()
	call(ready)
}

// Await calls ready, once, when there is something to collect: outcomes, retries or the end. After the end of the context,
// or Stop, it is called when no request is in flight.
func (b *Batch) Await(ready func()) {
	s := b.sender
	s.mu.Lock()
	b.ready = ready
	f := b.check()
	s.mu.Unlock()
	call(f)
}

// Collect returns the outcomes and the new retries since the last call. Ended is true when nothing is in flight and
// nothing follows: all items have an outcome, or the batch was stopped.
func (b *Batch) Collect() (results []Result, retries []Retry, ended bool) {
	s := b.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	results, retries = b.results, b.retried
	s.bytes -= b.bytes
	s.outcomes -= len(results)
	b.results, b.retried, b.bytes, b.since, b.due = nil, nil, 0, false, false
	if b.flush != nil {
		b.flush.Stop()
	}
	if b.over() {
		b.end()
		s.dispatch()
		s.checkIdle()
		return results, retries, true
	}
	s.enqueue(b)
	s.dispatch() // in the place of the outcomes
	s.checkIdle()
	return results, retries, false
}

// over reports whether nothing is in flight and nothing follows. Caller holds s.mu.
func (b *Batch) over() bool {
	return b.inFlight == 0 && (b.stopped || b.cursor == b.Items && len(b.retries) == 0 && b.blocked == 0)
}

// end removes the batch from its group. Caller holds s.mu.
func (b *Batch) end() {
	if b.ended {
		return
	}
	b.ended, b.stopped = true, true
	b.watch()
	b.cancel(errStopped)
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.group.open--; b.group.open == 0 {
		delete(b.sender.groups, b.group.key)
	}
}

// check returns the callback, if there is something to collect, and else starts the linger. Caller holds s.mu.
func (b *Batch) check() (ready func()) {
	if b.ready == nil {
		return nil
	}
	some := len(b.results) + len(b.retried)
	switch {
	case b.over(),
		b.stopped && b.inFlight == 0,
		!b.stopped && some > 0 && (b.inFlight == 0 || b.due || len(b.results) >= someResults || b.bytes >= someBytes):
		ready, b.ready = b.ready, nil
	case some > 0 && !b.since:
		b.since = true
		if b.flush == nil {
			b.flush = time.AfterFunc(linger, b.flushed)
		} else {
			b.flush.Reset(linger)
		}
	}
	return ready
}

func (b *Batch) flushed() {
	b.sender.mu.Lock()
	var ready func()
	if b.since {
		b.due = true
		ready = b.check()
	}
	b.sender.mu.Unlock()
	call(ready)
}

func call(f func()) {
	if f != nil {
		f()
	}
}

// retryHeap implements heap.Interface, earliest first.
type retryHeap []Retry

func (h retryHeap) Len() int           { return len(h) }
func (h retryHeap) Less(i, j int) bool { return h[i].At.Before(h[j].At) }
func (h retryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *retryHeap) Push(x any)        { *h = append(*h, x.(Retry)) }

func (h *retryHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}
