package executor_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gather/internal/executor"
	"gather/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts an executor on a fakeJournal and stops it at the end of the test.
func start(t *testing.T, l *fakeJournal, change func(*executor.Config)) *executor.Executor {
	t.Helper()
	c := executor.DefaultConfig()
	c.Workers = 2
	c.Journal, c.Planner = l, fakePlanner{}
	c.Logger = slog.New(slog.DiscardHandler)
	c.Registerer = prometheus.NewRegistry()
	if change != nil {
		change(&c)
	}
	e, err := executor.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		none, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Stop(none)
	})
	return e
}

// oneWorker is the smallest pool.
func oneWorker(c *executor.Config) { c.Workers = 1 }

func submit(t *testing.T, e *executor.Executor, p fakePlan, change ...func(*job.Submission)) job.ID {
	t.Helper()
	s := job.Submission{Tenant: "acme", Kind: "toy", Spec: p.spec(), Priority: job.Normal, Retention: time.Hour}
	for _, c := range change {
		c(&s)
	}
	jobs, err := e.Submit(t.Context(), []job.Submission{s}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0].ID
}

// A source provides an executor's jobs: a fakeJournal or a fakeCluster.
type source interface {
	// job returns the view of a job.
	job(id job.ID) job.Job
	// Results is executor.Config.Results.
	Results(tenant string, id job.ID) (ofJob, ofTenant int64)
	// next starts another executor on the same jobs.
	next(t *testing.T, change func(*executor.Config)) *executor.Executor
}

func (l *fakeJournal) next(t *testing.T, change func(*executor.Config)) *executor.Executor {
	t.Helper()
	return start(t, l, change)
}

func (r *fakeCluster) next(t *testing.T, change func(*executor.Config)) *executor.Executor {
	t.Helper()
	e, _ := startNode(t, r, change)
	return e
}

// onBothSources runs a test with an executor on a journal, and with the only node of a cluster.
func onBothSources(t *testing.T, change func(*executor.Config), test func(t *testing.T, e *executor.Executor, s source)) {
	t.Helper()
	for name, newSource := range map[string]func(t *testing.T) source{
		"local":   func(t *testing.T) source { return newFakeJournal(t) },
		"cluster": func(t *testing.T) source { return newFakeCluster(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSource(t)
				t.Cleanup(func() { time.Sleep(5 * time.Second) }) // effects stop after the executor
				test(t, s.next(t, func(c *executor.Config) {
					c.Results = s.Results
					if change != nil {
						change(c)
					}
				}), s)
			})
		})
	}
}

func want(t *testing.T, l source, id job.ID, s job.State) job.Job {
	t.Helper()
	j := l.job(id)
	if j.State != s {
		t.Errorf("the job is %v (%v), want %v", j.State, j.Failure, s)
	}
	return j
}

// Under synctest the second passes only when every job has ended or is blocked.
func settle() { time.Sleep(time.Second); synctest.Wait() }

func TestRuns(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
		for _, p := range []fakePlan{{Tasks: 0}, {Tasks: 1}, {Tasks: 1000}, {Tasks: 3, Park: time.Millisecond, Waiting: 3}} {
			id := submit(t, e, p)
			settle()
			j := want(t, l, id, job.Succeeded)
			if string(j.Result) != fmt.Sprint(p.Tasks) || j.TasksDone != p.Tasks || j.Progress.Completed != int64(p.Tasks) {
				t.Errorf("%+v: result %s, %d tasks done, progress %+v", p, j.Result, j.TasksDone, j.Progress)
			}
		}
	})
}

// A thousand waits of five seconds take five seconds on one worker, which meanwhile does other work.
func TestWaitingHoldsNoWorker(t *testing.T) {
	onBothSources(t, oneWorker, func(t *testing.T, e *executor.Executor, l source) {
		if c, ok := l.(*fakeCluster); ok {
			c.partitions = 1000
		}
		sleeper := submit(t, e, fakePlan{Tasks: 1000, Park: 5 * time.Second, Waiting: 1000})
		synctest.Wait() // it has started before the other
		worker := submit(t, e, fakePlan{Tasks: 10, Work: 100 * time.Millisecond})
		time.Sleep(4 * time.Second)
		want(t, l, worker, job.Succeeded)
		want(t, l, sleeper, job.Running)
		time.Sleep(time.Second)
		synctest.Wait()
		j := want(t, l, sleeper, job.Succeeded)
		if d := j.FinishedAt.Sub(j.CreatedAt); d != 5*time.Second {
			t.Errorf("took %v, want 5s", d)
		}
	})
}

