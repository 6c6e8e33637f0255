package executor_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/executor"
	"gather/internal/job"
)

// wallClock is a wall clock that tests can set; the monotonic clock is synctest's.
type wallClock struct{ ahead atomic.Int64 }

func (w *wallClock) now() time.Time { return time.Now().Round(0).Add(time.Duration(w.ahead.Load())) }

func (w *wallClock) step(d time.Duration) { w.ahead.Add(int64(d)) }

// wallSteps are the tested changes of the wall clock during a job.
var wallSteps = map[string]time.Duration{"ahead": time.Hour, "slightly ahead": 10 * time.Minute, "back": -time.Hour, "far back": -30 * 365 * 24 * time.Hour}

// A step of the wall clock while a job runs or waits does not change the time of its end or its outcome, because durations
// are measured on the monotonic clock.
func TestWallClockSteps(t *testing.T) {
	for name, step := range wallSteps {
		for _, c := range []struct {
			what string
			sub  job.Submission
			plan fakePlan
			// ends is the duration until the job ends; state is its final state.
			ends  time.Duration
			state job.State
		}{
			{"a wait", job.Submission{}, fakePlan{Tasks: 2, Park: 5 * time.Minute, Waiting: 2}, 5 * time.Minute, job.Succeeded},
			{"a wait below its timeout", job.Submission{Timeout: 10 * time.Minute}, fakePlan{Tasks: 1, Park: 5 * time.Minute, Waiting: 1}, 5 * time.Minute, job.Succeeded},
			{"a timeout", job.Submission{Timeout: 3 * time.Second}, fakePlan{Tasks: 1, Park: time.Hour, Waiting: 1}, 3 * time.Second, job.Failed},
			{"a delayed start", job.Submission{Delay: 2 * time.Second}, fakePlan{Tasks: 1}, 2 * time.Second, job.Succeeded},
		} {
			t.Run(name+"/"+c.what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var wall wallClock
					l := newFakeJournal(t)
					e := start(t, l, func(c *executor.Config) { c.Wall = wall.now })
					began := time.Now()
					id := submit(t, e, c.plan, func(s *job.Submission) { s.Timeout, s.Delay = c.sub.Timeout, c.sub.Delay })
					time.Sleep(300 * time.Millisecond)
					wall.step(step)
					time.Sleep(c.ends - 300*time.Millisecond - time.Millisecond)
					synctest.Wait()
					if got := l.job(id).State; got.Terminal() {
						t.Errorf("the job is %v %s after its submission, want it to end after %s", got, time.Since(began), c.ends)
					}
					time.Sleep(2 * time.Millisecond)
					synctest.Wait()
					if got := l.job(id).State; got != c.state {
						t.Errorf("the job is %v after %s, want %v", got, c.ends, c.state)
					}
				})
			})
		}
	}
}

// A waiting task runs no steps when the wall clock is set forward.
func TestWallClockStepDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wall wallClock
		l := newFakeJournal(t)
		reg := prometheus.NewRegistry()
		e := start(t, l, func(c *executor.Config) { c.Wall, c.Registerer = wall.now, reg })
		id := submit(t, e, fakePlan{Tasks: 1, Park: 5 * time.Minute, Waiting: 1})
		time.Sleep(time.Second)
		wall.step(10 * time.Minute)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		want(t, l, id, job.Succeeded)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var steps uint64
		for _, f := range families {
			if f.GetName() == "gather_task_step_duration_seconds" {
				steps += f.GetMetric()[0].GetHistogram().GetSampleCount()
			}
		}
		if steps != 2 {
			t.Errorf("the task took %d steps, want 2", steps)
		}
	})
}

// start_after is an instant of the wall clock, and follows changes of it.
func TestStartAtInstant(t *testing.T) {
	for name, c := range map[string]struct{ step, starts time.Duration }{
		"no step": {0, time.Hour}, "ahead": {30 * time.Minute, 30 * time.Minute}, "back": {-30 * time.Minute, 90 * time.Minute},
		"past it": {2 * time.Hour, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wall wallClock
				l := newFakeJournal(t)
				e := start(t, l, func(c *executor.Config) { c.Wall = wall.now })
				id := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = wall.now().Add(time.Hour) })
				wall.step(c.step)
				time.Sleep(c.starts - 10*time.Second)
				synctest.Wait()
				if got := l.job(id).State; got != job.Queued && c.starts > 10*time.Second {
					t.Errorf("the job is %v before its start", got)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				want(t, l, id, job.Succeeded)
			})
		})
	}
}

// On a cluster a job's age is measured by the clock of this node; the start time by another node's clock does not matter.
func TestClusterStartOfAnotherClock(t *testing.T) {
	for _, skew := range []time.Duration{-40 * time.Second, 40 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFakeCluster(t)
				r.skew = skew
				e, _ := startNode(t, r, nil)
				id := submit(t, e, fakePlan{Tasks: 4, Park: 20 * time.Second, Waiting: 4}, func(s *job.Submission) { s.Timeout = 25 * time.Second })
				late := submit(t, e, fakePlan{Tasks: 4, Park: time.Hour, Waiting: 4}, func(s *job.Submission) { s.Timeout = 25 * time.Second })
				time.Sleep(19 * time.Second)
				synctest.Wait()
				if got := r.job(id).State; got != job.Running {
					t.Errorf("the job is %v after 19s, want running", got)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				wantAll(t, r, id, 4)
				if got := r.job(late).State; got != job.Running {
					t.Errorf("the other job is %v after 21s, want running", got)
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if got := r.job(late).State; got != job.Failed {
					t.Errorf("the other job is %v after 26s, want failed", got)
				}
			})
		})
	}
}
