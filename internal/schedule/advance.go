package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"gather/internal/job"
)

// advance gives every due tick of a schedule its outcome. It returns the error of a submission that may succeed later.
func (s *Scheduler) advance(ctx context.Context, document string) error {
	// After a conflict with another update, or a write that failed, the decisions are made again, and the jobs are the same.
	submitted := s.submitted[document]
	if submitted == nil {
		submitted = make(map[time.Time]job.ID)
		s.submitted[document] = submitted
	}
	defer func() {
		if len(submitted) == 0 {
			delete(s.submitted, document)
		}
	}()
	for {
		one, revision, err := s.read(ctx, document)
		if errors.Is(err, ErrNotFound) {
			clear(submitted)
			return s.reload(ctx)
		}
		if err != nil {
			return err
		}
		recorded := func(tick time.Time, _ job.ID) bool { return !tick.After(one.Cursor) }
		d := decision{s: s, Schedule: one, now: s.c.Wall().UTC(), submitted: submitted}
		pending := d.decide(ctx)
		if !d.changed {
			maps.DeleteFunc(submitted, recorded)
			s.mu.Lock()
			s.learn(&job.Document{Name: document, Value: one.Encode(), Revision: revision})
			s.mu.Unlock()
			return pending
		}
		switch err := s.write(ctx, one, revision); {
		case errors.Is(err, job.ErrChanged):
			continue
		case err != nil:
			return err
		}
		maps.DeleteFunc(submitted, recorded)
		for _, r := range d.added {
			s.met.runs[r.Outcome].Inc()
			if r.Outcome != Submitted {
				s.c.Logger.Warn("a run of a schedule was not submitted", "schedule", one.Name, "tenant", one.Tenant, "tick", r.Tick,
					"outcome", string(r.Outcome), "detail", r.Detail)
			}
		}
		return pending
	}
}

// A decision gives the due ticks of a schedule their outcomes.
type decision struct {
	*Schedule

	s         *Scheduler
	now       time.Time
	submitted map[time.Time]job.ID
	changed   bool
	added     []Run
}

func (d *decision) add(r Run) {
	d.record(r, d.now)
	d.added = append(d.added, r)
	d.changed = true
}

// decide decides as many ticks as can be. It returns an error if a submission may succeed later.
func (d *decision) decide(ctx context.Context) error {
	for tick, id := range d.submitted {
		// Decided by another node or by a change of the definition, or the schedule was paused after the submission.
		if !tick.After(d.Cursor) || d.Paused {
			d.amend(tick, id)
		}
	}
	if d.Paused {
		return nil
	}
	if err := d.startWaiting(ctx); err != nil {
		return err
	}
	ticks, missed := d.due(d.now, d.s.c.KeyRetention)
	if missed.n > 0 {
		d.add(Run{Tick: missed.last, Outcome: Missed, Detail: missed.String()})
		d.Cursor = missed.last
	}
	for _, tick := range ticks {
		if err := d.decideTick(ctx, tick); err != nil {
			return err
		}
		d.Cursor, d.changed = tick, true
	}
	return nil
}

// startWaiting submits the ticks that wait, while the last job has ended.
func (d *decision) startWaiting(ctx context.Context) error {
	for len(d.Waiting) > 0 {
		tick := d.Waiting[0]
		if ended, err := d.s.ended(ctx, d.Tenant, d.Current); err != nil || !ended {
			return err
		}
		if d.now.Sub(tick) > d.s.c.KeyRetention {
			d.add(Run{Tick: tick, Outcome: Missed, Detail: "it waited for the last job for longer than idempotency keys are stored"})
		} else if err := d.start(ctx, tick); err != nil {
			return err
		}
		d.Waiting, d.changed = d.Waiting[1:], true
	}
	return nil
}

