package executor_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
)

// after makes a submission wait for jobs.
func after(ids ...job.ID) func(*job.Submission) {
	return func(s *job.Submission) {
		for _, id := range ids {
			s.After = append(s.After, job.Dependency{ID: id})
		}
	}
}

// onVolatile runs a test with an executor on a journal that resolves dependencies. Restart stops the executor and starts the next.
func onVolatile(t *testing.T, test func(t *testing.T, e *executor.Executor, state func(job.ID) job.Job, restart func() *executor.Executor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := &journaltest.Volatile{}
		open := func() *executor.Executor { return start(t, nil, func(c *executor.Config) { c.Journal = v }) }
		e := open()
		state := func(id job.ID) job.Job {
			j, err := v.Get(t.Context(), "acme", id)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		test(t, e, state, func() *executor.Executor {
			if err := e.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			v = v.Reopen()
			e = open()
			return e
		})
	})
}

// A job runs after the jobs before it, and no earlier, also when the server is restarted in between.
func TestAfter(t *testing.T) {
	for name, restarted := range map[string]bool{"without a restart": false, "with a restart": true} {
		t.Run(name, func(t *testing.T) {
			onVolatile(t, func(t *testing.T, e *executor.Executor, state func(job.ID) job.Job, restart func() *executor.Executor) {
				began := time.Now()
				a := submit(t, e, fakePlan{Tasks: 1, Park: 10 * time.Second, Waiting: 1})
				b := submit(t, e, fakePlan{Tasks: 1, Park: 20 * time.Second, Waiting: 1})
				c := submit(t, e, fakePlan{Tasks: 1}, after(a, b))
				d := submit(t, e, fakePlan{Tasks: 1}, after(c), func(s *job.Submission) { s.Delay = time.Minute })
				settle()
				if restarted {
					restart()
				}
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if j := state(c); j.State != job.Queued || j.Waits != 2 {
					t.Errorf("the job is %v and waits for %b while one job runs, want queued and 10", j.State, j.Waits)
				}
				time.Sleep(25 * time.Second)
				synctest.Wait()
				if j := state(c); j.State != job.Succeeded || j.StartedAt.Before(state(b).FinishedAt) {
					t.Errorf("the job is %v, started at %v, want succeeded, after %v", j.State, j.StartedAt, state(b).FinishedAt)
				}
				if j := state(d); j.State != job.Queued || j.Waits != 0 {
					t.Errorf("the delayed job is %v and waits for %b, want queued and 0", j.State, j.Waits)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if j := state(d); j.State != job.Succeeded || j.StartedAt.Sub(began) < time.Minute {
					t.Errorf("the delayed job is %v, %v after the submission, want succeeded, after a minute", j.State, j.StartedAt.Sub(began))
				}
			})
		})
	}
}

// A job is cancelled with the reason when a job before it does not succeed, or not in time; it does not matter when.
func TestAfterUnmet(t *testing.T) {
	onVolatile(t, func(t *testing.T, e *executor.Executor, state func(job.ID) job.Job, restart func() *executor.Executor) {
		failing := submit(t, e, fakePlan{Tasks: 1, Park: 10 * time.Second, Waiting: 1, Error: "no"})
		long := submit(t, e, fakePlan{Tasks: 1, Park: time.Hour, Waiting: 1})
		cancelled := submit(t, e, fakePlan{Tasks: 1, Park: time.Hour, Waiting: 1})
		held := map[string]job.ID{
			"of a job that fails":        submit(t, e, fakePlan{Tasks: 1}, after(long, failing)),
			"of a job that is cancelled": submit(t, e, fakePlan{Tasks: 1}, after(cancelled)),
			"of a slow job":              submit(t, e, fakePlan{Tasks: 1}, after(long), func(s *job.Submission) { s.AfterTimeout = 30 * time.Second }),
		}
		held["of a held job"] = submit(t, e, fakePlan{Tasks: 1}, after(held["of a job that fails"]))
		own := submit(t, e, fakePlan{Tasks: 1}, after(long))
		settle()
		for _, id := range []job.ID{cancelled, own} {
			if _, err := e.Cancel(t.Context(), "acme", id); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		e = restart()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		held["of a job that had failed"] = submit(t, e, fakePlan{Tasks: 1}, after(failing))
		held["of a job that was cancelled with its submission"] = submit(t, e, fakePlan{Tasks: 1}, after(held["of a job that had failed"]))
		for name, id := range held {
			j := state(id)
			if j.State != job.Cancelled || j.Failure == nil || j.Failure.Reason != job.FailedDependency || !j.StartedAt.IsZero() {
				t.Errorf("the job %s is %v with %+v, started at %v, want cancelled with %v, not started", name, j.State, j.Failure, j.StartedAt, job.FailedDependency)
			}
		}
		if j := state(own); j.State != job.Cancelled || j.Failure != nil {
			t.Errorf("the job that a client cancelled is %v with %+v, want cancelled without a failure", j.State, j.Failure)
		}
		if got := state(long).State; got != job.Running {
			t.Errorf("the slow job is %v, want running", got)
		}
	})
}

// The errors of a submission have the place of the job that is wrong.
func TestAfterUnknown(t *testing.T) {
	onVolatile(t, func(t *testing.T, e *executor.Executor, state func(job.ID) job.Job, _ func() *executor.Executor) {
		a := submit(t, e, fakePlan{Tasks: 1})
		settle()
		for name, c := range map[string]struct {
			sub  job.Submission
			want string
		}{
			"unknown job":       {job.Submission{Tenant: "acme", After: []job.Dependency{{ID: a}, {ID: job.NewID()}}}, "/after/1"},
			"another tenant's":  {job.Submission{Tenant: "other", After: []job.Dependency{{ID: a}}}, "/after/0"},
			"too long a wait":   {job.Submission{Tenant: "acme", After: []job.Dependency{{ID: a}}, AfterTimeout: 1000 * 24 * time.Hour}, "/after_timeout"},
			"job of this batch": {job.Submission{Tenant: "acme", After: []job.Dependency{{ID: job.ID{1}}}}, "/after/0"},
		} {
			c.sub.Kind, c.sub.Spec, c.sub.Priority = "toy", fakePlan{Tasks: 1}.spec(), job.Normal
			_, err := e.Submit(t.Context(), []job.Submission{c.sub}, nil, false)
			invalid, ok := errors.AsType[*fields.Errors](err)
			if !ok || !strings.Contains(invalid.Error(), c.want) {
				t.Errorf("%s: got %v, want an error at %s", name, err, c.want)
			}
		}
		if got := state(a).State; got != job.Succeeded {
			t.Errorf("the job is %v, want succeeded", got)
		}
		one := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{Tasks: 1}.spec(), Priority: job.Normal}
		two := one
		two.After = []job.Dependency{{Index: 0}, {ID: a}}
		jobs, err := e.Submit(t.Context(), []job.Submission{one, two}, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := jobs[1]; len(got.After) != 2 || got.After[0] != jobs[0].ID || got.Waits != 1 {
			t.Errorf("the second job comes after %v and waits for %b, want %v and 1", got.After, got.Waits, jobs[0].ID)
		}
		settle()
		if got := state(jobs[1].ID).State; got != job.Succeeded {
			t.Errorf("the second job is %v, want succeeded", got)
		}
	})
}

// A submission after a job that too many jobs wait for is an error with its place.
func TestTooManyDependents(t *testing.T) {
	onVolatile(t, func(t *testing.T, e *executor.Executor, _ func(job.ID) job.Job, _ func() *executor.Executor) {
		first := submit(t, e, fakePlan{Tasks: 1, Park: time.Hour, Waiting: 1})
		one := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{Tasks: 1}.spec(), Priority: job.Normal, After: []job.Dependency{{ID: first}}}
		if _, err := e.Submit(t.Context(), slices.Repeat([]job.Submission{one}, job.MaxDependents), nil, false); err != nil {
			t.Fatal(err)
		}
		free := one
		free.After = nil
		later := one
		later.After = []job.Dependency{{Index: 0}, {ID: first}}
		for want, subs := range map[string][]job.Submission{"/after/0": {one}, "/jobs/1/after/1": {free, later}} {
			_, err := e.Submit(t.Context(), subs, nil, false)
			if invalid, ok := errors.AsType[*fields.Errors](err); !ok || len(invalid.List) != 1 || invalid.List[0].Pointer != want {
				t.Errorf("got %v, want an error at %s", err, want)
			}
		}
	})
}
