package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// ID returns what the node is called in the log.
func (c *Cluster) ID() string { return c.id }

// Die ends the node as a crash does, as far as the others can tell: nothing more is said or given back. The goroutines
// are waited for.
func (c *Cluster) Die() error {
	c.closed.Store(true)
	c.nc.Close()
	c.leases.close()
	c.leases.stop()
	c.writer.close()
	c.stop()
	c.stopApply()
	c.applying.Wait()
	c.done.Wait()
	err := c.replica.Close()
	c.writer.failPending(newRejection("closed", "the node is closed", 0))
	return err
}

// AwaitLog waits until the node has applied message seq of the log.
func (c *Cluster) AwaitLog(ctx context.Context, seq uint64) error { return c.await(ctx, seq) }

// Table describes all that decides about the next proposal: it must be the same on all nodes that have read the same.
func (c *Cluster) Table() string {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "tenants %v, %d bytes, %d waiting\n", c.state.tenants, c.state.bytes, c.state.waiting)
	ids := slices.SortedFunc(maps.Keys(c.state.jobs), func(x, y job.ID) int { return bytes.Compare(x[:], y[:]) })
	for _, id := range ids {
		s := c.state.jobs[id]
		parts, _ := json.Marshal(s.participants)
		steps, _ := json.Marshal(s.steps)
		fmt.Fprintf(&b, "%s %v seq %d author %s size %v done %x/%d steps %s parts %s active %d ending", id, s.job.State, s.job.Seq,
			s.author, s.size, s.done, s.job.TasksDone, steps, parts, s.active)
		if s.ending != nil {
			fmt.Fprintf(&b, " %v %v", s.ending.State, s.ending.Failure)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Join, Leave and Decide propose what turns do, for any job and node, and wait.
func (c *Cluster) Join(ctx context.Context, id job.ID, node string) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{What: job.ProposeJoin, ID: id, Node: node})
	return err
}

// Leave is Join's opposite.
func (c *Cluster) Leave(ctx context.Context, id job.ID, node string) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{What: job.ProposeLeave, ID: id, Node: node})
	return err
}

// Decide is Turn.Decide, but it waits.
func (c *Cluster) Decide(ctx context.Context, id job.ID, how job.Finished) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{What: job.ProposeDecision, ID: id, Finished: how})
	return err
}

// Dropped counts the dropped submissions that are remembered.
func (c *Cluster) Dropped() int {
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	return len(c.rejected)
}

// AppendBlindly appends a submission that this node would refuse at once, as if it had not read of what fills the queue.
func (c *Cluster) AppendBlindly(ctx context.Context, b job.Batch) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{What: job.ProposeBatch, Entries: b.Entries, Key: b.Key, Admission: b.Admission})
	return err
}

// AppendAnyway is Append on a node that has not noticed yet that the log does not answer.
func (c *Cluster) AppendAnyway(ctx context.Context, b job.Batch) error {
	p := &job.Proposal{What: job.ProposeBatch, At: c.Now(), Entries: b.Entries}
	if b.Key != nil {
		key := *b.Key
		key.Expires = p.At.Add(c.cfg.KeyRetention)
		p.Key = &key
	}
	return c.writer.put(ctx, p, &pending{submits: true, done: func(d applyResult) {
		if b.Key != nil {
			c.replica.Release(*b.Key)
		}
		b.Done(d.err)
	}}, 0)
}

// StopReading ends the reading of the log, as if its messages no longer came.
func (c *Cluster) StopReading() {
	c.stopApply()
	c.applying.Wait()
}

// DecideAgain is what a view that is made anew does with the node's first proposal, which was decided before.
func (c *Cluster) DecideAgain(entries []job.Entry) {
	c.reportOutcome(c.id, &job.Proposal{What: job.ProposeBatch, Number: 1, Entries: entries}, applyResult{})
}

// Trim trims the log now, as the leader does now and then.
func (c *Cluster) Trim(ctx context.Context) error { return c.trim(ctx) }

