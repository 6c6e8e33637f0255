package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"gather/client"
)

// A killedSchedule is a schedule of a server that is killed, and the outcomes of its ticks that clients have read.
type killedSchedule struct {
	name    string
	overlap client.ScheduleOverlap
	// updated is the time of the definition: a tick every second after it.
	updated time.Time
	runs    map[time.Time]client.ScheduleRun
}

const tickInterval = time.Second

// create puts the schedule: of short jobs, each of which gets its turn, or of jobs longer than the interval, some of which are skipped.
func (k *killedSchedule) create(ctx context.Context, c *client.Client) error {
	submission := `{"kind":"squares","numbers":[3]}`
	if k.overlap == client.ScheduleOverlapSkip {
		submission = `{"kind":"sleep_batch","durations":["1500ms"]}`
	}
	s, err := c.PutSchedule(ctx, k.name, client.ScheduleRequest{
		Every: client.Duration(tickInterval.String()), Overlap: k.overlap, Submission: json.RawMessage(submission),
		CatchUp: &client.ScheduleCatchUp{Runs: 100, Within: "1h"}, // as long as the machine may take for a start
	})
	if err == nil {
		k.updated = s.UpdatedAt
	}
	return err
}

// read reads the last outcomes; the ones that were read before must be the same.
func (k *killedSchedule) read(ctx context.Context, c *client.Client) error {
	runs, err := c.ScheduleRuns(ctx, k.name)
	if err != nil {
		return err
	}
	ticks := make(map[time.Time]bool)
	for _, r := range runs {
		if ticks[r.Tick] {
			return fmt.Errorf("tick %s has two outcomes: %+v", r.Tick, runs)
		}
		ticks[r.Tick] = true
		before, ok := k.runs[r.Tick]
		if ok && (before.Outcome != r.Outcome || *before.JobID != *r.JobID) {
			return fmt.Errorf("the outcome of tick %s was %s of job %s, and is %s of job %s", r.Tick, before.Outcome, *before.JobID, r.Outcome, *r.JobID)
		}
		if r.JobID == nil {
			return fmt.Errorf("tick %s is %s: %s", r.Tick, r.Outcome, *r.Detail)
		}
		k.runs[r.Tick] = r
	}
	return nil
}

// check returns an error unless each tick up to the last one has an outcome, and each submitted one a job of its own. jobs are all jobs of
// the schedule.
func (k *killedSchedule) check(jobs map[string]client.State) error {
	submitted := make(map[string]time.Time)
	ticks := slices.SortedFunc(maps.Keys(k.runs), time.Time.Compare)
	for i, tick := range ticks {
		if want := k.updated.Add(time.Duration(i+1) * tickInterval); !tick.Equal(want) {
			return fmt.Errorf("outcome %d is of tick %s, want %s", i, tick, want)
		}
		r := k.runs[tick]
		switch {
		case r.Outcome == client.ScheduleRunOutcomeSkipped && k.overlap == client.ScheduleOverlapSkip && !submitted[*r.JobID].IsZero():
			continue // while this job ran
		case r.Outcome != client.ScheduleRunOutcomeSubmitted:
			return fmt.Errorf("tick %s is %s: %s", tick, r.Outcome, *r.Detail)
		}
		if other, ok := submitted[*r.JobID]; ok {
			return fmt.Errorf("ticks %s and %s have one job", other, tick)
		}
		submitted[*r.JobID] = tick
	}
	for id, state := range jobs {
		if submitted[id].IsZero() || state != client.StateSucceeded {
			return fmt.Errorf("job %s of tick %s is %s, want succeeded, of a tick", id, submitted[id], state)
		}
	}
	if len(jobs) != len(submitted) {
		return fmt.Errorf("%d jobs, want one for each of %d ticks", len(jobs), len(submitted))
	}
	return nil
}

// jobs returns the states of all jobs of the schedule, once they have ended.
func (k *killedSchedule) jobs(ctx context.Context, c *client.Client) (map[string]client.State, error) {
	states := make(map[string]client.State)
	for j, err := range c.List(ctx, client.ListOptions{Labels: client.Labels{"schedule": k.name}, PageSize: 200}) {
		if err == nil {
			j, err = c.Wait(ctx, j.ID)
		}
		if err != nil {
			return nil, err
		}
		states[j.ID] = j.State
	}
	return states, nil
}

// awaitOutcomes reads all outcomes, and then until each schedule has another one.
func awaitOutcomes(ctx context.Context, t *testing.T, c *client.Client, schedules []*killedSchedule) {
	t.Helper()
	read := func(k *killedSchedule) int {
		if err := k.read(ctx, c); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		return len(k.runs)
	}
	before := make([]int, len(schedules))
	for i, k := range schedules {
		before[i] = read(k)
	}
	for i, k := range schedules {
		until(ctx, t, 5*time.Minute, k.name+" has another outcome", func(context.Context) (bool, any) {
			n := read(k)
			return n > before[i], n
		})
	}
}

// awaitSubmission waits until a job was submitted.
func awaitSubmission(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	for total := int64(-1); ; {
		n, err := c.Count(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if total >= 0 && n.Total > total {
			return
		}
		total = n.Total
	}
}

// TestSchedulesAfterKills kills a server over and over while its schedules submit jobs: each tick has one outcome and at most one job, and no tick
// is left out.
func TestSchedulesAfterKills(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := newClient(p).api
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // takes seconds; a busy machine may need more
	defer cancel()
	var schedules []*killedSchedule
	for i := range 16 { // so that there is something to interrupt at any time
		k := &killedSchedule{name: fmt.Sprintf("s%d", i), overlap: client.ScheduleOverlapQueue, runs: make(map[time.Time]client.ScheduleRun)}
		if i%4 == 3 {
			k.overlap = client.ScheduleOverlapSkip
		}
		schedules = append(schedules, k)
		if err := k.create(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		for _, k := range schedules {
			if err := k.create(ctx, c); err != nil { // which changes nothing
				t.Fatal(err)
			}
		}
		awaitOutcomes(ctx, t, c, schedules)
		awaitSubmission(ctx, t, c)
		p.kill() // perhaps before the outcome of the tick is durable
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	awaitOutcomes(ctx, t, c, schedules) // of ticks after the one that was interrupted
	for _, k := range schedules {
		if _, err := c.PauseSchedule(ctx, k.name); err != nil {
			t.Fatal(err)
		}
	}
	settled, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ticks := 0
	for _, k := range schedules {
		// A tick whose job was submitted before the pause may get its outcome after it.
		for {
			jobs, err := k.jobs(ctx, c)
			if err == nil {
				err = k.read(ctx, c)
			}
			if err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
			if err = k.check(jobs); err == nil {
				break
			}
			select {
			case <-settled.Done():
				t.Fatalf("%s: %v", k.name, err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		ticks += len(k.runs)
	}
	t.Logf("%d ticks of %d schedules", ticks, len(schedules))
}
