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

// Names of the replica's metadata.
const (
	// metaApplied is the name of the applied index, metaLog of the ID of the log.
	metaApplied = "position"
	metaLog     = "log"
	// metaRejected is the prefix of the names of rejected submissions that are still in the log.
	metaRejected = "dropped/"
	// metaJob is the prefix of the names of jobs.
	metaJob = "job/"
	// metaPartial is the name of the message up to which a rebuilt replica needs the record of a trim.
	metaPartial = "partial"
	// metaTime is the name of the log's time, metaSpan the prefix of the names of its spans.
	metaTime = "time"
	metaSpan = "span/"
)

// applyPause is the pause after an error before the log is read again.
const applyPause = 200 * time.Millisecond

// runApply applies the log after the applied index of the replica, until ctx is done.
func (c *Cluster) runApply(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, job.ErrVersion):
			// Skipping the record would make the state of this node differ from the other nodes' state.
			c.log.Error("the log has a record that this version cannot read: the node stops participating; upgrade it", "error", err)
			c.fail("log-unreadable", err)
			return
		case errors.Is(err, errLogLost):
			c.stopLogLost(err)
			return
		case errors.Is(err, errReplica):
			c.log.Error("the node stops participating", "error", err)
			c.fail("replica-unreadable", err)
			return
		}
		pause := applyPause
		if errors.Is(err, errNoSnapshot) {
			pause = restorePause
			c.log.Error("the node waits for a snapshot", "error", err)
			c.noSnapshot.Store(newRejection("no-snapshot", err.Error(), restorePause))
		}
		c.log.Debug("reading the log", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// follow reads the log through a consumer until that fails. The consumer needs no durable state, because the next one
// begins after the last applied message.
func (c *Cluster) follow(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	return c.consume(ctx, c.logStream, c.appliedSeq()+1, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if err := c.message(ctx, meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Data()); err != nil {
			return err
		}
		c.noSnapshot.Store(nil)
		c.lag.Store(int64(meta.NumPending))
		return nil
	})
}

// consume passes the messages of a stream to handle, in order and each once, beginning with number from, until an error.
func (c *Cluster) consume(ctx context.Context, stream string, from uint64, handle func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	try, cancel := context.WithTimeout(ctx, 2*publishTimeout)
	defer cancel()
	cons, err := c.js.CreateConsumer(try, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
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
		if err := handle(msg, meta); err != nil {
			return err
		}
	}
}

// prepare compares the log with the replica, and restores an empty replica from a snapshot if there is one.
func (c *Cluster) prepare(ctx context.Context) error {
	c.applyMu.Lock()
	defer c.applyMu.Unlock()
	try, cancel := context.WithTimeout(ctx, 2*publishTimeout)
	defer cancel()
	if err := c.checkStreamID(try); err != nil || c.appliedSeq() > 0 {
		return err
	}
	stream, err := c.js.Stream(try, c.logStream)
	if err != nil || stream.CachedInfo().State.LastSeq == 0 {
		return err
	}
	_, err = c.restore(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, job.ErrVersion) && !errors.Is(err, errReplica) {
		c.log.Warn("no snapshot can be used; reading the whole log", "error", err)
		err = nil // if the log was trimmed to a snapshot, the first message is a gap
	}
	return err
}

// message applies one message of the log.
func (c *Cluster) message(ctx context.Context, seq uint64, at time.Time, subject string, data []byte) error {
	c.applyMu.Lock()
	defer c.applyMu.Unlock()
	switch read := c.appliedSeq(); {
	case seq <= read:
		return nil
	case seq > read+1:
		if err := c.gap(ctx, read, seq); err != nil {
			return err
		}
		if c.appliedSeq()+1 != seq {
			return errGap // after a restore the log is read from another message
		}
	}
	if len(data) < messageHeader || data[0] != messageVersion || data[1] > partLast {
		return fmt.Errorf("%w: message %d", job.ErrVersion, seq)
	}
	author := subject[strings.LastIndexByte(subject, '.')+1:]
	body := data[messageHeader:]
	whole := true
	c.partialMessages.age(at)
	if part := data[1]; part != partWhole {
		body, whole = c.partialMessages.add(author, part, seq, body)
	}
	if seq > c.applied.seq {
		c.applied = appliedIndex{from: c.applied.from, seq: seq}
	}
	c.advanceTime(seq, at)
	if whole && seq == c.applied.seq {
		if err := c.frames(ctx, seq, at, author, body); err != nil {
			return err
		}
	}
	if seq >= c.applied.seq {
		c.applied = appliedIndex{from: c.partialMessages.resumeSeq(seq), seq: seq + 1, at: at.UnixNano()}
		if err := c.replica.ApplyReplicated(ctx, job.Batch{}, append(c.ageMetadata(), c.applied.metadata())...); err != nil {
			return err
		}
	}
	c.recordDigest(seq)
	c.advance(seq)
	return nil
}

// frames applies the proposals of a message, except proposals that were applied before.
func (c *Cluster) frames(ctx context.Context, seq uint64, at time.Time, author string, body []byte) error {
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
		next := appliedIndex{from: c.applied.from, seq: seq, n: i + 1, at: c.applied.at}
		if err != nil {
			// All nodes that can read this version reject the proposal.
			c.reportOutcome(author, &p, applyResult{err: transition("%v", err), seq: seq})
		} else if err := c.applyProposal(ctx, next, at, author, &p); err != nil {
			return err
		}
		c.applied = next
	}
	return nil
}

// errGap means that messages did not arrive; they are read again.
var errGap = errors.New("messages of the log did not arrive")

// gap handles a message that does not follow the last applied one: it returns errGap if messages were lost in transit, and
// restores or rebuilds the replica if the log was trimmed.
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
	switch contradiction, err := c.compare(try, stream); {
	case err != nil:
		return err
	case contradiction != "":
		return errGap // follow calls checkStreamID next
	}
	switch restored, err := c.restore(ctx); {
	case ctx.Err() != nil || restored || errors.Is(err, job.ErrVersion) || errors.Is(err, errReplica):
		return err
	case err != nil:
		c.log.Warn("no snapshot can be used", "error", err)
	}
	return c.rebuild(ctx, seq)
}

// rebuild clears the replica and starts it at a message of the log, because the log was trimmed past the applied index or
// is another log. Jobs that are missing in the rest of the log have expired; if they have not, it returns errNoSnapshot.
func (c *Cluster) rebuild(ctx context.Context, first uint64) error {
	record, err := c.lastTrim(ctx)
	switch {
	case err != nil:
		return err
	case first > 1 && record.needsSnapshot():
		return errNoSnapshot
	}
	if c.appliedSeq() > 0 || first > 1 {
		c.log.Warn("rebuilding the replica from the log", "replica", c.appliedSeq(), "log", first)
		c.met.rebuilds.Inc()
	}
	if err := errors.Join(c.replica.Flush(ctx), c.replica.Clear(ctx)); err != nil {
		return err
	}
	c.trimRecord = record
	c.applied = appliedIndex{from: first - 1, seq: first}
	if err := c.replica.ApplyReplicated(ctx, job.Batch{}, journal.Metadata{Name: metaLog, Value: []byte(c.streamID)}, c.applied.metadata(), record.metadata()); err != nil {
		return err
	}
	c.dropState()
	c.partialMessages = partialMessages{}
	c.appliedMu.Lock()
	c.lastApplied, c.appliedTime = first-1, time.Time{}
	c.appliedMu.Unlock()
	return nil
}
