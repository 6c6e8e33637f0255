package executor_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/executor"
	"gather/internal/job"
)

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, nil)
		id := submit(t, e, fakePlan{Tasks: 1, Work: time.Second})
		e.Drain()
		sub := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{}.spec(), Priority: job.Normal}
		if _, err := e.Submit(t.Context(), []job.Submission{sub}, nil, false); !errors.Is(err, job.ErrDraining) {
			t.Errorf("%v, want ErrDraining", err)
		}
		time.Sleep(2 * time.Second)
		want(t, l, id, job.Succeeded)
	})
}

// Stop lets running tasks finish and starts no others; the next executor continues from there.
func TestStopAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, nil)
		running := submit(t, e, fakePlan{Tasks: 10, Work: time.Second})
		waiting := submit(t, e, fakePlan{Tasks: 2, Park: time.Minute, Waiting: 2})
		delayed := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) })
		time.Sleep(2500 * time.Millisecond)
		before := time.Now()
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(before); d > time.Second {
			t.Errorf("the stop took %v", d)
		}
		done := len(l.tasksDone(running))
		if done < 4 || done > 8 {
			t.Fatalf("%d tasks done at the stop", done)
		}
		time.Sleep(20 * time.Second)
		if n := len(l.tasksDone(running)); n != done {
			t.Fatalf("%d tasks done after the stop", n-done)
		}

		start(t, l, nil)
		time.Sleep(10 * time.Second)
		want(t, l, running, job.Succeeded)
		if tasks := l.tasksDone(running); len(tasks) != 10 {
			t.Errorf("tasks %v, want each once", tasks)
		}
		want(t, l, waiting, job.Running)
		want(t, l, delayed, job.Queued)
		time.Sleep(time.Minute)
		j := want(t, l, waiting, job.Succeeded)
		if d := j.FinishedAt.Sub(j.StartedAt); d != time.Minute {
			t.Errorf("the wait took %v over the stop, want 1m", d)
		}
		time.Sleep(time.Hour)
		want(t, l, delayed, job.Succeeded)
	})
}

// A task that does not end within the grace period is cancelled, and restarted by the next executor.
func TestStopGrace(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
		id := submit(t, e, fakePlan{Tasks: 1, Work: time.Hour})
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		before := time.Now()
		if err := e.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if d := time.Since(before); d != 5*time.Second {
			t.Errorf("the stop took %v, want 5s", d)
		}
		l.next(t, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, l, id, job.Succeeded)
	})
}

// Stop returns after the grace period, although the journal blocks and jobs wait for it.
func TestStopWhileTheJournalBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		for _, p := range []fakePlan{{Tasks: 1, Work: time.Second}, {Tasks: 1, Park: time.Second, Waiting: 1}, {Tasks: 2, Block: true}} {
			submit(t, e, p, func(s *job.Submission) { s.Timeout = 2 * time.Second })
		}
		l.mu.Lock()
		l.blocked = true
		l.mu.Unlock()
		time.Sleep(5 * time.Second)
		grace, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		before := time.Now()
		if err := e.Stop(grace); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if d := time.Since(before); d != 3*time.Second {
			t.Errorf("the stop took %v, want 3s", d)
		}
	})
}

// A job that was cancelling in a crash is cancelled after the restart; a timeout counts from the start of the job.
func TestRecoverEndings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.Planner, c.Workers = stubborn{}, 4 })
		cancelling := submit(t, e, fakePlan{Tasks: 1})
		late := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.Timeout = 10 * time.Second })
		time.Sleep(time.Second)
		if _, err := e.Cancel(t.Context(), "acme", cancelling); err != nil {
			t.Fatal(err)
		}
		// A crash: later writes of the old executor are ignored.
		l2 := newFakeJournal(t)
		l.mu.Lock()
		for id, p := range l.jobs {
			l2.jobs[id] = &page{view: p.view, spec: p.spec, log: slices.Clone(p.log)}
		}
		l.mu.Unlock()
		time.Sleep(9 * time.Second)
		start(t, l2, func(c *executor.Config) { c.Planner = blocked{} })
		synctest.Wait()
		want(t, l2, cancelling, job.Cancelled)
		settle()
		want(t, l2, late, job.Failed)
	})
}

