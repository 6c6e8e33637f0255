package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// An appliedIndex records how far the log is applied: the messages before seq, and n proposals of seq. It is written
// atomically with the effect of each proposal, so that after a crash no proposal is applied twice or skipped.
type appliedIndex struct {
	// from is the last message that need not be read again, because parts of an incomplete write may precede seq.
	from, seq uint64
	n         int
	// at is the time of the message before seq, by the log's clock in Unix nanoseconds; 0 if unknown. It identifies the
	// message.
	at int64
}

func (p appliedIndex) metadata() journal.Metadata {
	b := binary.AppendUvarint(nil, p.from)
	b = binary.AppendUvarint(binary.AppendUvarint(b, p.seq), uint64(p.n))
	b = binary.AppendUvarint(b, uint64(p.at))
	return journal.Metadata{Name: metaApplied, Value: b}
}

// parseAppliedIndex decodes an applied index; no bytes are the index of an empty replica. Earlier versions did not write
// at. An unreadable index is job.ErrVersion, because the replica would be cleared if it were taken for empty.
func parseAppliedIndex(b []byte) (p appliedIndex, err error) {
	if len(b) == 0 {
		return p, nil
	}
	var v [3]uint64
	for i := range v {
		var n int
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return p, fmt.Errorf("%w: applied index of the replica", job.ErrVersion)
		}
		b = b[n:]
	}
	at, n := binary.Uvarint(b)
	if n != len(b) || n < 0 {
		return p, fmt.Errorf("%w: applied index of the replica", job.ErrVersion)
	}
	return appliedIndex{from: v[0], seq: v[1], n: int(v[2]), at: int64(at)}, nil
}

// A partialMessage is a write of which some parts are missing.
type partialMessage struct {
	first uint64
	body  []byte
	// idle is the time since the last part, by the log's time.
	idle time.Duration
}

// partialMessages holds the incomplete writes, by author.
type partialMessages struct {
	open map[string]*partialMessage
	at   time.Time // time of the latest message
}

// appliedSeq returns the sequence number of the last applied message.
func (c *Cluster) appliedSeq() uint64 {
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	return c.lastApplied
}

// add adds a part to the write of its author, and returns the whole write with the last part.
func (as *partialMessages) add(author string, part byte, seq uint64, body []byte) ([]byte, bool) {
	a := as.open[author]
	switch {
	case part == partFirst:
		a = &partialMessage{first: seq}
		if as.open == nil {
			as.open = make(map[string]*partialMessage)
		}
		as.open[author] = a
	case a == nil:
		return nil, false // the first part was dropped, or is no longer in the log
	}
	a.idle = 0
	a.body = append(a.body, body...)
	if part != partLast {
		return nil, false
	}
	delete(as.open, author)
	return a.body, true
}

// age advances the time to the timestamp of a message, before its part is added, and drops the writes of authors that have
// ended or restarted. A step of the log's clock is one gap between two messages, and counts for at most partTimeout.
func (as *partialMessages) age(at time.Time) {
	gap := min(max(0, at.Sub(as.at)), partTimeout)
	as.at = at
	for author, a := range as.open {
		if a.idle += gap; a.idle > 5*partTimeout {
			delete(as.open, author)
		}
	}
}

// resumeSeq returns the last message before all incomplete writes, or seq if there are none.
func (as *partialMessages) resumeSeq(seq uint64) uint64 {
	for _, a := range as.open {
		seq = min(seq, a.first-1)
	}
	return seq
}

// advance records that the log is applied up to seq.
func (c *Cluster) advance(seq uint64) {
	now := c.logTime()
	c.appliedMu.Lock()
	defer c.appliedMu.Unlock()
	c.lastApplied, c.appliedTime = seq, now
	close(c.appliedChanged)
	c.appliedChanged = make(chan struct{})
}

// await waits until the log is applied up to seq and the result can be read.
func (c *Cluster) await(ctx context.Context, seq uint64) error {
	if err := c.awaitApplied(ctx, seq); err != nil {
		return err
	}
	return c.replica.Flush(ctx)
}

// awaitApplied waits until the log is applied up to seq.
func (c *Cluster) awaitApplied(ctx context.Context, seq uint64) error {
	for {
		c.appliedMu.Lock()
		read, moved := c.lastApplied, c.appliedChanged
		c.appliedMu.Unlock()
		if read >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-c.failed:
			return c.failure.Load()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
