package cluster

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// ages records, for each span of the log, when it was written and until when the jobs that were submitted in it are
// needed. The times are those of the log, and the record is kept in the replica, so that a node can trim what it has
// applied before a restart. Guarded by state.mu.
type ages struct {
	// now is the latest timestamp of the log so far.
	now   time.Time
	spans []span
	dirty map[uint64]bool // spans to be written, by their first message
}

// A span is a run of messages of the log.
type span struct {
	first uint64
	begun time.Time
	// expires is when the last ended job that was submitted in the span expires; open counts those that have not ended.
	expires    time.Time
	unfinished int
}

// spanLength is the length of a span, and the precision of recorded expiries.
func (c *Config) spanLength() time.Duration { return max(c.logRetention()/256, time.Millisecond) }

// logRetention is how long the log is needed for keys and deleted jobs.
func (c *Config) logRetention() time.Duration { return max(c.TombstoneRetention, c.KeyRetention) }

func (a *ages) reset() { *a = ages{} }

// advance takes the timestamp of message seq, and begins a span if the last one is full.
func (a *ages) advance(seq uint64, at time.Time, length time.Duration) {
	if at.After(a.now) {
		a.now = at.UTC()
	}
	if n := len(a.spans); n == 0 || seq > a.spans[n-1].first && a.now.Sub(a.spans[n-1].begun) >= length {
		a.spans = append(a.spans, span{first: seq, begun: a.now})
		a.markDirty(seq)
	}
}

func (a *ages) markDirty(first uint64) {
	if a.dirty == nil {
		a.dirty = make(map[uint64]bool)
	}
	a.dirty[first] = true
}

// spanOf returns the span spanOf a message; the first one for messages before it, nil if there is none.
func (a *ages) spanOf(seq uint64) *span {
	i, found := slices.BinarySearchFunc(a.spans, seq, func(s span, seq uint64) int {
		if s.first <= seq {
			return -1
		}
		return 1
	})
	if !found {
		i--
	}
	if len(a.spans) == 0 {
		return nil
	}
	return &a.spans[max(i, 0)]
}

// submitted counts a job that was submitted in message seq, ended a job that has ended and is kept until it expires.
func (a *ages) submitted(seq uint64) {
	if s := a.spanOf(seq); s != nil {
		s.unfinished++
	}
}

func (a *ages) ended(seq uint64, expires time.Time, length time.Duration) {
	s := a.spanOf(seq)
	if s == nil {
		return
	}
	s.unfinished--
	// Rounded up, so that a span is written rarely.
	if expires = expires.Truncate(length).Add(length); expires.After(s.expires) {
		s.expires = expires
		a.markDirty(s.first)
	}
}

// needed returns the first message that is needed: all messages before it were written before since, and are about jobs
// that expired before now.
func (a *ages) needed(now, since time.Time) (first span) {
	i := 0
	for i+1 < len(a.spans) && a.spans[i].unfinished <= 0 && a.spans[i].expires.Before(now) && a.spans[i+1].begun.Before(since) {
		i++
	}
	if len(a.spans) == 0 {
		return span{}
	}
	return a.spans[i]
}

// trimmed removes the spans that end before message first.
func (a *ages) trimmed(first uint64) {
	n := 0
	for n+1 < len(a.spans) && a.spans[n+1].first <= first {
		a.markDirty(a.spans[n].first)
		n++
	}
	a.spans = slices.Delete(a.spans, 0, n)
}

// metadata returns the changed metadata of the replica.
func (a *ages) metadata() []journal.Metadata {
	if len(a.dirty) == 0 {
		return nil
	}
	var notes []journal.Metadata
	for first := range a.dirty {
		n := journal.Metadata{Name: fmt.Sprintf("%s%016x", metaSpan, first)}
		if s := a.spanOf(first); s != nil && s.first == first {
			n.Value = binary.AppendVarint(binary.AppendVarint(nil, nanoseconds(s.begun)), nanoseconds(s.expires))
		}
		notes = append(notes, n)
	}
	clear(a.dirty)
	return notes
}

func (a *ages) timeMetadata() journal.Metadata {
	return journal.Metadata{Name: metaTime, Value: binary.AppendVarint(nil, nanoseconds(a.now))}
}

// readTime and readSpan are the inverses.
func (a *ages) readTime(value []byte) {
	if ns, n := binary.Varint(value); n > 0 {
		a.now = instant(ns)
	}
}

func (a *ages) readSpan(name string, value []byte) error {
	var s span
	_, err := fmt.Sscanf(strings.TrimPrefix(name, metaSpan), "%x", &s.first)
	begun, n := binary.Varint(value)
	if err != nil || n <= 0 {
		return fmt.Errorf("note %q: %w", name, job.ErrCorrupt)
	}
	expires, n := binary.Varint(value[n:])
	if n <= 0 {
		return fmt.Errorf("note %q: %w", name, job.ErrCorrupt)
	}
	s.begun, s.expires = instant(begun), instant(expires)
	a.spans = append(a.spans, s)
	return nil
}

// nanoseconds since 1970; the zero time, and any that does not fit, is the smallest number.
func nanoseconds(t time.Time) int64 {
	if t.Year() < 1678 || t.Year() > 2261 {
		return math.MinInt64
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
