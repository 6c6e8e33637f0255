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

// ages records when each span of the log was written, and until when the jobs submitted in it are needed. Times are those
// of the log's clock. The record is stored in the replica, so that a node can trim messages that it applied before a
// restart. Guarded by state.mu.
type ages struct {
	// now is the latest timestamp of the log so far.
	now   time.Time
	spans []span
	dirty map[uint64]bool // changed spans, by first message
}

// A span is a run of messages of the log.
type span struct {
	first uint64
	begun time.Time
	// expires is the latest expiry of the ended jobs that were submitted in the span.
	expires time.Time
	// unfinished counts the unfinished jobs that were submitted in the span.
	unfinished int
}

// spanLength returns the length of a span, which is the precision of recorded expiries.
func (c *Config) spanLength() time.Duration { return max(c.logRetention()/256, time.Millisecond) }

// logRetention returns how long the log is needed for keys and deleted jobs.
func (c *Config) logRetention() time.Duration { return max(c.TombstoneRetention, c.KeyRetention) }

func (a *ages) reset() { *a = ages{} }

// advance advances the time to the timestamp of message seq, and begins a span if the last one is full.
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

// spanOf returns the span of a message; the first one for messages before it, nil if there is none.
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

// submitted counts a job that was submitted in message seq as unfinished.
func (a *ages) submitted(seq uint64) {
	if s := a.spanOf(seq); s != nil {
		s.unfinished++
	}
}

// ended counts a job that was submitted in message seq as ended and needed until it expires.
func (a *ages) ended(seq uint64, expires time.Time, length time.Duration) {
	s := a.spanOf(seq)
	if s == nil {
		return
	}
	s.unfinished--
	// Rounded up, so that the span changes rarely.
	if expires = expires.Truncate(length).Add(length); expires.After(s.expires) {
		s.expires = expires
		a.markDirty(s.first)
	}
}

// needed returns the span of the first needed message: all messages before it were written before since, and concern only
// jobs that expired before now.
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

// compacted removes the spans that end before message first and concern only expired jobs. The log no longer has the other ones
// either, but a node that reads only the rest of the log lacks their jobs.
func (a *ages) compacted(first uint64) {
	kept := a.spans[:0]
	for i, s := range a.spans {
		if i+1 < len(a.spans) && a.spans[i+1].first <= first && s.unfinished <= 0 && s.expires.Before(a.now) {
			a.markDirty(s.first)
			continue
		}
		kept = append(kept, s)
	}
	a.spans = kept
}

// metadata returns the metadata of the changed spans.
func (a *ages) metadata() []journal.Metadata {
	if len(a.dirty) == 0 {
		return nil
	}
	var metadata []journal.Metadata
	for first := range a.dirty {
		n := journal.Metadata{Name: fmt.Sprintf("%s%016x", metaSpan, first)}
		if s := a.spanOf(first); s != nil && s.first == first {
			n.Value = binary.AppendVarint(binary.AppendVarint(nil, nanoseconds(s.begun)), nanoseconds(s.expires))
		}
		metadata = append(metadata, n)
	}
	clear(a.dirty)
	return metadata
}

func (a *ages) timeMetadata() journal.Metadata {
	return journal.Metadata{Name: metaTime, Value: binary.AppendVarint(nil, nanoseconds(a.now))}
}

// readTime is the inverse of timeMetadata.
func (a *ages) readTime(value []byte) {
	if ns, n := binary.Varint(value); n > 0 {
		a.now = instant(ns)
	}
}

// readSpan adds a span from its metadata.
func (a *ages) readSpan(name string, value []byte) error {
	var s span
	_, err := fmt.Sscanf(strings.TrimPrefix(name, metaSpan), "%x", &s.first)
	begun, n := binary.Varint(value)
	if err != nil || n <= 0 {
		return fmt.Errorf("metadata %q: %w", name, job.ErrCorrupt)
	}
	expires, n := binary.Varint(value[n:])
	if n <= 0 {
		return fmt.Errorf("metadata %q: %w", name, job.ErrCorrupt)
	}
	s.begun, s.expires = instant(begun), instant(expires)
	a.spans = append(a.spans, s)
	return nil
}

// nanoseconds returns a time in Unix nanoseconds; the smallest number for the zero time and times out of range.
func nanoseconds(t time.Time) int64 {
	if t.Year() < 1678 || t.Year() > 2261 {
		return math.MinInt64
	}
	return t.UnixNano()
}

// instant is the inverse of nanoseconds.
func instant(ns int64) time.Time {
	if ns == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
