package executor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

func shortWorker(c *executor.Config) { c.Workers, c.ShortWorkers = 1, 1 }

// TestShortWorker tests which jobs run while the only worker is busy.
func TestShortWorker(t *testing.T) {
	for _, c := range []struct {
		name string
		plan fakePlan
		prio job.Priority
		runs bool
	}{
		{"short", fakePlan{Tasks: 1}, job.Normal, true},
		{"short and high", fakePlan{Tasks: 1}, job.High, true},
		{"short and low", fakePlan{Tasks: 1}, job.Low, false},
		{"two tasks", fakePlan{Tasks: 2}, job.Normal, false},
		{"waits", fakePlan{Tasks: 1, Waiting: 1}, job.Normal, false},
		{"large", fakePlan{Tasks: 1, Memory: 1 << 20}, job.High, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeJournal(t)
				e := start(t, l, shortWorker)
				giant := submit(t, e, fakePlan{Tasks: 100, Work: time.Minute})
				synctest.Wait()
				id := submit(t, e, c.plan, func(s *job.Submission) { s.Priority = c.prio })
				settle()
				state := job.Queued
				if c.runs {
					state = job.Succeeded
				}
				want(t, l, id, state)
				want(t, l, giant, job.Running)
				time.Sleep(2 * time.Hour)
				want(t, l, id, job.Succeeded)
				want(t, l, giant, job.Succeeded)
			})
		})
	}
}

// TestShortWorkerOrder tests that short jobs behind a long one run when that has started, that pauses hold, and that many at the same time
// all run.
func TestShortWorkerOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, shortWorker)
		first := submit(t, e, fakePlan{Tasks: 2, Work: time.Minute})
		long := submit(t, e, fakePlan{Tasks: 2, Work: time.Minute})
		behind := submit(t, e, fakePlan{Tasks: 1})
		settle()
		want(t, l, first, job.Running)
		want(t, l, long, job.Queued)
		want(t, l, behind, job.Queued)
		time.Sleep(2 * time.Minute)
		want(t, l, behind, job.Succeeded)

		e.SetPauses(pauses(job.PauseKind, "toy"))
		held := submit(t, e, fakePlan{Tasks: 1})
		settle()
		want(t, l, held, job.Queued)
		e.SetPauses(job.Pauses{})
		time.Sleep(10 * time.Minute)
		want(t, l, held, job.Succeeded)

		var many []job.ID
		giant := submit(t, e, fakePlan{Tasks: 100, Work: time.Minute})
		synctest.Wait()
		for range 100 {
			many = append(many, submit(t, e, fakePlan{Tasks: 1, Work: time.Millisecond}))
		}
		settle()
		for _, id := range many {
			want(t, l, id, job.Succeeded)
		}
		want(t, l, giant, job.Running)
	})
}
