package outbound

import (
	"container/heap"
	"time"
)

// take takes the next item to send, with its attempts so far; false when there is none now. Then a timer, an outcome or a
// Collect queues the batch again. Caller holds s.mu.
func (b *Batch) take(now time.Time) (item int64, attempts int, ok bool) {
	if b.stopped || b.inFlight >= b.Concurrency || len(b.results) >= maxResults || b.bytes >= maxResultBytes {
		return 0, 0, false
	}
	if b.Interval > 0 && now.Before(b.next) {
		if b.cursor < b.Items || len(b.retries) > 0 || b.blocked > 0 {
			b.wakeAt(now, b.next)
		}
		return 0, 0, false
	}
	l, ok := b.pick(now)
	if !ok {
		if len(b.retries) > 0 && b.retries[0].At.After(now) {
			b.wakeAt(now, b.retries[0].At)
		}
		return 0, 0, false
	}
	if b.Interval > 0 {
		b.next = later(now.Add(-catchUp), b.next).Add(b.Interval)
	}
	b.inFlight++
	return l.item, l.attempts, true
}

// catchUp is how late requests may be for the next ones to follow faster, so that timers do not lower a high rate.
const catchUp = 10 * time.Millisecond

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pick picks an item: one that was set aside, then a retry that is due, then a new one.
func (b *Batch) pick(now time.Time) (launch, bool) {
	for len(b.free) > 0 {
		h := b.free[0]
		if h.aside.n > 0 && h.inFlight < b.PerHost {
			h.inFlight++
			b.blocked--
			return h.aside.pop(), true
		}
		h.listed = false
		b.free = b.free[1:]
	}
	for {
		var l launch
		switch {
		case len(b.retries) > 0 && !b.retries[0].At.After(now):
			r := heap.Pop(&b.retries).(Retry)
			l = launch{item: r.Item, attempts: r.Attempts}
		case b.blocked >= maxBlocked || !b.skipDone():
			return launch{}, false
		default:
			l.item = b.cursor
			b.cursor++
			b.skipDone()
		}
		if b.hosts == nil {
			return l, true
		}
		name := b.Source.Host(l.item)
		h := b.hosts[name]
		if h == nil {
			h = &hostState{}
			b.hosts[name] = h
		}
		if h.inFlight < b.PerHost {
			h.inFlight++
			return l, true
		}
		h.aside.push(l)
		b.blocked++
	}
}

// skipDone moves the cursor to the next item that is to be sent; false when there is none.
func (b *Batch) skipDone() bool {
	for b.cursor < b.Items && b.Done != nil && b.Done[b.cursor] {
		b.cursor++
	}
	return b.cursor < b.Items
}

// wakeAt queues the batch again at a time. Caller holds s.mu.
func (b *Batch) wakeAt(now, at time.Time) {
	if b.timer != nil && b.timerAt.Equal(at) {
		return
	}
	b.timerAt = at
	if b.timer == nil {
		b.timer = time.AfterFunc(at.Sub(now), b.wake)
	} else {
		b.timer.Reset(at.Sub(now))
	}
}

func (b *Batch) wake() {
	s := b.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	b.timerAt = time.Time{}
	if !b.stopped {
		s.enqueue(b)
		s.dispatch()
	}
}

// performed is what became of a launch.
type performed struct {
	outcome *Outcome
	method  string
	result  Result
	retry   time.Duration
	again   bool
	host    string
	// dropped is true for a request that was cancelled.
	dropped bool
}

// perform sends a request and decides what follows, without a lock.
func (b *Batch) perform(l launch) performed {
	var p performed
	if b.hosts != nil {
		p.host = b.Source.Host(l.item)
	}
	if b.ctx.Err() != nil {
		p.dropped = true
		return p
	}
	r, err := b.Source.Request(l.item)
	if err != nil {
		p.outcome = &Outcome{Class: BadRequest, Error: err.Error()}
	} else {
		p.method = r.Method
		p.outcome = b.attempt(r)
	}
	o := p.outcome
	o.Attempts = l.attempts + 1
	b.sender.metrics.attempted(o, l.attempts > 0)
	if o.Class == Cancelled {
		p.dropped = true
		return p
	}
	if o.Class != "" || !b.Success(o.Status) {
		if p.retry, p.again = b.Retry.wait(p.method, o.Attempts, o, time.Now()); p.again {
			return p
		}
	}
	value, failure := b.Source.Result(l.item, o)
	p.result = Result{Item: l.item, Value: value, Failure: failure, Duration: o.Duration}
	o.Body = nil
	return p
}

// finish takes what became of a launch, and returns the callback of Await, to be called without the lock. Caller holds s.mu.
func (b *Batch) finish(l launch, p performed) (ready func()) {
	s := b.sender
	b.inFlight--
	b.group.inFlight--
	b.group.tenant.inFlight--
	s.inFlight--
	s.bytes -= b.MaxBody
	if b.hosts != nil {
		h := b.hosts[p.host]
		h.inFlight--
		switch {
		case h.aside.n > 0 && !h.listed:
			h.listed = true
			b.free = append(b.free, h)
		case h.aside.n == 0 && h.inFlight == 0:
			delete(b.hosts, p.host)
		}
	}
	switch {
	case p.dropped:
		b.stopped = true // its context has ended
	case p.again && b.stopped:
	case p.again:
		r := Retry{Item: l.item, Attempts: l.attempts + 1, At: time.Now().Add(p.retry)}
		heap.Push(&b.retries, r)
		b.retried = append(b.retried, r)
	default:
		b.results = append(b.results, p.result)
		size := int64(len(p.result.Value) + len(p.result.Failure))
		b.bytes += size
		s.bytes += size
		s.outcomes++
		if p.result.Failure != "" && b.FailFast && !b.stopped {
			b.stopped = true
			b.cancel(errStopped)
		}
	}
	if !b.stopped {
		s.enqueue(b)
	}
	return b.check()
}
