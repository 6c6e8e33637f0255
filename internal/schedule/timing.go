package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/robfig/cron/v3"
)

// The bounds of intervals.
const (
	MinEvery = time.Second
	MaxEvery = 366 * 24 * time.Hour
)

// A Timing is when a schedule has ticks: a cron expression in a time zone, or an interval.
type Timing struct {
	// Cron and Zone are a cron expression of five fields, or a descriptor such as @daily, and the name of a time zone.
	Cron, Zone string
	// Every is the interval between ticks, from the last change of the definition on; 0 with a cron expression.
	Every time.Duration

	parsed cron.Schedule
	zone   *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// errCron has the form of cron expressions.
var errCron = errors.New(`must be five fields (minute, hour, day of month, month and weekday), such as "30 4 * * 1-5", or @hourly, @daily, @weekly, @monthly or @yearly`)

// NewCron returns the timing of a cron expression in a time zone, by its name in the IANA database.
func NewCron(text, zone string) (Timing, error) {
	t := Timing{Cron: text, Zone: zone}
	// The parser takes a time zone and an interval in the expression too, and panics for some.
	if strings.Contains(text, "TZ=") || strings.HasPrefix(text, "@every") || len(text) > 200 {
		return t, errCron
	}
	var err error
	if t.parsed, err = parser.Parse(text); err != nil {
		return t, fmt.Errorf("%w: %w", errCron, err)
	}
	if t.zone, err = loadZone(zone); err != nil {
		return t, err
	}
	if t.next(time.Time{}, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return t, errors.New("has no time at all, such as the 30th of February")
	}
	return t, nil
}

// ErrZone means that a time zone is unknown.
var ErrZone = errors.New(`must be a time zone of the IANA database, such as "Europe/Berlin" or "UTC"`)

func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, ErrZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, ErrZone
	}
	return zone, nil
}

// NewInterval returns the timing of an interval.
func NewInterval(every time.Duration) (Timing, error) {
	if every < MinEvery || every > MaxEvery {
		return Timing{}, fmt.Errorf("must be from %s to %s", MinEvery, MaxEvery)
	}
	return Timing{Every: every}, nil
}

// next returns the first tick after a time; anchor is the start of intervals.
func (t *Timing) next(anchor, after time.Time) time.Time {
	if t.Every > 0 {
		if after.Before(anchor) {
			return anchor.Add(t.Every)
		}
		past := after.Sub(anchor)
		return after.Add(t.Every - past%t.Every)
	}
	next := t.parsed.Next(after.In(t.zone))
	if next.IsZero() {
		return next
	}
	return next.UTC()
}
