package journal

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"
)

// # Time
//
// Events carry instants of the wall clock, which may be set at any time, also between two runs. The journal measures ages and
// expiries on a clock of its own, which never steps: it starts as the wall clock and advances with the monotonic clock. While
// the server is down it advances by the difference of the wall clock between the last record and the start, if that is
// positive. (A wall clock that was set forward during that time cannot be distinguished from a longer downtime.) The steps of
// the wall clock are recorded under clockKey, with the time of the last write, so that instants from before a step can still
// be converted. The replica of a cluster's node uses the clock of the cluster instead.

// clockKey is the key of the wall clock's steps and the time of a recent write.
var clockKey = []byte("mclock")

const (
	// minStep is the smallest step of the wall clock that is detected; smaller steps add up.
	minStep = time.Second
	// clockInterval is the maximum age of the recorded time of the last write.
	clockInterval = 10 * time.Second
	// stepSlack is the time within which a step is detected.
	stepSlack = 30 * time.Second
	// forever is the limit of due for expiries that are not limited.
	forever = 200 * 365 * 24 * time.Hour
	// maxSteps is the number of steps that are kept.
	maxSteps = 64
)

// A steadyClock never steps. It is safe for concurrent use.
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

// A clockStep records how far the clock is ahead of the wall clock from a time on.
type clockStep struct {
	at    time.Time
	ahead time.Duration
}

// now returns the time; the lock is held.
func (c *steadyClock) now() time.Time { return c.base.Add(c.monotonic().Sub(c.start)) }

// read returns the time, and how far the clock is ahead of the wall clock. It detects steps.
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

// convert returns the time at which the wall clock showed an instant: the later time if it was shown twice, the current time
// if it was never shown or is in the future.
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

// record returns the clock's state to store with the next write; nil unless a step was detected or clockInterval has passed.
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

// isChanged reports whether a step was detected that is not recorded yet.
func (c *steadyClock) isChanged() bool {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// open starts the clock from its stored state; nil for a new journal.
func (c *steadyClock) open(stored []byte) error {
	c.start = c.monotonic()
	wall := c.wall().Round(0).UTC()
	if stored == nil {
		c.base, c.steps = wall, []clockStep{{at: wall}}
		return nil
	}
	invalid := false
	number := func() int64 {
		v, n := binary.Varint(stored)
		invalid = invalid || n <= 0
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
	if invalid || len(stored) > 0 {
		return corrupt("clock")
	}
	c.base = last.Add(max(0, wall.Sub(lastWall)))
	c.recorded = last
	c.read() // detects a wall clock that was set back
	return nil
}

// loadClock starts the journal's clock from its stored state.
func (j *Journal) loadClock() error {
	j.clock.monotonic, j.clock.wall = j.h.now, j.h.wall
	found, err := get(j.db, clockKey, j.clock.open)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	if !found {
		return j.clock.open(nil)
	}
	return nil
}

// now returns the time of the journal's clock, or of Config.Now.
func (j *Journal) now() time.Time {
	if j.c.Now != nil {
		return j.c.Now()
	}
	now, _ := j.clock.read()
	return now
}

// keyTime returns the time before which keys are deleted.
func (j *Journal) keyTime() time.Time {
	now := j.now()
	if j.c.KeyTime != nil {
		if at := j.c.KeyTime(); at.Before(now) {
			return at
		}
	}
	return now
}

// due converts an instant of the wall clock to the journal's clock, at most limit from now.
func (j *Journal) due(instant time.Time, limit time.Duration) time.Time {
	if j.c.Now != nil {
		return instant
	}
	now, ahead := j.clock.read()
	if latest := now.Add(limit); instant.Add(ahead).After(latest) {
		return latest
	}
	return instant.Add(ahead)
}

// wallTime is the inverse of due: it converts a time of the journal's clock to the wall clock.
func (j *Journal) wallTime(due time.Time) time.Time {
	if j.c.Now != nil {
		return due
	}
	_, ahead := j.clock.read()
	return due.Add(-ahead)
}

// Elapsed returns the time since an instant that the journal recorded, without the steps of the wall clock.
func (j *Journal) Elapsed(since time.Time) time.Duration {
	if j.c.Now != nil {
		return max(0, j.c.Now().Sub(since))
	}
	return j.clock.elapsed(since)
}
