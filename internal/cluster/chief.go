package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// # The chief
//
// The eldest node tidies up behind nodes that died: it tells that they have left their jobs, offers turns that were lost,
// ends what nobody ends, and trims the log. Nothing it does is harmful when two nodes take themselves for the chief, or
// when it is done twice; and all of it can wait until there is a chief again.

// runChief looks around once in a while, until ctx is done.
func (c *Cluster) runChief(ctx context.Context) {
	t := time.NewTicker(max(c.cfg.AckWait/4, heartbeat))
	defer t.Stop()
	var trimmed time.Time
	short := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !c.chief() || c.trouble() != nil {
			short = 0
			continue
		}
		c.bury()
		var err error
		if short, err = c.restore(ctx, short); err != nil && ctx.Err() == nil {
			c.log.Debug("look for lost turns", "error", err)
		}
		if time.Since(trimmed) >= c.cfg.trimInterval() {
			trimmed = time.Now()
			if err := c.trim(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("trim the log", "error", err)
			}
		}
	}
}

// trimInterval is how often the log is trimmed: every hour, when it keeps a day.
func (c *Config) trimInterval() time.Duration {
	return min(time.Hour, max(heartbeat, max(c.TombstoneRetention, c.KeyRetention)/24))
}

// bury tells that dead nodes have left jobs that are to end, ends jobs that nobody ends, and those that ran too long while
// nobody worked on them.
func (c *Cluster) bury() {
	live := make(map[string]bool)
	for _, n := range c.members.live() {
		live[n.ID] = true
	}
	now := time.Now()
	var proposals []*job.Proposal
	var finish []job.ID
	c.t.mu.Lock()
	for id, s := range c.t.jobs {
		if late := s.head.Timeout; s.ending == nil && s.head.State == job.Running && late > 0 &&
			now.Sub(s.head.StartedAt) > late+c.cfg.AckWait {
			proposals = append(proposals, &job.Proposal{What: job.ProposeDecision, ID: id, Finished: job.Finished{
				State: job.Failed, Failure: &job.Failure{
					Reason: job.FailedTimeout, Detail: "the job ran longer than its timeout of " + late.String(),
				},
			}})
		}
		if s.ending == nil || now.Sub(s.decidedAt) < heartbeat {
			continue
		}
		for node, works := range s.parts {
			if works && !live[node] {
				proposals = append(proposals, &job.Proposal{What: job.ProposeLeave, ID: id, Node: node})
			}
		}
		if s.active == 0 {
			finish = append(finish, id)
		}
	}
	c.t.mu.Unlock()
	for _, p := range proposals {
		p.At = now.UTC()
		c.propose(p, func(d decision) { c.finishIf(p.ID, d) })
	}
	for _, id := range finish {
		c.finish(id)
	}
}

// restore offers the turns that were lost: published by a node that died in between, or on their way when it did. It asks
// for what is there only when fewer turns were there, twice in a row, than there should be.
func (c *Cluster) restore(ctx context.Context, short int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.turns.stream)
	if err != nil {
		return 0, err
	}
	if have := stream.CachedInfo().State.Msgs; have >= uint64(c.expected(nil)) {
		return 0, nil
	}
	if short++; short < 2 {
		return short, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(c.cfg.Prefix+".turns.>"))
	if err != nil {
		return 0, err
	}
	there := make(map[job.ID][]int)
	for subject := range info.State.Subjects {
		if p, ok := c.parseSubject(subject); ok {
			there[p.id] = append(there[p.id], p.task)
		}
	}
	var lost []string
	c.expected(func(s *tracked, subject string) {
		p, _ := c.parseSubject(subject)
		// The turn of a lane may be one of an earlier task, and that of a reduction one of any task.
		if !slices.ContainsFunc(there[s.head.ID], func(task int) bool {
			return p.task == job.Reduction || task != job.Reduction && laneOf(s.head.Tasks, task) == laneOf(s.head.Tasks, p.task)
		}) {
			lost = append(lost, subject)
		}
	})
	known := c.from()
	for _, subject := range lost {
		if err := c.offer(ctx, subject, known); err != nil {
			return 0, err
		}
		c.met.restored.Inc()
	}
	return 0, nil
}

