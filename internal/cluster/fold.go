package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/journal"
)

// The notes of the view.
const (
	// notePosition tells how far the log is applied, noteLog which log it is.
	notePosition = "position"
	noteLog      = "log"
	// noteDropped leads those of submissions that were dropped and are still in the log.
	noteDropped = "dropped/"
	// noteJob leads those of jobs.
	noteJob = "job/"
)

// foldPause is the pause before the log is asked again after an error.
const foldPause = 200 * time.Millisecond

// A position is how far the log is applied: the messages before seq, and of seq so many proposals. It is written together
// with the effect of each, so that after a crash nothing is applied twice, or left out.
type position struct {
	// from is the last message that need not be read again: parts of what is not complete may stand before seq.
	from, seq uint64
	n         int
}

func (p position) note() journal.Note {
	b := binary.AppendUvarint(nil, p.from)
	b = binary.AppendUvarint(binary.AppendUvarint(b, p.seq), uint64(p.n))
	return journal.Note{Name: notePosition, Value: b}
}

// parsePosition is the inverse; the zero position is that of an empty view.
func parsePosition(b []byte) (p position) {
	var v [3]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return position{}
		}
		b = b[n:]
	}
	return position{from: v[0], seq: v[1], n: int(v[2])}
}

// An assembly is a write of which only some parts have come.
type assembly struct {
	first uint64
	at    time.Time
	body  []byte
}

// runFold reads the log from where the view is, and applies it, until ctx is done.
func (c *Cluster) runFold(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, job.ErrVersion) {
			// Going on without it would make this node's view another than that of the others.
			c.log.Error("the log holds what this version cannot read: the node takes no part any more; upgrade it", "error", err)
			c.fail(err)
			return
		}
		c.log.Debug("reading the log", "error", err)
		select {
		case <-time.After(foldPause):
		case <-ctx.Done():
		}
	}
}

// follow reads the log through a consumer of its own until that fails. A consumer needs no memory of its own: whatever
// happens to it, the next one begins behind the last message that was applied.
func (c *Cluster) follow(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, 2*publishTimeout)
	defer cancel()
	if err := c.recognize(try); err != nil {
		return err
	}
	cons, err := c.js.CreateConsumer(try, c.logStream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.from() + 1,
		AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(64), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer it.Stop()
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	for {
		msg, err := it.Next()
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := c.message(ctx, meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Data()); err != nil {
			return err
		}
		c.behind.Store(int64(meta.NumPending))
	}
}

// from is the sequence number behind which the fold goes on reading.
func (c *Cluster) from() uint64 {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	return c.read
}

// message takes one message of the log.
func (c *Cluster) message(ctx context.Context, seq uint64, at time.Time, subject string, data []byte) error {
	switch read := c.from(); {
	case seq <= read:
		return nil
	case seq > read+1:
		if err := c.gap(ctx, read, seq); err != nil {
			return err
		}
	}
	if len(data) < messageHeader || data[0] != messageVersion || data[1] > partLast {
		return fmt.Errorf("%w: message %d", job.ErrVersion, seq)
	}
	author := subject[strings.LastIndexByte(subject, '.')+1:]
	body := data[messageHeader:]
	whole := true
	if part := data[1]; part != partWhole {
		body, whole = c.assemble(author, part, seq, at, body)
	}
	if seq > c.applied.seq {
		c.applied = position{from: c.applied.from, seq: seq}
	}
	if whole && seq == c.applied.seq {
		if err := c.frames(ctx, seq, author, body); err != nil {
			return err
		}
	}
	from := seq
	for author, a := range c.assemblies {
		if at.Sub(a.at) > 5*partTimeout {
			delete(c.assemblies, author) // its author has ended, or begun anew
			continue
		}
		from = min(from, a.first-1)
	}
	if seq >= c.applied.seq {
		c.applied = position{from: from, seq: seq + 1}
		if err := c.view.Follow(ctx, job.Batch{}, c.applied.note()); err != nil {
			return err
		}
	}
	c.advance(seq, at)
	return nil
}

