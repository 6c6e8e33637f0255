package schedule_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
	"gather/internal/schedule"
)

// A clockRun is a schedule on two servers that both take themselves for the leader, and whose clocks are set, each by itself.
type clockRun struct {
	*fakeServers
	rng     *rand.Rand
	skew    [2]time.Duration
	servers [2]*schedule.Scheduler

	// ticks are the outcomes that were read, manual the jobs of runs that a client requested.
	ticks  map[time.Time]schedule.Run
	manual map[job.ID]bool
}

// startServer starts server i with its own clock.
func (r *clockRun) startServer(i int) {
	r.t.Helper()
	wall := func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Now().Add(r.step + r.skew[i])
	}
	s, err := schedule.Open(r.t.Context(), schedule.Config{
		Documents: r, Jobs: r, Executor: r, Wall: wall, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		KeyRetention: 24 * time.Hour,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.servers[i] = s
}

// fault does something to the clocks, the servers or the schedule.
func (r *clockRun) fault(n int) {
	r.t.Helper()
	i := r.rng.IntN(2)
	step := time.Duration(r.rng.Int64N(int64(2*time.Hour))) - time.Hour
	if r.rng.IntN(8) == 0 {
		step *= 40 // more than keys are stored
	}
	switch r.rng.IntN(7) {
	case 0, 1:
		r.setClock(step)
	case 2:
		r.mu.Lock()
		r.skew[i] = step / 10
		r.mu.Unlock()
	case 3:
		r.servers[i].Close()
		if r.rng.IntN(2) == 0 {
			r.setClock(step)
		}
		r.startServer(i)
	case 4:
		r.mu.Lock()
		r.failPut = job.ErrStorage // after the submission of a job
		r.mu.Unlock()
	case 5:
		id, err := r.servers[i].Run(r.t.Context(), "acme", "nightly", fmt.Sprint(n))
		if err != nil {
			return // of failPut
		}
		r.manual[id] = true
	case 6:
		if _, err := r.servers[i].SetPaused(context.Background(), "acme", "nightly", r.rng.IntN(3) == 0); err != nil {
			r.t.Log(err) // of failPut
		}
	}
}

// read reads the outcomes, and fails the test if one has changed.
func (r *clockRun) read() *schedule.Schedule {
	r.t.Helper()
	one := r.get(r.servers[0])
	seen := make(map[time.Time]bool)
	for _, run := range one.Runs {
		if run.Manual {
			continue
		}
		if seen[run.Tick] {
			r.t.Fatalf("tick %s has two outcomes: %+v", run.Tick, one.Runs)
		}
		seen[run.Tick] = true
		before, ok := r.ticks[run.Tick]
		if ok && (before.Outcome != run.Outcome || before.Job != run.Job) && run.Outcome != schedule.Submitted {
			r.t.Fatalf("tick %s had the outcome %+v, and has %+v", run.Tick, before, run)
		}
		if ok && before.Outcome == schedule.Submitted && before.Job != run.Job {
			r.t.Fatalf("tick %s has the jobs %s and %s", run.Tick, before.Job, run.Job)
		}
		r.ticks[run.Tick] = run
	}
	return one
}

// check fails the test unless each job is of one tick, or of a request.
func (r *clockRun) check() {
	r.t.Helper()
	jobs := make(map[job.ID]time.Time)
	for tick, run := range r.ticks {
		if run.Outcome != schedule.Submitted {
			continue
		}
		if other, ok := jobs[run.Job]; ok {
			r.t.Errorf("job %s is of the ticks %s and %s", run.Job, other, tick)
		}
		jobs[run.Job] = tick
	}
	for id := range r.manual {
		jobs[id] = time.Time{}
	}
	all, _, err := r.List(r.t.Context(), job.Query{Tenant: "acme", Limit: 100_000})
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range all {
		if _, ok := jobs[all[i].ID]; !ok {
			r.t.Errorf("job %s, created at %s, is of no tick", all[i].ID, all[i].CreatedAt)
		}
		delete(jobs, all[i].ID)
	}
	if len(jobs) > 0 {
		r.t.Errorf("%d jobs of ticks do not exist: %v", len(jobs), slices.Collect(maps.Keys(jobs)))
	}
}

// Whatever the clocks of the servers do, each tick has one outcome and at most one job, and no job is of no tick. When the clock has passed
// the last tick, the next ones have jobs again.
func TestClockFaults(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &clockRun{
					fakeServers: newServers(t), rng: rand.New(rand.NewPCG(seed, 1)),
					ticks: make(map[time.Time]schedule.Run), manual: make(map[job.ID]bool),
				}
				r.startServer(0)
				r.startServer(1)
				d := every(t, time.Minute)
				d.Overlap = schedule.Overlaps()[seed%3]
				d.CatchUp.Runs = r.rng.IntN(5)
				r.run = time.Duration(r.rng.IntN(3)) * 40 * time.Second
				r.put(r.servers[0], d)
				for n := range 60 {
					r.fault(n)
					pass(time.Duration(r.rng.Int64N(int64(3 * time.Minute))))
					r.read()
				}
				r.mu.Lock()
				r.skew, r.failPut, r.run = [2]time.Duration{}, nil, 0
				r.mu.Unlock()
				if _, err := r.servers[0].SetPaused(t.Context(), "acme", "nightly", false); err != nil {
					t.Fatal(err)
				}
				pass(10 * time.Minute)
				one := r.read()
				if ahead := one.Cursor.Sub(r.now()); ahead > 0 {
					r.setClock(ahead)
				}
				before := len(r.ticks)
				for range 5 {
					pass(time.Minute)
					r.read()
				}
				if got := len(r.ticks) - before; got < 4 {
					t.Errorf("got %d outcomes in 5 minutes after the clock had passed the last tick, want 4 at least: %+v", got, r.read().Runs[:5])
				}
				if one = r.read(); one.Runs[0].Outcome != schedule.Submitted {
					t.Errorf("the last outcome is %+v, want submitted", one.Runs[0])
				}
				for _, s := range r.servers {
					s.Close()
				}
				pass(time.Hour) // the timers of the jobs
				r.check()
			})
		})
	}
}