// expected counts the turns that should be there by now, and visits their subjects.
func (c *Cluster) expected(visit func(s *tracked, subject string)) (n int) {
	if visit == nil {
		visit = func(*tracked, string) {}
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	now := time.Now()
	for _, s := range c.t.jobs {
		if now.Sub(s.movedAt) < heartbeat {
			continue
		}
		c.turnsOf(s, func(subject string) {
			n++
			visit(s, subject)
		})
	}
	return n
}

// turnsOf visits the subjects of the turns that a job has while nobody works on it. Caller holds the table's lock.
func (c *Cluster) turnsOf(s *tracked, visit func(subject string)) {
	switch {
	case s.ending != nil || !s.due:
	case s.head.State == job.Queued:
		visit(c.subjectOf(s, true, 0))
	case s.head.State != job.Running:
	case s.allDone():
		visit(c.subjectOf(s, false, job.Reduction))
	default:
		for lane := range lanes(s.head.Tasks) {
			if task, ok := s.front(lane); ok {
				// The first turn stands for the first task until that is done.
				visit(c.subjectOf(s, task == 0, task))
			}
		}
	}
}

// runStarts lets jobs with a start_after become due, until ctx is done: on the node that submitted them, and a moment later
// on the chief.
func (c *Cluster) runStarts(ctx context.Context) {
	const step = 20 * time.Millisecond
	t := time.NewTicker(step)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, subject := range c.fallDue(time.Now()) {
			if err := c.offer(ctx, subject, c.from()); err != nil && ctx.Err() == nil {
				c.log.Debug("a first turn is left to the chief", "subject", subject, "error", err)
			}
		}
	}
}

// fallDue marks what has become due and returns the turns that this node is to offer.
func (c *Cluster) fallDue(now time.Time) (subjects []string) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for len(c.t.delayed) > 0 && !c.t.delayed[0].at.After(now) {
		s := c.t.delayed.pop()
		if c.t.jobs[s.head.ID] != s || s.head.State != job.Queued || s.due {
			continue
		}
		c.t.line(s, -1)
		s.due, s.movedAt = true, now
		c.t.line(s, +1)
		c.t.signal()
		if s.author == c.id {
			subjects = append(subjects, c.subjectOf(s, true, 0))
		}
	}
	return subjects
}

// # Trimming
//
// The log may lose what tells only of jobs that are gone, and of keys that have expired. Then a node that reads only the
// rest comes to the same view: what it reads about jobs that it has never heard of takes no effect. But for one thing:
// submissions that were dropped, because the queue was full or their key was used, by jobs that it does not know. So these
// are remembered as long as the log has them, and told behind it.

// noteDropped remembers a submission that was dropped.
func (c *Cluster) noteDropped(ctx context.Context, seq uint64, tenant string, p *job.Proposal) error {
	d := job.Dropped{At: seq, Tenant: tenant, Key: p.Key}
	for i := range p.Entries {
		d.IDs = append(d.IDs, p.Entries[i].ID)
	}
	c.readMu.Lock()
	c.dropped = append(c.dropped, d)
	c.readMu.Unlock()
	return c.keepDropped(ctx, &d)
}

func (c *Cluster) keepDropped(ctx context.Context, d *job.Dropped) error {
	value, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return c.view.SetNote(ctx, droppedNote(d), value)
}

// droppedNote is the name of the note of a dropped submission.
func droppedNote(d *job.Dropped) string {
	return fmt.Sprintf("%s%016x/%s", noteDropped, d.At, d.IDs[0])
}

