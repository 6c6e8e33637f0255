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
// The log may lose what tells only of jobs that are gone, and of keys that have expired. A node that reads only the rest
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

// low is before when nothing is left that anybody could ask for.
func (c *Cluster) low(ctx context.Context) (time.Time, error) {
	// Clocks differ, and messages are as old as the server that took them says.
	kept := max(c.cfg.TombstoneRetention, c.cfg.KeyRetention)
	low := time.Now().Add(-kept)
	oldest, err := c.view.Oldest(ctx)
	if err != nil {
		return low, err
	}
	if oldest != (job.ID{}) && oldest.Time().Before(low) {
		low = oldest.Time()
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for id := range c.t.jobs {
		if at := id.Time(); at.Before(low) {
			low = at
		}
	}
	return low.Add(-min(time.Minute, kept)), nil
}

// trim lets the log lose what nobody needs.
func (c *Cluster) trim(ctx context.Context) error {
	low, err := c.low(ctx)
	if err != nil {
		return err
	}
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return err
	}
	p := &job.Proposal{What: job.ProposeTrim, At: time.Now().UTC(), First: stream.CachedInfo().State.FirstSeq}
	c.readMu.Lock()
	n := 0
	for n < len(c.moments) && c.moments[n].at.Before(low) {
		n++
	}
	if n > 0 {
		p.Before = c.moments[n-1].seq
		c.moments = slices.Delete(c.moments, 0, n-1)
	}
	p.Through, p.Dropped = c.read, slices.Clone(c.dropped)
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
