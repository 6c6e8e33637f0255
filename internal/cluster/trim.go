package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/journal"
)

// # Trimming
//
// The leader removes the start of the log when it concerns only deleted jobs, and keys that have expired by the log's time
// (ages.go). A node that reads only the rest reaches the same state, because changes of jobs that it does not have take no
// effect. But it cannot check the submissions in the rest as the other nodes did, because it lacks jobs and keys that they had.
// Therefore, before each trim, the leader records which submissions in the log were rejected, up to its applied index, and a
// node that reads only the rest uses that record. The record is the last message of the subject <prefix>.log.trim, so it is
// found without reading the log. If it needs several messages, the others precede it on <prefix>.log.trim-part; they begin no
// write, so the apply loop ignores them.
const (
	trimAuthor     = "trim"
	trimPartAuthor = "trim-part"
)

// A trimmed is the record of a trim.
type trimmed struct {
	job.Proposal
	rejected map[job.Rejected]bool
}

func (t *trimmed) rejects(at appliedIndex) bool {
	return t.rejected[job.Rejected{Seq: at.seq, Index: at.n}]
}

// needsSnapshot reports whether a node that reads only the rest of the log lacks jobs.
func (t *trimmed) needsSnapshot() bool { return t != nil && t.Kind == job.ProposeSnapshotTrim }

// forDecisions returns the record if it has the rejected submissions, otherwise nil. A node that starts from a snapshot has
// what it needs to decide.
func (t *trimmed) forDecisions() *trimmed {
	if t.needsSnapshot() {
		return nil
	}
	return t
}

// metadata records in a rebuilt replica that it is incomplete up to a message.
func (t *trimmed) metadata() journal.Metadata {
	if t == nil {
		return journal.Metadata{Name: metaPartial}
	}
	return journal.Metadata{Name: metaPartial, Value: binary.AppendUvarint(nil, t.Through)}
}

// lastTrim reads the last record; nil if the log was never trimmed. A later trim removes the parts of this record, so a
// record that has become incomplete while it was read is dropped for its successor.
func (c *Cluster) lastTrim(ctx context.Context) (*trimmed, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return nil, err
	}
	for last := uint64(0); ; {
		msg, err := stream.GetLastMsgForSubject(ctx, c.trimSubject())
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		t, err := c.readTrim(ctx, stream, msg)
		if !errors.Is(err, errIncompleteTrim) || msg.Sequence == last {
			return t, err
		}
		last = msg.Sequence
	}
}

// errIncompleteTrim means that parts of the record of a trim are missing.
var errIncompleteTrim = errors.New("the record of a trim is incomplete")