// blocked plans tasks that end only when they are cancelled.
type blocked struct{ fakePlanner }

func (blocked) Replan(context.Context, string, string, []byte) (job.Plan, error) {
	return fakePlan{Tasks: 2, Block: true}, nil
}

// A job that this version cannot plan fails, and does not prevent the server from starting.
func TestRecoverUnknownKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.Planner = stubborn{} })
		s := job.Submission{Tenant: "acme", Kind: "other", Spec: []byte("{}"), Priority: job.Normal, StartAfter: time.Now().Add(time.Hour)}
		jobs, err := e.Submit(t.Context(), []job.Submission{s}, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		start(t, l, nil)
		settle()
		want(t, l, jobs[0].ID, job.Failed)
	})
}

// A submission that the journal rejects leaves nothing behind.
func TestStorageRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		l.fail = &job.Rejection{Err: job.ErrStorage}
		e := start(t, l, func(c *executor.Config) { c.MaxJobs = 1 })
		sub := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{Tasks: 5, Work: time.Second}.spec(), Priority: job.Normal}
		for range 3 {
			if _, err := e.Submit(t.Context(), []job.Submission{sub}, nil, false); !errors.Is(err, job.ErrStorage) {
				t.Fatalf("%v, want ErrStorage", err)
			}
		}
		settle()
		l.fail = nil
		id := submit(t, e, fakePlan{Tasks: 1})
		settle()
		want(t, l, id, job.Succeeded)
	})
}

// Submit returns when the job is durable; its tasks start before.
func TestSubmitWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		l.slow = 3 * time.Second
		e := start(t, l, nil)
		before := time.Now()
		id := submit(t, e, fakePlan{Tasks: 1})
		if d := time.Since(before); d != 3*time.Second {
			t.Errorf("submit returned after %v, want 3s", d)
		}
		if j := l.job(id); !j.FinishedAt.Equal(before) {
			t.Errorf("finished at %v, want %v", j.FinishedAt, before)
		}
		time.Sleep(10 * time.Second)
	})
}

// A partial of an unknown version does not fail its job: a server does not start, and a node releases the reduction for a
// node of the right version.
func TestPartialOfAnotherVersion(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newFakeJournal(t)
			e := start(t, l, oneWorker)
			submit(t, e, fakePlan{Tasks: 2, Work: time.Second})
			time.Sleep(1500 * time.Millisecond)
			none, cancel := context.WithCancel(t.Context())
			cancel()
			_ = e.Stop(none)
			c := executor.DefaultConfig()
			c.Journal, c.Planner, c.Logger, c.Registerer = l, ofAnotherVersion{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()
			if e, err := executor.New(t.Context(), c); !errors.Is(err, job.ErrVersion) {
				t.Errorf("got %v, %v, want %v", e, err, job.ErrVersion)
			}
		})
	})
	t.Run("cluster", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFakeCluster(t)
			e, _ := startNode(t, r, func(c *executor.Config) { c.Planner = ofAnotherVersion{} })
			id := submit(t, e, fakePlan{Tasks: 2})
			time.Sleep(10 * time.Second)
			want(t, r, id, job.Running)
			if err := e.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			startNode(t, r, nil)
			settle()
			want(t, r, id, job.Succeeded)
		})
	})
}

// ofAnotherVersion plans jobs whose partials this version cannot read.
type ofAnotherVersion struct{ fakePlanner }

func (ofAnotherVersion) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	p, err := fakePlanner{}.Replan(ctx, tenant, kind, spec)
	if plan, ok := p.(fakePlan); ok {
		plan.Reduce = "version"
		return plan, nil
	}
	return p, err
}
