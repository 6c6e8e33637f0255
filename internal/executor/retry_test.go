package executor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// flaky plans fakePlans whose tasks fail twice because of a source before they run, and wait for a minute after each failure.
type flaky struct {
	fakePlanner
	fakePlan
}

func (f flaky) Names() []string { return f.fakePlanner.Names() }

func (f flaky) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := f.Replan(ctx, tenant, kind, spec)
	return p, spec, err
}

func (f flaky) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	p, err := f.fakePlanner.Replan(ctx, tenant, kind, spec)
	if err == nil {
		f.fakePlan = p.(fakePlan)
	}
	return f, err
}

func (f flaky) Size() job.Size { return f.fakePlan.Size() }

func (f flaky) Task(i int, r job.Resume) job.Task {
	t := &flakyTask{Task: f.fakePlan.Task(i, r), started: r.Started}
	if n := len(r.Steps); n > 0 {
		t.last = *r.Steps[n-1].Retry
	}
	return t
}

type flakyTask struct {
	job.Task
	started time.Time
	last    job.Retry
}

func (t *flakyTask) Step(ctx context.Context, now time.Time, scratch *job.Scratch) (job.Step, error) {
	left := scratch.Get(scratchKey{}, func() any { return new(string) }).(*string)
	switch {
	case now.Sub(t.started) < t.last.After:
		return job.Step{ResumeAt: t.started.Add(t.last.After)}, nil
	case t.last.Attempts == 2 || *left != "": // the task below returns an error for what a failed step has left
		return t.Task.Step(ctx, now, scratch)
	}
	*left = "the half-done work of a failed step"
	t.last = job.Retry{Attempts: t.last.Attempts + 1, After: now.Sub(t.started) + time.Minute, Error: "no answer"}
	return job.Step{ResumeAt: now.Add(time.Minute), Retry: new(t.last)}, nil
}

// A failed attempt is recorded. The task waits for the next one without a worker, also over a restart, which neither shortens the wait
// nor begins anew.
func TestRetry(t *testing.T) {
	flakyPlans := func(c *executor.Config) { c.Planner, c.Workers = flaky{}, 1 }
	onBothSources(t, flakyPlans, func(t *testing.T, e *executor.Executor, l source) {
		for _, tasks := range []int{1, 3} {
			id := submit(t, e, fakePlan{Tasks: tasks})
			settle()
			j := want(t, l, id, job.Running)
			if j.Retries != int64(tasks) || j.Retry == nil || j.Retry.Attempts != 1 || j.Retry.Error != "no answer" || !j.Retry.At(&j).Equal(j.StartedAt.Add(time.Minute)) {
				t.Fatalf("%d tasks: %d retries, the last one %+v; want one for each, due a minute after the start", tasks, j.Retries, j.Retry)
			}
			if w := e.Work(); w.Busy != 0 {
				t.Errorf("%d workers are busy, want none", w.Busy)
			}
			time.Sleep(30 * time.Second)
			if err := e.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			e = l.next(t, flakyPlans)
			time.Sleep(28 * time.Second)
			synctest.Wait()
			if j := want(t, l, id, job.Running); j.Retries != int64(tasks) {
				t.Errorf("%d retries 59 s after the start, want %d", j.Retries, tasks)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if j := want(t, l, id, job.Running); j.Retries != int64(2*tasks) || j.Retry.Attempts != 2 {
				t.Errorf("%d retries 61 s after the start, want %d", j.Retries, 2*tasks)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			j = want(t, l, id, job.Succeeded)
			if d := j.FinishedAt.Sub(j.StartedAt); j.Retries != int64(2*tasks) || j.Retry != nil || d != 2*time.Minute {
				t.Errorf("%d retries, the last one %+v, after %s; want %d, none, 2m0s", j.Retries, j.Retry, d, 2*tasks)
			}
		}
	})
}

// A job that waits for another attempt can be cancelled, and times out.
func TestRetryEnds(t *testing.T) {
	onBothSources(t, func(c *executor.Config) { c.Planner = flaky{} }, func(t *testing.T, e *executor.Executor, l source) {
		cancelled := submit(t, e, fakePlan{Tasks: 3})
		late := submit(t, e, fakePlan{Tasks: 3}, func(s *job.Submission) { s.Timeout = 10 * time.Second })
		settle()
		if _, err := e.Cancel(t.Context(), "acme", cancelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if j := want(t, l, cancelled, job.Cancelled); j.Retries != 3 || j.Retry != nil {
			t.Errorf("%d retries, the last one %+v; want 3, none", j.Retries, j.Retry)
		}
		if j := want(t, l, late, job.Failed); j.Failure.Reason != job.FailedTimeout {
			t.Errorf("it failed with %v, want the timeout", j.Failure)
		}
	})
}