// Ages describes the spans of the log.
func (c *Cluster) Ages() string {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return fmt.Sprintf("%v %v", c.state.ages.now, c.state.ages.spans)
}

// Hazard and CheckStreams are what a node does when it connects.
var Hazard = hazard

// CheckStreams checks the streams, as a node does when it connects.
func (c *Cluster) CheckStreams(ctx context.Context) error { return c.checkStreams(ctx) }

// Tidy does what the leader does now and then behind nodes that died.
func (c *Cluster) Tidy() { c.reapDeadNodes() }

// Ending reports whether it is decided how a job ends.
func (c *Cluster) Ending(id job.ID) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	s := c.state.jobs[id]
	return s != nil && s.ending != nil
}

// Parts assembles writes of several messages, as a reader of the log does.
type Parts struct{ as partialMessages }

// Add reads message seq; first and last say which part of its author's write it is. It returns the write with its last part.
func (p *Parts) Add(author string, first, last bool, seq uint64, at time.Time, body string) (whole string, from uint64) {
	part := byte(partMiddle)
	switch {
	case first:
		part = partFirst
	case last:
		part = partLast
	}
	p.as.age(at)
	b, _ := p.as.add(author, part, seq, []byte(body))
	return string(b), p.as.resumeSeq(seq)
}

// CertainAt is what a read barrier goes by.
var CertainAt = certainAsOf

// WithPublisher replaces what a node publishes to the log with.
func WithPublisher(f func(jetstream.JetStream) jetstream.JetStream) func(*Config) {
	return func(c *Config) { c.publisher = f }
}

// WithStallAfter sets how long the log may take to answer before submissions are rejected, unless it is set.
func WithStallAfter(d time.Duration) func(*Config) {
	return func(c *Config) { c.stallAfter = cmp.Or(c.stallAfter, d) }
}

// WithMaxDropped bounds how many rejected submissions a message of a trim has.
func WithMaxDropped(n int) func(*Config) { return func(c *Config) { c.maxRejected = n } }

// A Counter refuses and takes submissions of a tenant as a node does, before they are written to the log. Its zero value has no
// jobs.
type Counter struct{ t state }

// Submit takes one job, or returns why it is known not to fit under the bounds. Jobs have been admitted in the whole cluster.
// Decided takes the outcome, and whether the submission is in the log.
func (c *Counter) Submit(bounds job.Admission, jobs, nodes int, now time.Time) (decided func(err error, inLog bool), err error) {
	if c.t.changed == nil {
		c.t.init()
	}
	for len(c.t.jobs) != jobs {
		if c.t.reset(); jobs > 0 {
			for range jobs {
				s := &jobState{job: job.Job{ID: job.NewID(), Tenant: "t"}}
				c.t.jobs[s.job.ID] = s
				c.t.count(s, +1)
			}
		}
	}
	bounds.Sizes = make([]job.Size, 1)
	r, err := c.t.reserve(&bounds, "t", nodes, func(int) time.Duration { return time.Second }, now)
	return func(err error, inLog bool) {
		d := applyResult{err: err}
		if inLog {
			d.seq = 1
		}
		c.t.recordOutcome(r, d)
	}, err
}

// A LogClock estimates the log's clock on a machine whose own clock is wall.
type LogClock struct{ c logClock }

// NewLogClock returns one without a reading.
func NewLogClock(wall func() time.Time) *LogClock { return &LogClock{logClock{wall: wall}} }

// Read takes a timestamp that a server made between two moments.
func (l *LogClock) Read(sent, received, stamp time.Time) { l.c.observe(sent, received, stamp) }

// Now returns the time by the log's clock.
func (l *LogClock) Now() time.Time { return l.c.Now() }

// Skew is how far the machine's clock is ahead of the log's.
func (l *LogClock) Skew() time.Duration { return l.c.Skew() }

// Ago returns the monotonic time at which the log's clock showed t.
func (l *LogClock) Ago(t time.Time) time.Time { return l.c.ago(t) }