// frames takes the proposals of a message, but for those that were applied before.
func (c *Cluster) frames(ctx context.Context, seq uint64, author string, body []byte) error {
	for i := 0; len(body) > 0; i++ {
		n, w := binary.Uvarint(body)
		if w <= 0 || n > uint64(len(body)-w) {
			return fmt.Errorf("%w: frame in message %d", job.ErrVersion, seq)
		}
		frame := body[w : w+int(n) : w+int(n)]
		body = body[w+int(n):]
		if i < c.applied.n {
			continue
		}
		p, err := job.DecodeProposal(frame)
		if errors.Is(err, job.ErrVersion) {
			return fmt.Errorf("message %d: %w", seq, err)
		}
		next := position{from: c.applied.from, seq: seq, n: i + 1}
		if err != nil {
			// It is the same to all nodes that read this version.
			c.decided(author, &p, decision{err: transition("%v", err), seq: seq})
		} else if err := c.take(ctx, next, author, &p); err != nil {
			return err
		}
		c.applied = next
	}
	return nil
}

// assemble adds a part to what its author has begun, and returns all of it with the last one.
func (c *Cluster) assemble(author string, part byte, seq uint64, at time.Time, body []byte) ([]byte, bool) {
	a := c.assemblies[author]
	switch {
	case part == partFirst:
		a = &assembly{first: seq}
		c.assemblies[author] = a
	case a == nil:
		return nil, false // its beginning was given up, or is no longer in the log
	}
	a.at = at
	a.body = append(a.body, body...)
	if part != partLast {
		return nil, false
	}
	delete(c.assemblies, author)
	return a.body, true
}

// advance notes that the fold has come to seq.
func (c *Cluster) advance(seq uint64, at time.Time) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.read = seq
	if n := len(c.moments); n == 0 || at.Sub(c.moments[n-1].at) >= c.cfg.momentGap() {
		c.moments = append(c.moments, moment{seq: seq, at: at})
	}
	close(c.readMoved)
	c.readMoved = make(chan struct{})
}

// await waits until everything up to seq can be read.
func (c *Cluster) await(ctx context.Context, seq uint64) error {
	if err := c.awaitFold(ctx, seq); err != nil {
		return err
	}
	return c.view.Settle(ctx)
}

