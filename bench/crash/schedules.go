package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// A schedule is a schedule that exists during the whole run.
type schedule struct {
	name, overlap string
	every         time.Duration
	order         order
}

// The catch-up of all schedules, and how late a tick is on time.
const (
	catchUpRuns   = 2
	catchUpWithin = 10 * time.Minute
	lateTick      = time.Minute
)

// allSchedules returns the schedules: of jobs that are shorter than the interval, about as long, and longer.
func allSchedules() []schedule {
	return []schedule{
		{"skipping", "skip", 2 * time.Second, numbers(7)},
		{"queueing", "queue", 3 * time.Second, sleeps(500, 2500)},
		{"replacing", "replace", 4 * time.Second, sleeps(6000)},
	}
}

// A scheduleReading is what a client read of a schedule.
type scheduleReading struct {
	name string
	// updated is the time of the definition, from which on there are ticks.
	updated time.Time
	runs    []scheduleRun
	// manual are the jobs that a client has started.
	manual []string
}

// A scheduleRun is the outcome of a tick.
type scheduleRun struct {
	Tick    time.Time `json:"tick"`
	Outcome string    `json:"outcome"`
	Job     string    `json:"job_id"`
	Manual  bool      `json:"manual"`
	Detail  string    `json:"detail"`
	Decided time.Time `json:"decided_at"`
}