// A single job on an idle server uses all workers.
func TestOneJobHasAllWorkers(t *testing.T) {
	onBothSources(t, func(c *executor.Config) { c.Workers = 4 }, func(t *testing.T, e *executor.Executor, l source) {
		time.Sleep(time.Second) // all workers wait
		id := submit(t, e, fakePlan{Tasks: 8, Work: time.Second})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(t, l, id, job.Succeeded)
	})
}

// A small job behind huge ones starts within a task or two.
func TestSmallBehindHuge(t *testing.T) {
	onBothSources(t, oneWorker, func(t *testing.T, e *executor.Executor, l source) {
		for range 20 {
			submit(t, e, fakePlan{Tasks: 100_000, Work: 10 * time.Millisecond})
		}
		time.Sleep(10 * time.Second)
		id := submit(t, e, fakePlan{Tasks: 1})
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		want(t, l, id, job.Succeeded)
	})
}

// Huge jobs make progress under a flood of small ones, and low priority under a flood of high.
func TestNoStarvation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		huge := submit(t, e, fakePlan{Tasks: 1000, Work: time.Millisecond})
		low := submit(t, e, fakePlan{Tasks: 1000, Work: time.Millisecond}, func(s *job.Submission) { s.Priority = job.Low })
		for range 400 {
			submit(t, e, fakePlan{Tasks: 1, Work: time.Millisecond})
			submit(t, e, fakePlan{Tasks: 1, Work: time.Millisecond}, func(s *job.Submission) { s.Priority = job.High })
		}
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		if n := l.job(huge).TasksDone; n < 10 {
			t.Errorf("the running job ran %d of 400 tasks", n)
		}
		if n := l.job(low).TasksDone; n < 10 {
			t.Errorf("the low priority ran %d of 400 tasks", n)
		}
	})
}

// While all priorities have work they run tasks in the ratio 16 to 4 to 1.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		ids := make(map[job.Priority]job.ID)
		for _, p := range job.Priorities() {
			ids[p] = submit(t, e, fakePlan{Tasks: 10_000, Work: time.Millisecond}, func(s *job.Submission) { s.Priority = p })
		}
		time.Sleep(2100 * time.Millisecond)
		synctest.Wait()
		for p, tasks := range map[job.Priority]int{job.High: 1600, job.Normal: 400, job.Low: 100} {
			if n := l.job(ids[p]).TasksDone; n < tasks-20 || n > tasks+20 {
				t.Errorf("%v ran %d tasks of 2100, want about %d", p, n, tasks)
			}
		}
	})
}

// Jobs of one priority run the same number of tasks.
func TestFairBetweenJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		var ids []job.ID
		for range 5 {
			ids = append(ids, submit(t, e, fakePlan{Tasks: 1000, Work: time.Millisecond}))
		}
		time.Sleep(time.Second)
		for _, id := range ids {
			if n := l.job(id).TasksDone; n < 198 || n > 202 {
				t.Errorf("a job ran %d tasks of 1000, want about 200", n)
			}
		}
	})
}

// position returns the position of a queued job.
func position(e *executor.Executor, id job.ID) int {
	place, _ := e.Outlook(&job.Job{ID: id, State: job.Queued})
	return place
}

func TestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		submit(t, e, fakePlan{Tasks: 1, Work: 10 * time.Second})
		synctest.Wait()
		var ids []job.ID
		for range 5 {
			ids = append(ids, submit(t, e, fakePlan{Tasks: 1, Work: 10 * time.Second}))
		}
		later := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) })
		if _, err := e.Cancel(t.Context(), "acme", ids[1]); err != nil {
			t.Fatal(err)
		}
		for i, place := range []int{1, 0, 2, 3, 4} {
			if got := position(e, ids[i]); got != place {
				t.Errorf("job %d is at %d, want %d", i, got, place)
			}
		}
		if got := position(e, later); got != 0 {
			t.Errorf("a job that starts later is at %d, want 0", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := position(e, ids[3]); got != 2 {
			t.Errorf("after one task job 3 is at %d, want 2", got)
		}
	})
}

func TestStartAfter(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
		id := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Minute) })
		time.Sleep(59 * time.Second)
		want(t, l, id, job.Queued)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, l, id, job.Succeeded)
	})
}

