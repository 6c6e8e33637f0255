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
// The log may lose what is only about jobs that are gone, and keys that have expired, by the log's own time (ages.go). A node that reads only the rest
// comes to the same view: what it reads about jobs that it has never heard of takes no effect. But it cannot decide about
// submissions as the others did, for they knew of jobs, and of keys, that it does not. So before the log is trimmed the
// chief writes down which submissions in it were dropped, up to where it has read: whoever begins to read takes that as
// given. The note is the last message of a subject of its own in the log, <prefix>.log.trim, which is found without reading.
const trimAuthor = "trim"

// trimmed is such a note.
type trimmed struct {
	job.Proposal
	dropped map[job.Dropped]bool
}

func (t *trimmed) drops(at position) bool { return t.dropped[job.Dropped{Seq: at.seq, Index: at.n}] }

// lastTrim reads the note; nil if the log was never trimmed.
func (c *Cluster) lastTrim(ctx context.Context) (*trimmed, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, c.trimSubject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(msg.Data) < messageHeader {
		return nil, fmt.Errorf("%w: trim", job.ErrVersion)
	}
	n, w := binary.Uvarint(msg.Data[messageHeader:])
	body := msg.Data[messageHeader+max(w, 0):]
	if w <= 0 || n != uint64(len(body)) || msg.Data[0] != messageVersion {
		return nil, fmt.Errorf("%w: trim", job.ErrVersion)
	}
	p, err := job.DecodeProposal(body)
	if err != nil || p.What != job.ProposeTrim {
		return nil, errors.Join(job.ErrVersion, err)
	}
	t := &trimmed{Proposal: p, dropped: make(map[job.Dropped]bool, len(p.Dropped))}
	for _, d := range p.Dropped {
		t.dropped[d] = true
	}
	return t, nil
}

func (c *Cluster) trimSubject() string { return c.cfg.Prefix + ".log." + trimAuthor }

// remember keeps that a submission was dropped, and returns the note of it.
func (c *Cluster) remember(d job.Dropped) journal.Note {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.dropped = append(c.dropped, d)
	return droppedNote(d, []byte{})
}

func droppedNote(d job.Dropped, value []byte) journal.Note {
	return journal.Note{Name: fmt.Sprintf("%s%016x/%x", noteDropped, d.Seq, d.Index), Value: value}
}

func parseDropped(name string) (d job.Dropped, err error) {
	_, err = fmt.Sscanf(strings.TrimPrefix(name, noteDropped), "%x/%x", &d.Seq, &d.Index)
	return d, err
}

// needed returns the first part of the log that anybody could ask for: nothing before it is about a job that is kept, or
// was used as a key, or deleted, too short a time ago to be forgotten.
func (c *Cluster) needed() span {
	kept := c.cfg.remembered()
	now := c.clock.Now().Add(-min(time.Minute, kept)) // the others may be later
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.t.ages.needed(now, now.Add(-kept))
}

// advanceTime takes the timestamp of a message, before what is in it.
func (c *Cluster) advanceTime(seq uint64, at time.Time) {
	if c.given != nil && seq > c.given.Through && at.Before(c.given.At) {
		at = c.given.At // the time had come so far, as the trim records
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.ages.advance(seq, at, c.cfg.spanLength())
}

// logTime returns the time along the log.
func (c *Cluster) logTime() time.Time {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.t.ages.now
}

// ageNotes returns what the view is to keep behind a message.
func (c *Cluster) ageNotes() []journal.Note {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return append(c.t.ages.notes(), c.t.ages.timeNote())
}

// trim lets the log lose what nobody needs.
func (c *Cluster) trim(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	p := &job.Proposal{What: job.ProposeTrim, First: stream.CachedInfo().State.FirstSeq, Before: c.needed().first}
	c.readMu.Lock()
	// The time that a node takes over which reads only the rest.
	p.At, p.Through, p.Dropped = c.readTime, c.read, slices.Clone(c.dropped)
	c.readMu.Unlock()
	if p.Before <= p.First {
		return nil
	}
	body := p.AppendBinary(nil)
	data := binary.AppendUvarint([]byte{messageVersion, partWhole}, uint64(len(body)))
	data = append(data, body...)
	if len(data) > int(c.nc.MaxPayload())-4096 {
		return fmt.Errorf("%d submissions that were dropped are more than one message can tell", len(p.Dropped))
	}
	c.log.Info("trimming the log", "first", p.First, "before", p.Before)
	if _, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: c.trimSubject(), Data: data}); err != nil {
		return err
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(p.Before))
}

// takeTrim forgets what was dropped in a part of the log that is gone.
func (c *Cluster) takeTrim(ctx context.Context, next position, p *job.Proposal) error {
	notes := []journal.Note{next.note()}
	c.t.mu.Lock()
	c.t.ages.trimmed(p.First)
	notes = append(notes, c.t.ages.notes()...)
	c.t.mu.Unlock()
	c.readMu.Lock()
	c.dropped = slices.DeleteFunc(c.dropped, func(d job.Dropped) bool {
		gone := d.Seq < p.First
		if gone {
			notes = append(notes, droppedNote(d, nil))
		}
		return gone
	})
	c.readMu.Unlock()
	return c.view.Follow(ctx, job.Batch{}, notes...)
}