// decideTick decides a tick that is not too late.
func (d *decision) decideTick(ctx context.Context, tick time.Time) error {
	if id, ok := d.submitted[tick]; ok { // before a conflict, whose update may have another job that has not ended
		d.amend(tick, id)
		return nil
	}
	ended, err := d.s.ended(ctx, d.Tenant, d.Current)
	if err != nil {
		return err
	}
	if ended && len(d.Waiting) == 0 {
		return d.start(ctx, tick)
	}
	switch d.Overlap {
	case Queue:
		if len(d.Waiting) < maxWaiting {
			d.Waiting = append(d.Waiting, tick)
			return nil
		}
		d.add(Run{Tick: tick, Outcome: Skipped, Detail: fmt.Sprintf("%d earlier runs wait", maxWaiting)})
	case Replace:
		if _, err := d.s.c.Executor.Cancel(ctx, d.Tenant, d.Current); err != nil && !errors.Is(err, job.ErrNotFound) && !errors.Is(err, job.ErrExpired) {
			return err
		}
		return d.start(ctx, tick)
	default:
		d.add(Run{Tick: tick, Outcome: Skipped, Job: d.Current, Detail: "the job of the last run has not ended"})
	}
	return nil
}

// start submits the job of a tick.
func (d *decision) start(ctx context.Context, tick time.Time) error {
	id, again := d.submitted[tick]
	if !again {
		var err error
		id, err = d.s.submit(ctx, d.Schedule, tick.UTC().Format(time.RFC3339Nano))
		if err != nil && permanent(err) {
			d.add(Run{Tick: tick, Outcome: Rejected, Detail: err.Error()})
			return nil
		}
		if err != nil {
			return err
		}
		d.submitted[tick] = id
	}
	d.Current = id
	d.add(Run{Tick: tick, Outcome: Submitted, Job: id})
	return nil
}

// amend records a job whose tick has another outcome, or none.
func (d *decision) amend(tick time.Time, id job.ID) {
	if bytes.Compare(id[:], d.Current[:]) > 0 {
		d.Current, d.changed = id, true
	}
	for i := range d.Runs {
		r := &d.Runs[i]
		if r.Manual || !r.Tick.Equal(tick) {
			continue
		}
		if r.Job != id || r.Outcome != Submitted {
			r.Outcome, r.Job, r.Detail, d.changed = Submitted, id, "", true
		}
		return
	}
	d.add(Run{Tick: tick, Outcome: Submitted, Job: id})
	d.Waiting = slices.DeleteFunc(d.Waiting, tick.Equal)
	if tick.After(d.Cursor) {
		d.Cursor = tick
	}
}

// missedTicks are due ticks that are not submitted.
type missedTicks struct {
	n    int
	more bool // earlier ones were not counted
	last time.Time
}

// String returns the detail of the outcome.
func (m missedTicks) String() string {
	least := ""
	if m.more {
		least = "at least "
	}
	if m.n == 1 && !m.more {
		return "the tick was not submitted in time, because no server ran or the clock was set"
	}
	return fmt.Sprintf("%s%d ticks were not submitted in time, because no server ran or the clock was set; this is the last of them", least, m.n)
}

// due returns the ticks to submit, oldest first, and the missed ones before them. No tick older than the retention of keys is
// submitted, because its key, and so the record of a job, may be gone.
func (s *Schedule) due(now time.Time, keys time.Duration) (ticks []time.Time, missed missedTicks) {
	prompt := min(onTime, keys)
	from := now.Add(-max(prompt, min(s.CatchUp.Within, keys)))
	if s.Cursor.Before(from) {
		first := s.Next(s.Cursor)
		if missed.more = !first.IsZero() && !first.After(from); missed.more {
			missed.n, missed.last = 1, first
		}
	} else {
		from = s.Cursor
	}
	late := 0
	for t := s.Next(from); !t.IsZero() && !t.After(now); t = s.Next(t) {
		if age := now.Sub(t); age > prompt {
			late++
		}
		ticks = append(ticks, t)
	}
	if drop := max(0, late-s.CatchUp.Runs); drop > 0 {
		missed.n += drop
		missed.last = ticks[drop-1]
		ticks = ticks[drop:]
	}
	return ticks, missed
}