func TestTimeout(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
		limit := func(s *job.Submission) { s.Timeout = 3 * time.Second }
		ids := []job.ID{
			submit(t, e, fakePlan{Tasks: 1, Block: true}, limit),
			submit(t, e, fakePlan{Tasks: 5, Park: time.Hour, Waiting: 5}, limit),
			submit(t, e, fakePlan{Tasks: 1000, Work: 100 * time.Millisecond}, limit),
		}
		time.Sleep(3500 * time.Millisecond)
		for _, id := range ids {
			j := want(t, l, id, job.Failed)
			if j.Failure == nil || j.Failure.Reason != job.FailedTimeout {
				t.Errorf("failure %v", j.Failure)
			}
		}
		quick := submit(t, e, fakePlan{Tasks: 1}, limit)
		time.Sleep(10 * time.Second)
		want(t, l, quick, job.Succeeded)
	})
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		plan   fakePlan
		reason job.FailureReason
		detail string
	}{
		{fakePlan{Tasks: 1, Panic: true}, job.FailedPanic, "panicked"},
		{fakePlan{Tasks: 100, Panic: true}, job.FailedPanic, "panicked"},
		{fakePlan{Tasks: 3, Error: "out of luck"}, job.FailedTask, "out of luck"},
		{fakePlan{Tasks: 3, Reduce: "error"}, job.FailedTask, "no outcome"},
		{fakePlan{Tasks: 3, Reduce: "panic"}, job.FailedPanic, "panicked"},
		{fakePlan{Tasks: 3, Reduce: "add"}, job.FailedPanic, "panicked"},
		{fakePlan{Tasks: 3, Make: true}, job.FailedPanic, "panicked"},
	} {
		onBothSources(t, nil, func(t *testing.T, e *executor.Executor, l source) {
			bystander := submit(t, e, fakePlan{Tasks: 10, Work: 10 * time.Millisecond})
			id := submit(t, e, tt.plan)
			settle()
			j := want(t, l, id, job.Failed)
			if j.Failure == nil || j.Failure.Reason != tt.reason || !strings.Contains(j.Failure.Detail, tt.detail) {
				t.Errorf("%+v: failure %v", tt.plan, j.Failure)
			}
			if strings.Contains(fmt.Sprint(j.Failure), "goroutine") {
				t.Error("the failure shows a stack")
			}
			want(t, l, bystander, job.Succeeded)
		})
	}
}

// A job whose results pile up before the disk gets no further tasks until they are written.
func TestResultsAreNotPiledUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		l.slow = time.Second
		e := start(t, l, func(c *executor.Config) { c.Planner = bulky{} })
		id := submit(t, e, fakePlan{})
		for range 10 {
			before := len(l.tasksDone(id))
			time.Sleep(time.Second)
			synctest.Wait()
			if n := len(l.tasksDone(id)) - before; n < 1 || n > 12 {
				t.Fatalf("%d results of 200 KiB in a second", n)
			}
		}
		time.Sleep(2 * time.Minute)
		want(t, l, id, job.Succeeded)
	})
}

func TestWork(t *testing.T) {
	onBothSources(t, nil, func(t *testing.T, e *executor.Executor, _ source) {
		waiting := submit(t, e, fakePlan{Tasks: 3, Park: time.Hour, Waiting: 3})
		blocked := submit(t, e, fakePlan{Tasks: 1, Block: true})
		submit(t, e, fakePlan{Tasks: 1})
		submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) })
		time.Sleep(time.Second)
		w := e.Work()
		want := []job.NodeJob{
			{ID: waiting, Tenant: "acme", Kind: "toy", Waiting: 3}, {ID: blocked, Tenant: "acme", Kind: "toy", Running: 1},
		}
		if w.Workers != 2 || w.Busy != 1 || w.Waiting != 3 || !slices.Equal(w.Jobs, want) {
			t.Errorf("%+v, want two jobs", w)
		}
		for range 200 {
			submit(t, e, fakePlan{Tasks: 2, Park: time.Hour, Waiting: 2})
		}
		time.Sleep(time.Second)
		if n := len(e.Work().Jobs); n != 100 {
			t.Errorf("%d jobs are listed, want 100 of 202", n)
		}
	})
}

// A failed step leaves nothing in the scratch space of its worker.
func TestScratchOfFailedStep(t *testing.T) {
	for _, failing := range []fakePlan{{Tasks: 1, Panic: true}, {Tasks: 1, Error: "oh"}} {
		onBothSources(t, oneWorker, func(t *testing.T, e *executor.Executor, l source) {
			first := submit(t, e, failing)
			settle()
			want(t, l, first, job.Failed)
			second := submit(t, e, fakePlan{Tasks: 3})
			settle()
			want(t, l, second, job.Succeeded)
		})
	}
}
