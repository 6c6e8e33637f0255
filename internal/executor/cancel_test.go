package executor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name string
		plan fakePlan
		sub  func(*job.Submission)
		// immediately: no task is running
		atOnce bool
	}{
		{"running", fakePlan{Tasks: 1000, Work: 50 * time.Millisecond}, nil, false},
		{"blocked", fakePlan{Tasks: 1, Block: true}, nil, false},
		{"waiting", fakePlan{Tasks: 10, Park: time.Hour, Waiting: 10}, nil, true},
		{"delayed", fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
				change := tt.sub
				if change == nil {
					change = func(*job.Submission) {}
				}
				id := submit(t, e, tt.plan, change)
				time.Sleep(time.Second)
				j, err := e.Cancel(t.Context(), "acme", id)
				if err != nil {
					t.Fatal(err)
				}
				if _, local := l.(*fakeJournal); local && tt.atOnce && j.State != job.Cancelled || j.State != job.Cancelled && j.State != job.Cancelling {
					t.Errorf("answered %v", j.State)
				}
				synctest.Wait()
				want(t, l, id, job.Cancelled)
				if j, err := e.Cancel(t.Context(), "acme", id); err != nil || j.State != job.Cancelled {
					t.Errorf("again: %v, %v", j.State, err)
				}
				// The workers are free.
				next := submit(t, e, fakePlan{Tasks: 1})
				settle()
				want(t, l, next, job.Succeeded)
			})
		})
	}
}

// A job is cancelled only when its work has stopped.
func TestCancelIsAcknowledged(t *testing.T) {
	onBothSources(t, func(c *executor.Config) { c.Planner = stubborn{} }, func(t *testing.T, e *executor.Executor, l source) {
		id := submit(t, e, fakePlan{Tasks: 1})
		time.Sleep(time.Second)
		j, err := e.Cancel(t.Context(), "acme", id)
		if err != nil || j.State != job.Cancelling {
			t.Errorf("%v, %v; want cancelling", j.State, err)
		}
		time.Sleep(3 * time.Second)
		want(t, l, id, job.Cancelling)
		time.Sleep(2 * time.Second)
		want(t, l, id, job.Cancelled)
	})
}

// stubborn plans a task that takes five seconds and ignores its context.
type stubborn struct{ fakePlanner }

func (stubborn) Plan(_ context.Context, _, _ string, spec []byte) (job.Plan, []byte, error) {
	return stubbornPlan{fakePlan{Tasks: 2}}, spec, nil
}

func (s stubborn) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	if _, err := s.fakePlanner.Replan(ctx, tenant, kind, spec); err != nil {
		return nil, err
	}
	return stubbornPlan{fakePlan{Tasks: 2}}, nil
}

type stubbornPlan struct{ fakePlan }

func (stubbornPlan) Task(int, job.Resume) job.Task { return stubbornPlan{} }

func (stubbornPlan) Step(context.Context, time.Time, *job.Scratch) (job.Step, error) {
	time.Sleep(5 * time.Second)
	return job.Step{Partial: []byte{1}}, nil
}

func TestCancelUnknown(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, _ source) {
		if _, err := e.Cancel(t.Context(), "acme", job.NewID()); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
		id := submit(t, e, fakePlan{Tasks: 1})
		if _, err := e.Cancel(t.Context(), "other", id); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("another tenant's: %v, want ErrNotFound", err)
		}
	})
}

// A cancelled job closes its plan immediately, although its queue entry stays.
func TestCancelledPlansAreFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		plans := &heavy{}
		e := start(t, l, func(c *executor.Config) { c.Planner, c.Workers = plans, 1 })
		submit(t, e, fakePlan{Tasks: 1, Work: time.Hour}) // the worker is busy
		synctest.Wait()
		for range 10 {
			id := submit(t, e, fakePlan{Tasks: 1})
			if _, err := e.Cancel(t.Context(), "acme", id); err != nil {
				t.Fatal(err)
			}
		}
		if n := plans.closed.Load(); n != 10 {
			t.Errorf("%d plans of 10 were closed", n)
		}
	})
}

// Stop returns although a task never returns, as in a read from a mount that hangs.
func TestStopLeavesAStuckTask(t *testing.T) {
	var hung chan struct{}
	hangs := func(c *executor.Config) {
		hung = make(chan struct{})
		c.Planner = hanging{hung: hung}
	}
	onBothSources(t, hangs, func(t *testing.T, e *executor.Executor, _ source) {
		submit(t, e, fakePlan{Tasks: 1})
		synctest.Wait()
		grace, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := e.Stop(grace)
		if took := time.Since(began); !errors.Is(err, executor.ErrStuck) || took < 10*time.Second || took > 15*time.Second {
			t.Errorf("got %v after %s, want ErrStuck soon after 10 s", err, took)
		}
		close(hung)
		synctest.Wait()
	})
}

// hanging plans a task that does not return before hung is closed.
type hanging struct {
	fakePlanner
	hung chan struct{}
}

func (h hanging) Plan(_ context.Context, _, _ string, spec []byte) (job.Plan, []byte, error) {
	return hangingPlan{fakePlan{Tasks: 2}, h.hung}, spec, nil
}

func (h hanging) Replan(context.Context, string, string, []byte) (job.Plan, error) {
	return hangingPlan{fakePlan{Tasks: 2}, h.hung}, nil
}

type hangingPlan struct {
	fakePlan
	hung chan struct{}
}

func (p hangingPlan) Task(int, job.Resume) job.Task { return p }

func (p hangingPlan) Step(context.Context, time.Time, *job.Scratch) (job.Step, error) {
	<-p.hung
	return job.Step{Partial: []byte{1}}, nil
}