// scheduleAll keeps the schedules and reads their outcomes, until stop is closed. Then it awaits another outcome of each, and pauses them.
func (r *run) scheduleAll(ctx context.Context, stop <-chan struct{}) error {
	c := &client{run: r, id: -3}
	for n := 0; ; n++ {
		c.seed(n)
		for _, s := range allSchedules() {
			if err := c.keep(ctx, &s, n); err != nil {
				return fmt.Errorf("schedule %s: %w", s.name, err)
			}
		}
		select {
		case <-stop:
			return c.finishSchedules(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
}

// keep creates a schedule or puts it again, which changes nothing, perhaps runs it, and reads its outcomes.
func (c *client) keep(ctx context.Context, s *schedule, n int) error {
	path := "/v1/schedules/" + s.name
	if n%4 == 0 {
		body := fmt.Sprintf(`{"every":%q,"overlap":%q,"catch_up":{"runs":%d,"within":%q},"submission":{%s}}`,
			s.every, s.overlap, catchUpRuns, catchUpWithin, s.order.spec)
		if _, err := c.do(ctx, call{
			operation: operation{action: schedules}, method: http.MethodPut, path: path, body: []byte(body), accept: []int{http.StatusOK, http.StatusCreated},
		}); err != nil {
			return err
		}
	}
	reading := scheduleReading{name: s.name}
	if s.overlap == "skip" && n%3 == 1 {
		var job view
		run := call{
			operation: operation{action: schedules}, method: http.MethodPost, path: path + "/run", accept: []int{http.StatusAccepted},
			header: []string{"Idempotency-Key", fmt.Sprintf("manual-%d", n)},
			decode: func(a *response, _ *operation) error { return json.Unmarshal(a.body, &job) },
		}
		for range 2 {
			c.hop()
			if _, err := c.do(ctx, run); err != nil {
				return err
			}
			reading.manual = append(reading.manual, job.ID)
		}
		if reading.manual[0] != reading.manual[1] {
			c.report(fmt.Errorf("schedule %s: a run with one key made the jobs %v", s.name, reading.manual))
		}
	}
	return c.readSchedule(ctx, &reading)
}

// readSchedule reads a schedule and its outcomes.
func (c *client) readSchedule(ctx context.Context, reading *scheduleReading) error {
	path := "/v1/schedules/" + reading.name
	var definition struct {
		Updated time.Time `json:"updated_at"`
	}
	var list struct {
		Runs []scheduleRun `json:"runs"`
	}
	for path, into := range map[string]any{path: &definition, path + "/runs": &list} {
		a, err := c.page(ctx, path)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("GET %s: status %d: %.300s", path, a.status, a.body)
		}
		if err := json.Unmarshal(a.body, into); err != nil {
			return err
		}
	}
	reading.updated, reading.runs = definition.Updated, list.Runs
	c.readingOf(*reading)
	return nil
}

// finishSchedules awaits another outcome of each schedule, unless a clock that was set may have passed its ticks, and pauses it.
func (c *client) finishSchedules(ctx context.Context) error {
	for _, s := range allSchedules() {
		reading := scheduleReading{name: s.name}
		for first := (time.Time{}); !c.clockSteps; {
			if err := c.readSchedule(ctx, &reading); err != nil {
				return err
			}
			if last := reading.runs; len(last) > 0 && !first.IsZero() && last[0].Decided.After(first) {
				break
			} else if len(last) > 0 && first.IsZero() {
				first = last[0].Decided
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("schedule %s has no other outcome: %+v", s.name, reading.runs), context.Cause(ctx))
			case <-time.After(100 * time.Millisecond):
			}
		}
		if _, err := c.do(ctx, call{
			operation: operation{action: schedules}, method: http.MethodPost, path: "/v1/schedules/" + s.name + "/pause", accept: []int{http.StatusOK},
		}); err != nil {
			return err
		}
		if err := c.readSchedule(ctx, &reading); err != nil {
			return err
		}
		for _, run := range reading.runs {
			if run.Outcome == "submitted" {
				if _, err := c.awaitAny(ctx, run.Job); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// awaitAny waits until a job has ended that no client has submitted, and so is not of the history.
func (c *client) awaitAny(ctx context.Context, id string) (*view, error) {
	for {
		a, err := c.page(ctx, "/v1/jobs/"+id)
		if err != nil {
			return nil, err
		}
		v := new(view)
		if a.status != http.StatusOK {
			return nil, fmt.Errorf("job %s of a schedule: status %d: %.300s", id, a.status, a.body)
		}
		if err := json.Unmarshal(a.body, v); err != nil || v.terminal() {
			return v, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkSchedules checks that each tick of a schedule has one outcome, none is left out, and each job of a schedule is of one tick.
func (c *checker) checkSchedules() {
	for _, s := range allSchedules() {
		ticks := make(map[time.Time]scheduleRun)
		jobs := make(map[string]time.Time) // ticks, by job
		manual := make(map[string]bool)
		var updated time.Time
		for i := range c.h.schedules {
			r := &c.h.schedules[i]
			if r.name != s.name {
				continue
			}
			if !updated.IsZero() && !updated.Equal(r.updated) {
				c.violation("schedule %s has the times %s and %s of its definition, which did not change", s.name, updated, r.updated)
			}
			updated = r.updated
			for _, id := range r.manual {
				manual[id] = true
			}
			for _, run := range r.runs {
				if !run.Manual {
					c.checkRun(&s, run, ticks, jobs)
				}
			}
		}
		c.checkTicks(&s, updated, ticks)
		for node := range c.h.listings {
			c.checkScheduled(&s, node, jobs, manual, ticks)
		}
	}
}

// checkRun adds an outcome to those that were read before, which must agree.
func (c *checker) checkRun(s *schedule, run scheduleRun, ticks map[time.Time]scheduleRun, jobs map[string]time.Time) {
	before, ok := ticks[run.Tick]
	if ok && before != run && (before.Outcome == "submitted" || before.Outcome == run.Outcome) {
		c.violation("schedule %s: tick %s has the outcomes %+v and %+v", s.name, run.Tick, before, run)
	}
	ticks[run.Tick] = run
	switch run.Outcome {
	case "submitted":
		if tick, ok := jobs[run.Job]; ok && !tick.Equal(run.Tick) {
			c.violation("schedule %s: job %s is of the ticks %s and %s", s.name, run.Job, tick, run.Tick)
		}
		jobs[run.Job] = run.Tick
	case "skipped":
		if s.overlap == "replace" {
			c.violation("schedule %s: a tick that replaces the last job was skipped: %+v", s.name, run)
		}
	case "missed":
	default:
		c.violation("schedule %s: %+v", s.name, run)
	}
}

// checkTicks checks the outcomes of all ticks of a schedule in their order.
func (c *checker) checkTicks(s *schedule, updated time.Time, ticks map[time.Time]scheduleRun) {
	runs := make([]scheduleRun, 0, len(ticks))
	for _, run := range ticks {
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b scheduleRun) int { return a.Tick.Compare(b.Tick) })
	late := make(map[time.Time]int) // submitted late, by the time of the decision
	last := updated
	for _, run := range runs {
		age := run.Decided.Sub(run.Tick)
		switch {
		case run.Tick.Sub(updated)%s.every != 0 || !run.Tick.After(updated):
			c.violation("schedule %s, every %s since %s: %s is not a tick", s.name, s.every, updated, run.Tick)
		case age < 0 && !c.h.clockSteps:
			c.violation("schedule %s: %+v was decided before the tick", s.name, run)
		case run.Outcome == "missed" && age < lateTick:
			c.violation("schedule %s: a tick was missed within %s: %+v", s.name, lateTick, run)
		case run.Outcome != "missed" && !run.Tick.Equal(last.Add(s.every)):
			c.violation("schedule %s: between %s and %+v is a tick without an outcome", s.name, last, run)
		case run.Outcome == "submitted" && age > lateTick && s.overlap != "queue":
			if late[run.Decided]++; late[run.Decided] > catchUpRuns || age > catchUpWithin {
				c.violation("schedule %s: a tick was submitted late, after %d others of its time: %+v", s.name, late[run.Decided]-1, run)
			}
		}
		last = run.Tick
	}
}

// checkScheduled checks the jobs of a schedule that a node lists at the end: each is of a tick or was requested, and none is missing. A
// server can end between the submission for a tick and its record, and skip the tick afterwards, as can another node, so
// another job may have been created between a tick and the decision to skip it.
func (c *checker) checkScheduled(s *schedule, node int, jobs map[string]time.Time, manual map[string]bool, ticks map[time.Time]scheduleRun) {
	listed := make(map[string]bool)
	for _, v := range c.h.listings[node].jobs {
		if v.Labels["schedule"] != s.name {
			continue
		}
		listed[v.ID] = true
		if _, ok := jobs[v.ID]; !ok && !manual[v.ID] && !c.h.ofSkipped(&v, ticks) {
			c.violation("schedule %s: job %s on node %d is of no tick", s.name, v.ID, node)
		}
		replaced := s.overlap == "replace" && v.State == "cancelled"
		if !replaced && (v.State != "succeeded" || !sameResult(v.Result, s.order.result)) {
			c.violation("schedule %s: job %s on node %d is %s with result %s, want %s", s.name, v.ID, node, v.State, v.Result, s.order.result)
		}
	}
	for id, tick := range jobs {
		if !listed[id] {
			c.violation("schedule %s: job %s of tick %s is not listed on node %d", s.name, id, tick, node)
		}
	}
	for id := range manual {
		if !listed[id] {
			c.violation("schedule %s: job %s, which was requested, is not listed on node %d", s.name, id, node)
		}
	}
}

// ofSkipped reports whether a job may be of a tick that was skipped after the submission.
func (h *history) ofSkipped(v *view, ticks map[time.Time]scheduleRun) bool {
	for tick, run := range ticks {
		between := v.CreatedAt.After(tick.Add(-startMargin)) && v.CreatedAt.Before(run.Decided.Add(startMargin))
		if run.Outcome == "skipped" && (h.clockSteps || between) {
			return true
		}
	}
	return false
}
