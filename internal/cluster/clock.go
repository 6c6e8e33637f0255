package cluster

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// # Time
//
// The nodes share the log's clock: the clock of the NATS server that leads the log's stream, which also timestamps every
// message. Every instant that a node writes (created, started, finished, expires) is a time of this clock, so nodes whose
// own clocks differ agree. Durations that a node measures (a timeout, a sleep, a delayed start) are measured on its monotonic
// clock, so they do not change when a clock is set.
//
// While the log is applied, the time is the latest timestamp so far (ages.now). It does not go back when another server
// becomes the leader.

// A logClock estimates the log's clock between two readings. Its zero value returns the machine's time.
type logClock struct {
	wall func() time.Time

	mu sync.Mutex
	// The log's clock showed base when the monotonic clock showed at.
	base, at time.Time
	skew     time.Duration
	// The state of the log, as of the last reading.
	first, last, bytes uint64
	firstAt            time.Time
}

// maxReadingTime is the longest round trip of a reading that replaces an earlier one.
const maxReadingTime = time.Second

// Now returns the estimated time of the log's clock.
func (l *logClock) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.base.IsZero() {
		return l.wall().UTC().Round(0)
	}
	return l.base.Add(time.Since(l.at))
}

// ago returns the monotonic time at which the log's clock showed t, or now if t is in the future; the zero time for the
// zero time.
func (l *logClock) ago(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Now().Add(-max(0, l.Now().Sub(t)))
}

// observe updates the estimate with a timestamp that a server made between two moments.
func (l *logClock) observe(sent, received, stamp time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := received.Sub(sent)
	now := l.base.Add(received.Sub(l.at))
	// A reading whose uncertainty includes the estimate does not change it, to avoid jitter.
	if l.base.IsZero() || took <= maxReadingTime && (now.Before(stamp) || now.After(stamp.Add(took))) {
		l.base, l.at = stamp.UTC().Add(took/2), received
		now = l.base
	}
	l.skew = l.wall().Round(0).Sub(now) - time.Since(received)
}

// Skew returns how far this machine's clock is ahead of the log's clock.
func (l *logClock) Skew() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skew
}

// Now returns the time of the log's clock, which all nodes share.
func (c *Cluster) Now() time.Time { return c.clock.Now() }

// skewWarning is the skew above which a warning is logged.
const skewWarning = time.Second

// setClock updates the clock with a response of the leader of the log.
func (c *Cluster) setClock(sent, received time.Time, info *jetstream.StreamInfo) {
	if info.TimeStamp.IsZero() {
		return
	}
	before := c.clock.Skew()
	c.clock.observe(sent, received, info.TimeStamp)
	c.clock.mu.Lock()
	c.clock.first, c.clock.firstAt = info.State.FirstSeq, info.State.FirstTime
	c.clock.last, c.clock.bytes = info.State.LastSeq, info.State.Bytes
	c.clock.mu.Unlock()
	if skew := c.clock.Skew(); skew.Abs() >= skewWarning && before.Abs() < skewWarning {
		c.log.Warn("this machine's clock differs from the clock of the NATS server that leads the log", "ahead", skew)
	}
}

// logAge returns the seconds from the oldest message of the log to a time, or to now; 0 if the log is empty.
func (c *Cluster) logAge(until time.Time) float64 {
	c.clock.mu.Lock()
	first, at := c.clock.first, c.clock.firstAt
	c.clock.mu.Unlock()
	if until.IsZero() {
		until = c.clock.Now()
	}
	if first == 0 || at.IsZero() {
		return 0
	}
	return max(0, until.Sub(at).Seconds())
}

// logSize returns the first and last message of the log and its bytes, as of the last reading.
func (c *Cluster) logSize() (first, last, bytes uint64) {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	return c.clock.first, c.clock.last, c.clock.bytes
}
