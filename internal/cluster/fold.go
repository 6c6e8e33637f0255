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
)

// The notes of the view.
const (
	// notePosition is the sequence number up to which the log is applied, noteLog the identity of the log.
	notePosition = "position"
	noteLog      = "log"
	// noteDropped leads those of submissions that were dropped and are still in the log.
	noteDropped = "dropped/"
	// noteJob leads those of jobs.
	noteJob = "job/"
)

// foldPause is the pause before the log is asked again after an error.
const foldPause = 200 * time.Millisecond

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
	try, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
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
	if whole {
		for len(body) > 0 {
			n, w := binary.Uvarint(body)
			if w <= 0 || n > uint64(len(body)-w) {
				return fmt.Errorf("%w: frame in message %d", job.ErrVersion, seq)
			}
			p, err := job.DecodeProposal(body[w : w+int(n) : w+int(n)])
			switch {
			case errors.Is(err, job.ErrVersion):
				return fmt.Errorf("message %d: %w", seq, err)
			case err != nil:
				// It is the same to all nodes that read this version.
				c.decided(author, &p, decision{err: transition("%v", err), seq: seq})
			default:
				if err := c.take(ctx, seq, author, &p); err != nil {
					return err
				}
			}
			body = body[w+int(n):]
		}
	}
	position := seq
	for author, a := range c.assemblies {
		if at.Sub(a.at) > 5*partTimeout {
			delete(c.assemblies, author) // its author has ended, or begun anew
			continue
		}
		position = min(position, a.first-1)
	}
	if err := c.view.SetNote(ctx, notePosition, binary.AppendUvarint(nil, position)); err != nil {
		return err
	}
	c.advance(seq, at)
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

// rebuild begins the view anew: the log was trimmed past where it stood. What the rest of the log does not tell of has
// expired.
func (c *Cluster) rebuild(ctx context.Context, first uint64) error {
	if c.from() > 0 || first > 1 {
		c.log.Warn("the log was trimmed past this node's view; the view is made anew", "view", c.from(), "log", first)
		c.met.rebuilds.Inc()
	}
	err := errors.Join(c.view.Settle(ctx), c.view.Clear(ctx), c.view.SetNote(ctx, noteLog, []byte(c.identity)))
	if err != nil {
		return err
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for _, s := range c.t.jobs {
		c.t.remove(s)
	}
	ends := c.t.ends
	c.t.reset()
	c.t.ends = ends
	c.assemblies = make(map[string]*assembly)
	c.readMu.Lock()
	c.dropped, c.moments = nil, nil
	c.readMu.Unlock()
	return nil
}

// take decides about one proposal and applies it.
func (c *Cluster) take(ctx context.Context, seq uint64, author string, p *job.Proposal) error {
	var err error
	last := false
	switch p.What {
	case job.ProposeBatch:
		return c.takeBatch(ctx, seq, author, p)
	case job.ProposeJoin, job.ProposeLeave, job.ProposeDecision:
		last, err = c.takePart(ctx, p)
	case job.ProposeDelete:
		if err = c.view.Settle(ctx); err == nil {
			err = c.view.Delete(ctx, p.Tenant, p.ID)
		}
	case job.ProposeTrim:
		err = c.takeTrim(ctx, p)
	case job.ProposeJob, job.ProposeKey, job.ProposeTombstone:
		err = c.takeImport(ctx, p)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.decided(author, p, decision{err, last, seq})
	return nil
}

// takeBatch decides about events.
func (c *Cluster) takeBatch(ctx context.Context, seq uint64, author string, p *job.Proposal) error {
	now := time.Now()
	tenant, submits := submitter(p.Entries)
	err := c.checkKey(ctx, p)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	last := false
	var notes []note
	c.t.mu.Lock()
	if err == nil && submits {
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
				notes = append(notes, note{id: id})
				continue
			}
			last = last || s.allDone() && s.ending == nil || s.ending != nil && s.active == 0
			if submits || s.ending != nil && s.decidedAt.Equal(now) {
				notes = append(notes, note{id: id, value: s.appendNote(nil)})
			}
			c.leaveIfIdle(s)
		}
	}
	c.t.mu.Unlock()
	if err != nil {
		c.met.drop(err)
		if submits {
			if err := c.noteDropped(ctx, seq, tenant, p); err != nil {
				return err
			}
		}
		c.decided(author, p, decision{err: err, seq: seq})
		return nil
	}
	if p.Key != nil {
		c.keys.add(p)
	}
	err = c.view.Follow(ctx, job.Batch{Entries: p.Entries, Key: p.Key, Done: func(err error) {
		if p.Key != nil {
			c.keys.remove(p)
		}
		if err != nil && !errors.Is(err, job.ErrStorage) {
			c.log.Error("the view refuses what the log holds", "error", err)
		}
		c.decided(author, p, decision{err, last, seq})
	}})
	for _, n := range notes {
		if err == nil {
			err = c.view.SetNote(ctx, noteJob+n.id.String(), n.value)
		}
	}
	return err
}

type note struct {
	id    job.ID
	value []byte
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
		var err error
		if ids, fingerprint, err = c.view.KeyUsed(ctx, *p.Key, p.At); err != nil {
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
func (c *Cluster) takePart(ctx context.Context, p *job.Proposal) (last bool, err error) {
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
	if err != nil {
		c.met.drop(err)
		return false, err
	}
	return last, c.view.SetNote(ctx, noteJob+p.ID.String(), value)
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
