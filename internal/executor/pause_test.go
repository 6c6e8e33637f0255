package executor_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

func pauses(scope job.PauseScope, name string) job.Pauses {
	return job.NewPauses([]job.Pause{{Scope: scope, Name: name}})
}

// TestPause tests that a paused job starts after the pause, in the order of submission, whatever it is paused by.
func TestPause(t *testing.T) {
	for name, p := range map[string]job.Pauses{
		"kind": pauses(job.PauseKind, "toy"), "priority": pauses(job.PausePriority, "normal"), "tenant": pauses(job.PauseTenant, "acme"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeJournal(t)
				e := start(t, l, oneWorker)
				running := submit(t, e, fakePlan{Tasks: 3, Park: time.Hour, Waiting: 3})
				settle()
				e.SetPauses(p)
				var held []job.ID
				for range 3 {
					held = append(held, submit(t, e, fakePlan{Tasks: 1}))
				}
				delayed := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.Delay = time.Minute })
				cancelled := submit(t, e, fakePlan{Tasks: 1})
				if _, err := e.Cancel(t.Context(), "acme", cancelled); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				want(t, l, running, job.Running)
				want(t, l, cancelled, job.Cancelled)
				for _, id := range append(held, delayed) {
					j := want(t, l, id, job.Queued)
					if place, _ := e.Outlook(&j); place != 0 {
						t.Errorf("a paused job has position %d, want none", place)
					}
				}
				e.SetPauses(pauses(job.PauseKind, "other"))
				settle()
				var started []time.Time
				for _, id := range append(held, delayed) {
					started = append(started, want(t, l, id, job.Succeeded).StartedAt)
				}
				if !slices.IsSortedFunc(started, time.Time.Compare) {
					t.Errorf("got starts at %v, want the order of submission", started)
				}
				want(t, l, running, job.Running)
				time.Sleep(time.Hour)
				settle()
				want(t, l, running, job.Succeeded)
			})
		})
	}
}

// TestPauseOfQueued tests that jobs in the queue are taken out and pushed again, several times, without a job that starts twice.
func TestPauseOfQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.Workers, c.Pauses = 1, pauses(job.PauseTenant, "acme") })
		var ids []job.ID
		for range 50 {
			ids = append(ids, submit(t, e, fakePlan{Tasks: 2}))
		}
		for range 3 { // without letting the worker run in between
			e.SetPauses(nil)
			e.SetPauses(pauses(job.PauseTenant, "acme"))
		}
		settle()
		for _, id := range ids[10:] { // the worker may have started some
			if s := l.job(id).State; s != job.Queued && s != job.Succeeded {
				t.Errorf("got state %v, want queued, or succeeded for one that had started", s)
			}
		}
		e.SetPauses(nil)
		settle()
		for _, id := range ids {
			want(t, l, id, job.Succeeded)
		}
	})
}