// trim lets the log lose what nobody needs.
func (c *Cluster) trim(ctx context.Context) error {
	// Clocks differ, and messages are as old as the server that took them says.
	slack := min(time.Minute, max(c.cfg.TombstoneRetention, c.cfg.KeyRetention))
	low := time.Now().Add(-max(c.cfg.TombstoneRetention, c.cfg.KeyRetention))
	oldest, err := c.view.Oldest(ctx)
	if err != nil {
		return err
	}
	if oldest != (job.ID{}) && oldest.Time().Before(low) {
		low = oldest.Time()
	}
	c.t.mu.Lock()
	for id := range c.t.jobs {
		if at := id.Time(); at.Before(low) {
			low = at
		}
	}
	c.t.mu.Unlock()
	low = low.Add(-slack)

	c.readMu.Lock()
	n := 0
	for n < len(c.moments) && c.moments[n].at.Before(low) {
		n++
	}
	var before uint64
	if n > 0 {
		before = c.moments[n-1].seq
	}
	p := &job.Proposal{What: job.ProposeTrim, Before: before}
	dropped := len(c.dropped) > 0
	for _, d := range c.dropped {
		if d.At >= before {
			p.Dropped = append(p.Dropped, d)
		}
	}
	if n > 1 {
		c.moments = slices.Delete(c.moments, 0, n-1)
	}
	c.readMu.Unlock()
	if n == 0 {
		return nil
	}
	if dropped { // otherwise there is nothing to tell, and a full log may not take it
		if _, err := c.ask(ctx, p); err != nil {
			return err
		}
	}
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.FirstSeq >= before {
		return nil
	}
	c.log.Info("trimming the log", "before", before)
	return stream.Purge(ctx, jetstream.WithPurgeSequence(before))
}

// takeTrim forgets submissions that only a node which did not read what came before can have taken for accepted.
func (c *Cluster) takeTrim(ctx context.Context, p *job.Proposal) error {
	known := make(map[job.ID]bool)
	var kept, gone []job.Dropped
	c.readMu.Lock()
	c.moments = slices.DeleteFunc(c.moments, func(m moment) bool { return m.seq < p.Before })
	for _, d := range c.dropped {
		known[d.IDs[0]] = true
		if d.At < p.Before {
			gone = append(gone, d)
		} else {
			kept = append(kept, d)
		}
	}
	c.dropped = kept
	c.readMu.Unlock()
	for i := range gone {
		if err := c.view.SetNote(ctx, droppedNote(&gone[i]), nil); err != nil {
			return err
		}
	}
	for i := range p.Dropped {
		d := &p.Dropped[i]
		if len(d.IDs) == 0 || known[d.IDs[0]] {
			continue // as it is here
		}
		if err := c.retract(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// retract takes a submission back that was dropped.
func (c *Cluster) retract(ctx context.Context, d *job.Dropped) error {
	c.t.mu.Lock()
	for _, id := range d.IDs {
		if s := c.t.jobs[id]; s != nil {
			c.t.line(s, -1)
			c.t.remove(s)
		}
	}
	c.t.mu.Unlock()
	if err := errors.Join(c.view.Settle(ctx), c.view.Forget(ctx, d.Tenant, d.IDs, d.Key)); err != nil {
		return err
	}
	c.readMu.Lock()
	c.dropped = append(c.dropped, *d)
	c.readMu.Unlock()
	return c.keepDropped(ctx, d)
}

// Position returns a queued job's place among those of its priority, from 1, as of a moment ago, and how long it will take
// until its first turn at the rate at which jobs end.
func (c *Cluster) Position(id job.ID) (place int, wait time.Duration, ok bool) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	s := c.t.jobs[id]
	if s == nil || s.head.State != job.Queued || !s.due {
		return 0, 0, false
	}
	now := time.Now()
	if now.Sub(c.t.rankedAt) >= rankingAge {
		c.t.rank(now)
	}
	place, ranked := c.t.ranks[id]
	if !ranked {
		place = max(1, c.t.queued[s.head.Priority])
	}
	return place, c.t.ends.RetryAfter(now, place), true
}

// rankingAge is for how long a ranking of the queued jobs is good enough.
const rankingAge = 250 * time.Millisecond

// rank gives the queued jobs their places. Caller holds t.mu.
func (t *table) rank(now time.Time) {
	ids := make([]job.ID, 0, len(t.jobs))
	for id, s := range t.jobs {
		if s.head.State == job.Queued && s.due {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b job.ID) int { return bytes.Compare(a[:], b[:]) })
	t.ranks, t.rankedAt = make(map[job.ID]int, len(ids)), now
	var places [numPriorities]int
	for _, id := range ids {
		p := t.jobs[id].head.Priority
		places[p]++
		t.ranks[id] = places[p]
	}
}

// Unfinished visits every job of the cluster that has not ended, all of them under one lock: visit must not call back. It
// reports whether this node is the chief, who alone tells what concerns all of them.
func (c *Cluster) Unfinished(visit func(j *job.Job, s job.Size)) (chief bool) {
	chief = c.chief()
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for _, s := range c.t.jobs {
		visit(&s.head, s.size)
	}
	return chief
}
