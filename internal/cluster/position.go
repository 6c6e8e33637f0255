package cluster

import (
	"context"
	"encoding/binary"
	"time"

	"gather/internal/journal"
)

// A position is how far the log is applied: the messages before seq, and of seq so many proposals. It is written together
// with the effect of each, so that after a crash nothing is applied twice, or left out.
type position struct {
	// from is the last message that need not be read again: parts of what is not complete may stand before seq.
	from, seq uint64
	n         int
	// at is when the message before seq was written, by the log's clock in Unix nanoseconds; 0 if it is not known. It
	// identifies the message.
	at int64
}

func (p position) note() journal.Note {
	b := binary.AppendUvarint(nil, p.from)
	b = binary.AppendUvarint(binary.AppendUvarint(b, p.seq), uint64(p.n))
	b = binary.AppendUvarint(b, uint64(p.at))
	return journal.Note{Name: notePosition, Value: b}
}

// parsePosition is the inverse; the zero position is that of an empty view. Earlier versions did not write at.
func parsePosition(b []byte) (p position) {
	var v [3]uint64
	for i := range v {
		var n int
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return position{}
		}
		b = b[n:]
	}
	at, _ := binary.Uvarint(b)
	return position{from: v[0], seq: v[1], n: int(v[2]), at: int64(at)}
}

// An assembly is a write of which only some parts have come.
type assembly struct {
	first uint64
	at    time.Time
	body  []byte
}

// from is the sequence number behind which the fold goes on reading.
func (c *Cluster) from() uint64 {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	return c.read
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
func (c *Cluster) advance(seq uint64) {
	now := c.logTime()
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.read, c.readTime = seq, now
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
			return c.failure.Load()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