// awaitFold waits until the fold has come to seq.
func (c *Cluster) awaitFold(ctx context.Context, seq uint64) error {
	for {
		c.readMu.Lock()
		read, moved := c.read, c.readMoved
		c.readMu.Unlock()
		if read >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-c.failed:
			return storage("log-unreadable", "this node cannot read the cluster's log", 0)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errGap: messages were lost on their way; they are read again.
var errGap = errors.New("messages of the log did not arrive")

// gap finds out why the message behind read is not the next one: it was trimmed, or lost on its way.
func (c *Cluster) gap(ctx context.Context, read, seq uint64) error {
	try, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := c.js.Stream(try, c.logStream)
	if err != nil {
		return err
	}
	if first := stream.CachedInfo().State.FirstSeq; first <= read+1 {
		return errGap
	}
	return c.rebuild(ctx, seq)
}

// recognize finds out whether the log is the one that the view was made of; if not the view is made anew.
func (c *Cluster) recognize(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	identity := info.Config.Metadata[identityKey]
	if identity == c.identity && info.State.LastSeq >= c.from() {
		return nil
	}
	c.log.Error("the cluster's log is not what this node has read: it was made anew, or its end was lost", "read", c.from(), "log", info.State.LastSeq)
	c.identity = identity
	return c.rebuild(ctx, 1)
}

// rebuild begins the view anew: the log was trimmed past where it stood, or is another one. What the rest of the log does
// not tell of has expired.
func (c *Cluster) rebuild(ctx context.Context, first uint64) error {
	if c.from() > 0 || first > 1 {
		c.log.Warn("the view is made anew from the log", "view", c.from(), "log", first)
		c.met.rebuilds.Inc()
	}
	if err := errors.Join(c.view.Settle(ctx), c.view.Clear(ctx)); err != nil {
		return err
	}
	given, err := c.lastTrim(ctx)
	if err != nil {
		return err
	}
	c.given = given
	c.applied = position{from: first - 1, seq: first}
	if err := c.view.Follow(ctx, job.Batch{}, journal.Note{Name: noteLog, Value: []byte(c.identity)}, c.applied.note()); err != nil {
		return err
	}
	c.t.mu.Lock()
	for _, s := range c.t.jobs {
		c.t.remove(s)
	}
	ends := c.t.ends
	c.t.reset()
	c.t.ends = ends
	c.t.mu.Unlock()
	c.assemblies = make(map[string]*assembly)
	c.readMu.Lock()
	c.dropped, c.moments, c.read = nil, nil, first-1
	c.readMu.Unlock()
	return nil
}

// take decides about one proposal and applies it, together with the position behind it.
func (c *Cluster) take(ctx context.Context, next position, author string, p *job.Proposal) error {
	var err error
	last := false
	switch p.What {
	case job.ProposeBatch:
		return c.takeBatch(ctx, next, author, p)
	case job.ProposeJoin, job.ProposeLeave, job.ProposeDecision:
		last, err = c.takePart(ctx, next, p)
	case job.ProposeDelete:
		if err = c.patient(ctx, func() error { return c.view.Settle(ctx) }); err == nil {
			err = c.patient(ctx, func() error { return c.view.Drop(ctx, p.Tenant, p.ID) })
		}
	case job.ProposeTrim:
		err = c.takeTrim(ctx, next, p)
	case job.ProposeJob, job.ProposeKey, job.ProposeTombstone:
		err = c.takeImport(ctx, p)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.decided(author, p, decision{err, last, next.seq})
	return nil
}

// patient tries again what only this node's disk can refuse: what the log says holds for all nodes.
func (c *Cluster) patient(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil || errors.Is(err, job.ErrNotFinished) || errors.Is(err, journal.ErrClosed) {
			return err
		}
		c.log.Warn("the view does not take what the log says; trying again", "error", err)
		select {
		case <-time.After(foldPause):
		case <-ctx.Done():
		}
	}
}

// takeBatch decides about events.
func (c *Cluster) takeBatch(ctx context.Context, next position, author string, p *job.Proposal) error {
	now := time.Now()
	tenant, submits := submitter(p.Entries)
	given := submits && c.given != nil && next.seq <= c.given.Through
	var err error
	switch {
	case !given:
		err = c.checkKey(ctx, p)
	case c.given.drops(next):
		err = transition("it was dropped")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	last := false
	var notes []journal.Note
	c.t.mu.Lock()
	if err == nil && submits && !given {
		err = c.t.room(p.Admission, tenant, func(n int) time.Duration { return c.t.ends.RetryAfter(now, n) })
	}
	var heads map[job.ID]job.Job
	if err == nil {
		heads, err = c.t.check(p)
	}
	if err == nil {
		c.t.apply(p, author, heads, now)
		for id := range heads {
			s := c.t.jobs[id]
			if s == nil {
				notes = append(notes, journal.Note{Name: noteJob + id.String()})
				continue
			}
			last = last || s.allDone() && s.ending == nil || s.ending != nil && s.active == 0
			if submits || s.ending != nil && s.decidedAt.Equal(now) {
				notes = append(notes, journal.Note{Name: noteJob + id.String(), Value: s.appendNote(nil)})
			}
			c.leaveIfIdle(s)
		}
	}
	c.t.mu.Unlock()
	if err != nil {
		c.met.drop(err)
		if submits {
			notes = append(notes, c.remember(job.Dropped{Seq: next.seq, Index: next.n}))
		}
		if err := c.view.Follow(ctx, job.Batch{}, append(notes, next.note())...); err != nil {
			return err
		}
		c.decided(author, p, decision{err: err, seq: next.seq})
		return nil
	}
	if p.Key != nil {
		c.keys.add(p)
	}
	return c.view.Follow(ctx, job.Batch{Entries: p.Entries, Key: p.Key, Done: func(err error) {
		if p.Key != nil {
			c.keys.remove(p)
		}
		if err != nil && !errors.Is(err, job.ErrStorage) {
			c.log.Error("the view refuses what the log holds", "error", err)
		}
		c.decided(author, p, decision{err, last, next.seq})
	}}, append(notes, next.note())...)
}

// submitter returns whose jobs a batch submits, if it does.
func submitter(entries []job.Entry) (tenant string, submits bool) {
	for i := range entries {
		for _, ev := range entries[i].Events {
			if s, ok := ev.(job.Submitted); ok {
				return s.Job.Tenant, true
			}
		}
	}
	return "", false
}

// checkKey decides about the idempotency key of a batch.
func (c *Cluster) checkKey(ctx context.Context, p *job.Proposal) error {
	if p.Key == nil {
		return nil
	}
	ids, fingerprint, found := c.keys.get(p.Key, p.At)
	if !found {
		if err := c.patient(ctx, func() (err error) {
			ids, fingerprint, err = c.view.KeyUsed(ctx, *p.Key, p.At)
			return err
		}); err != nil {
			return err
		}
	}
	switch {
	case len(ids) == 0:
		return nil
	case fingerprint != p.Key.Fingerprint:
		return job.ErrKeyReused
	}
	return &job.PriorError{IDs: ids}
}

// takePart decides about who works on a job, and about how it is to end. It reports whether the job now waits for nothing
// but its last event.
func (c *Cluster) takePart(ctx context.Context, next position, p *job.Proposal) (last bool, err error) {
	c.t.mu.Lock()
	s := c.t.jobs[p.ID]
	switch {
	case s == nil:
		err = transition("job %s has ended", p.ID)
	case p.What == job.ProposeJoin && s.ending != nil:
		err = transition("job %s is to end", p.ID)
	case p.What == job.ProposeJoin:
		if !s.parts[p.Node] {
			s.active++
		}
		if s.parts == nil {
			s.parts = make(map[string]bool)
		}
		s.parts[p.Node] = true
	case p.What == job.ProposeLeave:
		if s.parts[p.Node] {
			s.active--
			s.parts[p.Node] = false
		}
	default:
		c.t.decide(s, p.Finished, time.Now())
		c.leaveIfIdle(s)
	}
	var value []byte
	if err == nil {
		last = s.ending != nil && s.active == 0
		value = s.appendNote(nil)
		s.movedAt = time.Now()
		c.t.signal()
	}
	c.t.mu.Unlock()
	notes := []journal.Note{next.note()}
	if err != nil {
		c.met.drop(err)
	} else {
		notes = append(notes, journal.Note{Name: noteJob + p.ID.String(), Value: value})
	}
	return last, errors.Join(err, c.view.Follow(ctx, job.Batch{}, notes...))
}

// decided tells this node's own proposals what has become of them.
func (c *Cluster) decided(author string, p *job.Proposal, d decision) {
	if author != c.id {
		return
	}
	if pd := c.w.decided(p.Number); pd != nil {
		pd.done(d)
		return
	}
	// A submission that was refused while its fate was unknown, and is there after all. With a key its client, who was told
	// to, asks for it again: it must not be told of a job that is cancelled here.
	if _, submits := submitter(p.Entries); submits && d.err == nil && p.Key == nil {
		for i := range p.Entries {
			id := p.Entries[i].ID
			c.propose(&job.Proposal{What: job.ProposeBatch, At: time.Now().UTC(), Entries: []job.Entry{{
				ID: id, Events: []job.Event{job.CancelRequested{At: time.Now().UTC()}},
			}}}, func(d decision) { c.finishIf(id, d) })
		}
	}
}

// finishIf ends a job if that is what a decision leaves to do.
func (c *Cluster) finishIf(id job.ID, d decision) {
	if d.err == nil && d.last {
		c.finish(id)
	}
}
