package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// ID returns the node's id in the log.
func (c *Cluster) ID() string { return c.id }

// Die ends the node as a crash does: it sends nothing more and gives nothing back. It waits for the goroutines.
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

// State describes everything that the next proposal depends on. It must be the same on all nodes that have applied the same
// messages.
func (c *Cluster) State() string {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "tenants %v, %d bytes, %d waiting\n", c.state.tenants, c.state.bytes, c.state.waiting)
	ids := slices.SortedFunc(maps.Keys(c.state.jobs), func(x, y job.ID) int { return bytes.Compare(x[:], y[:]) })
	for _, id := range ids {
		s := c.state.jobs[id]
		parts, _ := json.Marshal(s.participants)
		steps, _ := json.Marshal(s.steps)
		fmt.Fprintf(&b, "%s %v seq %d author %s size {%d %d %d %d %d %d} done %x/%d steps %s parts %s active %d ending", id, s.job.State, s.job.Seq,
			s.author, s.size.Tasks, s.size.Units, s.size.Bytes, s.size.Waiting, s.size.Results, s.size.Memory, s.done, s.job.TasksDone, steps, parts, s.active)
		if s.ending != nil {
			fmt.Fprintf(&b, " %v %v", s.ending.State, s.ending.Failure)
		}
		if s.job.Waits != 0 {
			fmt.Fprintf(&b, " waits %b", s.job.Waits)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Join proposes that a node joins a job, and waits.
func (c *Cluster) Join(ctx context.Context, id job.ID, node string) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeJoin, ID: id, Node: node})
	return err
}

// Leave proposes that a node leaves a job, and waits.
func (c *Cluster) Leave(ctx context.Context, id job.ID, node string) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeLeave, ID: id, Node: node})
	return err
}

// Decide proposes the end of a job, and waits.
func (c *Cluster) Decide(ctx context.Context, id job.ID, how job.Finished) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeDecision, ID: id, Finished: how})
	return err
}

// Rejected returns the number of recorded rejected submissions.
func (c *Cluster) Rejected() int {
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	return len(c.rejected)
}

// AppendBlindly appends a submission without the early rejection, as a node does whose replica lags.
func (c *Cluster) AppendBlindly(ctx context.Context, b job.Batch) error {
	_, err := c.proposeAndWait(ctx, &job.Proposal{Kind: job.ProposeBatch, Entries: b.Entries, Key: b.Key, Admission: b.Admission})
	return err
}

// AppendAnyway is Append on a node that has not noticed that the log does not answer.
func (c *Cluster) AppendAnyway(ctx context.Context, b job.Batch) error {
	p := &job.Proposal{Kind: job.ProposeBatch, At: c.Now(), Entries: b.Entries}
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

// StopReading ends the apply loop, as if the messages of the log no longer arrived.
func (c *Cluster) StopReading() {
	c.stopApply()
	c.applying.Wait()
}

// HoldApply applies no messages until the returned function is called.
func (c *Cluster) HoldApply() (resume func()) {
	c.applyMu.Lock()
	return c.applyMu.Unlock
}

// ReportOutcomeAgain reports the outcome of the node's first proposal again, as a rebuilt replica does.
func (c *Cluster) ReportOutcomeAgain(entries []job.Entry) {
	c.reportOutcome(c.id, &job.Proposal{Kind: job.ProposeBatch, Number: 1, Entries: entries}, applyResult{})
}

// Trim trims the log now.
func (c *Cluster) Trim(ctx context.Context) error { return c.trim(ctx) }

// Compact writes a snapshot, as the leader does when one is due, and trims the log to the one before.
func (c *Cluster) Compact(ctx context.Context) error {
	if _, _, err := c.queryLog(ctx); err != nil && !errors.Is(err, errUncertain) {
		return err
	}
	return c.compactBySnapshot(ctx, new(snapshots))
}

// WriteSnapshot writes a snapshot, as the leader does.
func (c *Cluster) WriteSnapshot(ctx context.Context) error {
	b, err := c.openSnapshots(ctx, true)
	if err != nil {
		return err
	}
	m, err := c.writeSnapshot(ctx, b)
	c.newestSnapshot.Store(m)
	return err
}

// SnapshotsSupported reports whether all live nodes read snapshots.
func (c *Cluster) SnapshotsSupported() bool { return c.snapshotsSupported() }

// WithCompaction makes a node write snapshots of small parts whenever the log has grown by a number of bytes, and remove
// parts without a manifest after a time.
func WithCompaction(bytes int64, orphanAge time.Duration) func(*Config) {
	return func(c *Config) {
		c.SnapshotBytes, c.snapshotPartBytes, c.orphanAge, c.compactPause = bytes, 4<<10, orphanAge, time.Millisecond
	}
}

// WithCompactBytes sets the growth of the log for which a snapshot is written.
func WithCompactBytes(n int64) func(*Config) { return func(c *Config) { c.SnapshotBytes = n } }

// WithDigestInterval sets the number of messages between two digests.
func WithDigestInterval(n uint64) func(*Config) { return func(c *Config) { c.digestInterval = n } }

// Digests returns the latest digests of the state, by message.
func (c *Cluster) Digests() map[uint64]uint64 {
	all := make(map[uint64]uint64)
	for _, r := range c.digests() {
		all[r.Seq] = r.Sum
	}
	return all
}

// Diverge changes the state of a job on this node alone.
func (c *Cluster) Diverge(id job.ID) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	s := c.state.jobs[id]
	s.job.Progress.Completed++
	c.state.digest.update(s)
}

