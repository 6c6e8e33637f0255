package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// # Time
//
// Events have instants of the wall clock, which may be set at any time, also between two runs. How long ago an event was, and
// when a job, a key or a tombstone expires, is measured on a clock of the journal's own, which is not: it began as the wall
// clock, runs on by the monotonic clock, and while the server is down by the difference of the wall clock between the last
// record and the start, if that is positive. (A wall clock that was set forward meanwhile cannot be distinguished from a
// longer downtime.) The steps of the wall clock are recorded under clockKey, with the time of the last write, so that instants
// from before a step can still be converted. A view takes the clock of its cluster instead.

// clockKey has the steps of the wall clock and the time of a recent write.
var clockKey = []byte("mclock")

const (
	// minStep is the smallest step of the wall clock that is noticed; smaller ones add up.
	minStep = time.Second
	// clockInterval is how old the recorded time of the last write may be.
	clockInterval = 10 * time.Second
	// stepSlack is how long a step may go unnoticed.
	stepSlack = 30 * time.Second
	// forever is no bound of an expiry.
	forever = 200 * 365 * 24 * time.Hour
	// maxSteps bounds the steps that are kept.
	maxSteps = 64
)

// steadyClock is that clock. It is safe for concurrent use.
type steadyClock struct {
	// monotonic and wall are the machine's clocks.
	monotonic, wall func() time.Time

	mu sync.Mutex
	// The clock showed base when the monotonic clock showed start.
	base, start time.Time
	steps       []clockStep
	changed     bool
	recorded    time.Time
}

// A clockStep is the state from a time on: the clock is so far ahead of the wall clock.
type clockStep struct {
	at    time.Time
	ahead time.Duration
}

// now returns the time by the clock; lock held.
func (c *steadyClock) now() time.Time { return c.base.Add(c.monotonic().Sub(c.start)) }

// read returns the time, and how far the clock is ahead of the wall clock. It notices steps.
func (c *steadyClock) read() (now time.Time, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now = c.now()
	last := c.steps[len(c.steps)-1]
	if measured := now.Sub(c.wall().Round(0)); (measured - last.ahead).Abs() >= minStep {
		last = clockStep{at: now, ahead: measured}
		c.steps = append(c.steps, last)
		c.steps = c.steps[max(0, len(c.steps)-maxSteps):]
		c.changed = true
	}
	return now, last.ahead
}

// convert returns when, by the clock, an instant of the wall clock was. An instant that was shown twice is the later one; one
// that was never shown, or has yet to come, is now.
func (c *steadyClock) convert(instant time.Time) time.Time {
	now, _ := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	end := now
	for i, s := range slices.Backward(c.steps) {
		if t := instant.Add(s.ahead); !t.After(end) && (i == 0 || t.After(s.at.Add(-stepSlack))) {
			return t
		}
		end = s.at
	}
	return now
}

// elapsed returns how long ago an instant of the wall clock was.
func (c *steadyClock) elapsed(instant time.Time) time.Duration {
	t := c.convert(instant)
	now, _ := c.read()
	return max(0, now.Sub(t))
}

// record returns the clock's state to store with the next write; nil unless a step was noticed or clockInterval has passed.
func (c *steadyClock) record() []byte {
	now, ahead := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed && now.Sub(c.recorded) < clockInterval {
		return nil
	}
	c.changed, c.recorded = false, now
	b := binary.AppendUvarint(nil, uint64(len(c.steps)))
	for _, s := range c.steps {
		b = binary.AppendVarint(binary.AppendVarint(b, s.at.UnixNano()), int64(s.ahead))
	}
	return binary.AppendVarint(binary.AppendVarint(b, now.UnixNano()), now.Add(-ahead).UnixNano())
}

// isChanged reports whether a step was noticed that is not recorded yet.
func (c *steadyClock) isChanged() bool {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// open starts the clock from its stored state, nil for none.
func (c *steadyClock) open(stored []byte) error {
	c.start = c.monotonic()
	wall := c.wall().Round(0).UTC()
	if stored == nil {
		c.base, c.steps = wall, []clockStep{{at: wall}}
		return nil
	}
	fault := false
	number := func() int64 {
		v, n := binary.Varint(stored)
		fault = fault || n <= 0
		stored = stored[max(n, 0):]
		return v
	}
	count, n := binary.Uvarint(stored)
	if n <= 0 || count == 0 || count > maxSteps {
		return corrupt("clock")
	}
	stored = stored[n:]
	for range count {
		at := time.Unix(0, number()).UTC()
		c.steps = append(c.steps, clockStep{at: at, ahead: time.Duration(number())})
	}
	last := time.Unix(0, number()).UTC()
	lastWall := time.Unix(0, number()).UTC()
	if fault || len(stored) > 0 {
		return corrupt("clock")
	}
	c.base = last.Add(max(0, wall.Sub(lastWall)))
	c.recorded = last
	c.read() // a wall clock that went back is a step
	return nil
}

// loadClock starts the journal's clock.
func (j *Journal) loadClock() error {
	j.clock.monotonic, j.clock.wall = j.h.now, j.h.wall
	v, closer, err := j.db.Get(clockKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return j.clock.open(nil)
	}
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	return errors.Join(j.clock.open(v), closer.Close())
}

// now returns the time by the clock of expiries.
func (j *Journal) now() time.Time {
	if j.c.Now != nil {
		return j.c.Now()
	}
	now, _ := j.clock.read()
	return now
}

// due converts an instant of expiry to that clock. It is not later than most from now.
func (j *Journal) due(instant time.Time, most time.Duration) time.Time {
	if j.c.Now != nil {
		return instant
	}
	now, ahead := j.clock.read()
	if latest := now.Add(most); instant.Add(ahead).After(latest) {
		return latest
	}
	return instant.Add(ahead)
}

// shown is the inverse: the instant of the wall clock at which an expiry by the journal's clock comes.
func (j *Journal) shown(due time.Time) time.Time {
	if j.c.Now != nil {
		return due
	}
	_, ahead := j.clock.read()
	return due.Add(-ahead)
}

// Elapsed returns how long ago an instant was that was recorded here, not counting steps of the wall clock.
func (j *Journal) Elapsed(since time.Time) time.Duration {
	if j.c.Now != nil {
		return max(0, j.c.Now().Sub(since))
	}
	return j.clock.elapsed(since)
}