func (c *Cluster) readTrim(ctx context.Context, stream jetstream.Stream, msg *jetstream.RawStreamMsg) (*trimmed, error) {
	p, err := parseTrim(msg.Data)
	if err != nil {
		return nil, err
	}
	t := &trimmed{Proposal: p, rejected: make(map[job.Rejected]bool, len(p.Rejected))}
	t.add(&p)
	if p.Kind == job.ProposeLargeTrim {
		if err := t.readParts(ctx, stream, c.trimPartSubject(), msg.Sequence); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func parseTrim(data []byte) (p job.Proposal, err error) {
	if len(data) < messageHeader || data[0] != messageVersion {
		return p, fmt.Errorf("%w: trim", job.ErrVersion)
	}
	n, w := binary.Uvarint(data[messageHeader:])
	body := data[messageHeader+max(w, 0):]
	if w <= 0 || n != uint64(len(body)) {
		return p, fmt.Errorf("%w: trim", job.ErrVersion)
	}
	p, err = job.DecodeProposal(body)
	if err != nil || p.Kind != job.ProposeTrim && p.Kind != job.ProposeLargeTrim && p.Kind != job.ProposeSnapshotTrim {
		return p, errors.Join(job.ErrVersion, err)
	}
	return p, nil
}

func (t *trimmed) add(p *job.Proposal) {
	for _, d := range p.Rejected {
		t.rejected[d] = true
	}
}

// readParts adds the parts before the record, which is message end.
func (t *trimmed) readParts(ctx context.Context, stream jetstream.Stream, subject string, end uint64) error {
	for seq := t.Parts; seq < end; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Sequence > end {
			break
		}
		if err != nil {
			return err
		}
		part, err := parseTrim(msg.Data)
		if err != nil {
			return err
		}
		if part.Through == t.Through && part.Before == t.Before { // otherwise it is a part of another leader's record
			t.add(&part)
		}
		seq = msg.Sequence + 1
	}
	if uint64(len(t.rejected)) != t.Total {
		return fmt.Errorf("%w: it should have %d rejected submissions, and has %d", errIncompleteTrim, t.Total, len(t.rejected))
	}
	return nil
}

func (c *Cluster) trimSubject() string     { return c.cfg.Prefix + ".log." + trimAuthor }
func (c *Cluster) trimPartSubject() string { return c.cfg.Prefix + ".log." + trimPartAuthor }

// recordRejected records that a submission was rejected, and returns the metadata for the replica.
func (c *Cluster) recordRejected(d job.Rejected) journal.Metadata {
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	c.rejected = append(c.rejected, d)
	return rejectedMetadata(d, []byte{})
}

func rejectedMetadata(d job.Rejected, value []byte) journal.Metadata {
	return journal.Metadata{Name: fmt.Sprintf("%s%016x/%x", metaRejected, d.Seq, d.Index), Value: value}
}

func parseRejected(name string) (d job.Rejected, err error) {
	_, err = fmt.Sscanf(strings.TrimPrefix(name, metaRejected), "%x/%x", &d.Seq, &d.Index)
	return d, err
}

// needed returns the first span of the log that a node could need. Everything before it concerns only deleted jobs, and
// keys and tombstones that have expired.
func (c *Cluster) needed() span {
	kept := c.cfg.logRetention()
	now := c.clock.Now().Add(-min(time.Minute, kept)) // a margin for nodes that lag
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return c.state.ages.needed(now, now.Add(-kept))
}

// advanceTime advances the log's time to the timestamp of a message, before the message is applied.
func (c *Cluster) advanceTime(seq uint64, at time.Time) {
	if c.trimRecord != nil && seq > c.trimRecord.Through && at.Before(c.trimRecord.At) {
		at = c.trimRecord.At // every node continues from the time of the trim
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.ages.advance(seq, at, c.cfg.spanLength())
}

// logTime returns the log's time at the last applied message.
func (c *Cluster) logTime() time.Time {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return c.state.ages.now
}

// ageMetadata returns the metadata of the ages after a message.
func (c *Cluster) ageMetadata() []journal.Metadata {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return append(c.state.ages.metadata(), c.state.ages.timeMetadata())
}

// trim removes the start of the log that no node needs.
func (c *Cluster) trim(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	p := &job.Proposal{Kind: job.ProposeTrim, First: stream.CachedInfo().State.FirstSeq, Before: c.needed().first}
	c.appliedMu.Lock()
	// The time at which a node that reads only the rest starts.
	p.At, p.Through, p.Rejected = c.appliedTime, c.lastApplied, slices.Clone(c.rejected)
	c.appliedMu.Unlock()
	if p.Before <= p.First {
		return nil
	}
	return c.publishAndPurge(ctx, stream, p)
}

// publishAndPurge writes the record of a trim, and removes the start of the log.
func (c *Cluster) publishAndPurge(ctx context.Context, stream jetstream.Stream, p *job.Proposal) error {
	c.log.Info("trimming the log", "first", p.First, "before", p.Before)
	if err := c.publishTrim(ctx, p); err != nil {
		return err
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(p.Before))
}

// publishTrim writes the messages of a record.
func (c *Cluster) publishTrim(ctx context.Context, p *job.Proposal) error {
	write := func(subject string, part byte) (uint64, error) {
		body := p.AppendBinary(nil)
		data := binary.AppendUvarint([]byte{messageVersion, part}, uint64(len(body)))
		ack, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: append(data, body...)})
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	all := p.Rejected
	if len(all) <= c.cfg.maxRejected {
		_, err := write(c.trimSubject(), partWhole)
		return err
	}
	var first uint64
	for len(all) > c.cfg.maxRejected {
		p.Rejected, all = all[:c.cfg.maxRejected], all[c.cfg.maxRejected:]
		p.Total += uint64(len(p.Rejected))
		seq, err := write(c.trimPartSubject(), partMiddle)
		if err != nil {
			return err
		}
		if first == 0 {
			first = seq
		}
	}
	p.Kind, p.Parts, p.Rejected, p.Total = job.ProposeLargeTrim, first, all, p.Total+uint64(len(all))
	_, err := write(c.trimSubject(), partWhole)
	return err
}

// applyTrim forgets the rejected submissions and the spans in the removed part of the log.
func (c *Cluster) applyTrim(ctx context.Context, next appliedIndex, p *job.Proposal) error {
	metadata := []journal.Metadata{next.metadata()}
	c.state.mu.Lock()
	if p.Kind == job.ProposeSnapshotTrim {
		c.state.ages.compacted(p.First)
	} else {
		c.state.ages.trimmed(p.First)
	}
	metadata = append(metadata, c.state.ages.metadata()...)
	c.state.mu.Unlock()
	c.appliedMu.Lock()
	c.rejected = slices.DeleteFunc(c.rejected, func(d job.Rejected) bool {
		gone := d.Seq < p.First
		if gone {
			metadata = append(metadata, rejectedMetadata(d, nil))
		}
		return gone
	})
	c.appliedMu.Unlock()
	return c.replica.ApplyReplicated(ctx, job.Batch{}, metadata...)
}