// WithFormat makes a node announce the newest format that an earlier version reads.
func WithFormat(f job.Format) func(*Config) { return func(c *Config) { c.format = f } }

// Contents returns a digest of everything in the replica that clients see: jobs with their logs, and idempotency keys.
func (c *Cluster) Contents(ctx context.Context) (string, error) {
	if err := c.replica.Flush(ctx); err != nil {
		return "", err
	}
	h := &contents{lines: make(map[string]bool)}
	if err := c.replica.Export(ctx, h); err != nil {
		return "", err
	}
	return strings.Join(slices.Sorted(maps.Keys(h.lines)), "\n"), nil
}

// contents is a journal.Visitor.
type contents struct{ lines map[string]bool }

// Job implements journal.Visitor, as do the methods below.
func (h *contents) Job(view job.Job, spec []byte, log job.LogSeq, deliveries job.Deliveries) error {
	sum := sha256.New()
	_, _ = sum.Write(view.AppendBinary(nil))
	_, _ = sum.Write(spec)
	for r, err := range log {
		if err != nil {
			return err
		}
		_, _ = sum.Write(job.AppendEvent(nil, r.Event))
	}
	h.lines[fmt.Sprintf("job %s %s %x %v", view.ID, view.State, sum.Sum(nil)[:8], deliveries)] = true
	return nil
}

func (h *contents) Key(k job.KeyRecord) error {
	h.lines[fmt.Sprintf("key %x %x %v %v", k.Hash[:8], k.Fingerprint[:8], k.Expires, k.IDs)] = true
	return nil
}

func (h *contents) Tombstone(job.Tombstone) error { return nil } // expire by the clock of each node

// Ages describes the spans of the log.
func (c *Cluster) Ages() string {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return fmt.Sprintf("%v %v", c.state.ages.now, c.state.ages.spans)
}

// LogExpiry returns the time until which the jobs that were submitted in the start of the log are needed.
func (c *Cluster) LogExpiry() time.Time {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return c.state.ages.spans[0].expires
}

// Hazard checks the configuration of a stream for known bugs of the servers.
var Hazard = hazard

// CheckStreams checks the streams, as a node does when it connects.
func (c *Cluster) CheckStreams(ctx context.Context) error { return c.checkStreams(ctx) }

// ReapDeadNodes removes dead nodes from their jobs, as the leader does periodically.
func (c *Cluster) ReapDeadNodes() { c.reapDeadNodes() }

// Ending reports whether the end of a job is decided.
func (c *Cluster) Ending(id job.ID) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	s := c.state.jobs[id]
	return s != nil && s.ending != nil
}

// Parts assembles writes of several messages, as the apply loop does.
type Parts struct{ as partialMessages }

// Add adds the first, the last or another part of an author's write in message seq. It returns the write with its last
// part, and the last message that need not be read again.
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

// CertainAsOf returns the time as of which a response with the last sequence is certain.
var CertainAsOf = certainAsOf

// WithPublisher replaces the JetStream client with which a node writes to the log.
func WithPublisher(f func(jetstream.JetStream) jetstream.JetStream) func(*Config) {
	return func(c *Config) { c.publisher = f }
}

// WithStallAfter sets how long the log may take to answer before submissions are rejected, unless it is set.
func WithStallAfter(d time.Duration) func(*Config) {
	return func(c *Config) { c.stallAfter = cmp.Or(c.stallAfter, d) }
}

// WithMaxRejected sets the number of rejected submissions in one message of a trim record.
func WithMaxRejected(n int) func(*Config) { return func(c *Config) { c.maxRejected = n } }

// A Counter accepts or rejects submissions of a tenant before they are written to the log, as a node does. Its zero value
// has no jobs.
type Counter struct{ t state }

// Submit submits one job while a number of jobs are admitted in the whole cluster, or returns the early rejection. The
// caller passes the outcome to decided, and whether the submission is in the log.
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

// NewLogClock returns a LogClock without a reading.
func NewLogClock(wall func() time.Time) *LogClock { return &LogClock{logClock{wall: wall}} }

// Read updates the estimate with a timestamp that a server made between two moments.
func (l *LogClock) Read(sent, received, stamp time.Time) { l.c.observe(sent, received, stamp) }

// Now returns the estimated time of the log's clock.
func (l *LogClock) Now() time.Time { return l.c.Now() }

// Skew returns how far the machine's clock is ahead of the log's clock.
func (l *LogClock) Skew() time.Duration { return l.c.Skew() }

// Ago returns the monotonic time at which the log's clock showed t.
func (l *LogClock) Ago(t time.Time) time.Time { return l.c.ago(t) }

// Owner is owner.
func Owner(nodes []job.Node, key uint64) string { return owner(nodes, key) }

// ErrUnusable means that a snapshot is damaged or incomplete.
var ErrUnusable = errUnusable

// ParseManifest decodes the manifest of a snapshot, and encodes it again.
func ParseManifest(data []byte) ([]byte, error) {
	m, err := parseManifest("s", data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// Attempts is attempts.
func Attempts[T any](ctx context.Context, read func(ctx context.Context) (T, error)) (T, error) {
	return attempts(ctx, read)
}
