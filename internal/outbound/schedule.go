package outbound

import "time"

// priorities is the number of priorities; weights are their shares while all have requests to send.
const priorities = 3

var weights = [priorities]int{1, 4, 16}

// share bounds the requests in flight of one job to share times the free places, so that one job alone takes four fifths of
// all places, and the next one finds some free.
const share = 4

// A lane has the jobs of one priority that have a request to send, in turn.
type lane struct {
	credit int
	groups fifo[*group]
}

// A group is the batches of one job.
type group struct {
	key      [16]byte
	lane     int
	tenant   *tenant
	batches  fifo[*Batch] // with a request to send
	inFlight int
	open     int // batches that have not ended
	queued   bool
}

// A launch is a request that is sent next.
type launch struct {
	batch    *Batch
	item     int64
	attempts int // before this one
}

// enqueue queues a batch that may have a request to send. Caller holds s.mu.
func (s *Sender) enqueue(b *Batch) {
	if b.queued {
		return
	}
	b.queued = true
	g := b.group
	g.batches.push(b)
	if !g.queued {
		g.queued = true
		s.lanes[g.lane].groups.push(g)
	}
}

// dispatch sends as many requests as may be sent now. Caller holds s.mu.
func (s *Sender) dispatch() {
	for {
		l, ok := s.next()
		if !ok {
			return
		}
		s.wg.Add(1)
		go s.send(l)
	}
}

// next takes the next request: smooth weighted round robin between priorities, and jobs of a priority in turn. Caller
// holds s.mu.
func (s *Sender) next() (launch, bool) {
	if s.draining {
		return launch{}, false
	}
	var tried [priorities]bool
	for s.inFlight < s.cfg.InFlight {
		best, total := -1, 0
		for i := range s.lanes {
			l := &s.lanes[i]
			if l.groups.n == 0 {
				l.credit = 0
				continue
			}
			if tried[i] {
				continue
			}
			total += weights[i]
			if best < 0 || l.credit+weights[i] > s.lanes[best].credit+weights[best] {
				best = i
			}
		}
		if best < 0 {
			return launch{}, false
		}
		l, ok := s.nextOf(&s.lanes[best])
		if !ok {
			tried[best] = true
			continue
		}
		for i := range s.lanes {
			if s.lanes[i].groups.n > 0 && !tried[i] {
				s.lanes[i].credit += weights[i]
			}
		}
		s.lanes[best].credit -= total
		return l, true
	}
	return launch{}, false
}

// nextOf takes the next request of a lane.
func (s *Sender) nextOf(lane *lane) (launch, bool) {
	free := s.cfg.InFlight - s.inFlight
	for range lane.groups.n {
		g := lane.groups.pop()
		g.queued = false
		if g.inFlight >= share*free {
			s.requeue(lane, g) // others first; its turn comes when more places are free
			continue
		}
		if !g.tenant.allows(s) {
			s.requeue(lane, g)
			continue
		}
		l, ok := s.nextIn(g)
		if g.batches.n > 0 {
			s.requeue(lane, g)
		}
		if ok {
			return l, true
		}
	}
	return launch{}, false
}

func (s *Sender) requeue(lane *lane, g *group) {
	g.queued = true
	lane.groups.push(g)
}

// nextIn takes the next request of a job. Batches without one leave the queue until something changes.
func (s *Sender) nextIn(g *group) (launch, bool) {
	now := time.Now()
	for range g.batches.n {
		b := g.batches.pop()
		if s.inFlight > 0 && s.bytes+b.MaxBody > s.cfg.Bytes {
			g.batches.push(b)
			continue
		}
		b.queued = false
		item, attempts, ok := b.take(now)
		if !ok {
			continue
		}
		b.queued = true
		g.batches.push(b)
		g.inFlight++
		s.inFlight++
		g.tenant.sent(s, now)
		s.bytes += b.MaxBody
		return launch{b, item, attempts}, true
	}
	return launch{}, false
}

// send sends a request, and further ones as long as there are any.
func (s *Sender) send(l launch) {
	defer s.wg.Done()
	for ok := true; ok; {
		r := l.batch.perform(l)
		s.mu.Lock()
		ready := l.batch.finish(l, r)
		l, ok = s.next()
		if ok {
			s.dispatch()
		}
		s.checkIdle()
		s.mu.Unlock()
		call(ready)
	}
}

// fifo is a first-in, first-out ring. The zero value is empty.
type fifo[T any] struct {
	buf  []T
	head int
	n    int
}

func (d *fifo[T]) push(v T) {
	if d.n == len(d.buf) {
		grown := make([]T, max(4, 2*d.n))
		for i := range d.n {
			grown[i] = d.buf[(d.head+i)%len(d.buf)]
		}
		d.buf, d.head = grown, 0
	}
	d.buf[(d.head+d.n)%len(d.buf)] = v
	d.n++
}

func (d *fifo[T]) pop() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero
	d.head = (d.head + 1) % len(d.buf)
	d.n--
	return v
}
