package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/executor"
	"gather/internal/fields"
	"gather/internal/job"
)

// startNode starts an executor as a node of the fakeCluster. At the end of the test it is stopped, and must then hold no lease.
func startNode(t *testing.T, r *fakeCluster, change func(*executor.Config)) (*executor.Executor, *fakeNode) {
	t.Helper()
	m := r.join(fmt.Sprint("node ", len(r.nodes)))
	c := executor.DefaultConfig()
	c.Workers = 2
	c.Journal, c.Cluster, c.Planner = m, m, fakePlanner{}
	c.Logger = slog.New(slog.DiscardHandler)
	c.Registerer = prometheus.NewRegistry()
	if change != nil {
		change(&c)
	}
	var err error
	if m.e, err = executor.New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // all workers have requested a lease
	t.Cleanup(func() {
		none, cancel := context.WithCancel(context.Background())
		cancel()
		_ = m.e.Stop(none)
		r.mu.Lock()
		defer r.mu.Unlock()
		for h := range r.leases {
			if h.m == m {
				t.Errorf("task %d of a stopped node is still leased", h.msg.task)
			}
		}
	})
	return m.e, m
}

// wantAll checks that a job has succeeded with every item once.
func wantAll(t *testing.T, r *fakeCluster, id job.ID, n int) {
	t.Helper()
	j := r.job(id)
	if j.State != job.Succeeded || string(j.Result) != fmt.Sprint(n) || j.TasksDone != n || j.Progress.Completed != int64(n) {
		t.Errorf("the job is %v (%v), result %s, %d of %d tasks done, %+v", j.State, j.Failure, j.Result, j.TasksDone, n, j.Progress)
	}
	want := make([]int64, n)
	for i := range want {
		want[i] = int64(i)
	}
	if got := r.items(id); !slices.Equal(got, want) {
		t.Errorf("items %v of %d", got, n)
	}
}

func wantState(t *testing.T, r *fakeCluster, id job.ID, s job.State) job.Job {
	t.Helper()
	j := r.job(id)
	if j.State != s {
		t.Errorf("the job is %v (%v), want %v", j.State, j.Failure, s)
	}
	return j
}

// All nodes run tasks of a job, regardless of which one accepted the submission.
func TestClusterRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, nil)
		startNode(t, r, nil)
		for _, p := range []fakePlan{
			{Tasks: 0},
			{Tasks: 1},
			{Tasks: 1, Waiting: 1},
			{Tasks: 40, Work: time.Millisecond},
			{Tasks: 8, Park: 5 * time.Second, Waiting: 8},
		} {
			id := submit(t, e, p)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			wantAll(t, r, id, p.Tasks)
			if had := r.leasesByNode(id); p.Tasks > 1 && (had["node 0"] == 0 || had["node 1"] == 0) {
				t.Errorf("%+v: got leases %v, want some on both nodes", p, had)
			}
			if n := r.appends[id]; p.Tasks <= 1 && n != 1 {
				t.Errorf("%+v: %d appends, want 1", p, n)
			}
		}
		if r.out != 0 {
			t.Errorf("%d leases were not released", r.out)
		}
	})
}

// A waiting task occupies no worker on any node.
func TestClusterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, oneWorker)
		id := submit(t, e, fakePlan{Tasks: 4, Park: time.Hour, Waiting: 4})
		time.Sleep(time.Minute)
		if w := e.Work(); w.Busy != 0 || w.Waiting != 4 || len(w.Jobs) != 1 || w.Jobs[0].Waiting != 4 || w.Jobs[0].ID != id {
			t.Errorf("%+v, want four waiting tasks", w)
		}
		quick := submit(t, e, fakePlan{Tasks: 1})
		settle()
		wantAll(t, r, quick, 1)
		time.Sleep(time.Hour)
		wantAll(t, r, id, 4)
		if d := r.job(id).FinishedAt.Sub(r.job(id).StartedAt); d != time.Hour {
			t.Errorf("took %v, want 1h", d)
		}
	})
}

// Tasks whose timers fire at the same time run on all workers.
func TestClusterWokenHaveAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, func(c *executor.Config) { c.Workers = 4 })
		id := submit(t, e, fakePlan{Tasks: 4, Park: time.Second, Work: time.Second, Waiting: 4})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantAll(t, r, id, 4)
	})
}

func TestClusterFailures(t *testing.T) {
	limit := 3 * time.Second
	for _, tt := range []struct {
		plan   fakePlan
		reason job.FailureReason
	}{
		{fakePlan{Tasks: 1, Panic: true}, job.FailedPanic},
		{fakePlan{Tasks: 100, Panic: true}, job.FailedPanic},
		{fakePlan{Tasks: 3, Error: "out of luck"}, job.FailedTask},
		{fakePlan{Tasks: 3, Reduce: "error"}, job.FailedTask},
		{fakePlan{Tasks: 3, Reduce: "panic"}, job.FailedPanic},
		{fakePlan{Tasks: 1, Reduce: "add"}, job.FailedPanic},
		{fakePlan{Tasks: 3, Make: true}, job.FailedPanic},
		{fakePlan{Tasks: 1, Block: true}, job.FailedTimeout},
		{fakePlan{Tasks: 6, Park: time.Hour, Waiting: 6}, job.FailedTimeout},
		{fakePlan{Tasks: 1000, Work: 100 * time.Millisecond}, job.FailedTimeout},
	} {
		t.Run(fmt.Sprintf("%+v", tt.plan), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFakeCluster(t)
				regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
				e, _ := startNode(t, r, func(c *executor.Config) { c.Registerer = regs[0] })
				startNode(t, r, func(c *executor.Config) { c.Registerer = regs[1] })
				bystander := submit(t, e, fakePlan{Tasks: 10, Work: 10 * time.Millisecond})
				id := submit(t, e, tt.plan, func(s *job.Submission) { s.Timeout = limit })
				time.Sleep(limit + time.Second)
				j := wantState(t, r, id, job.Failed)
				if j.Failure == nil || j.Failure.Reason != tt.reason {
					t.Errorf("failure %v", j.Failure)
				}
				if d := j.FinishedAt.Sub(j.StartedAt); tt.reason == job.FailedTimeout && d != limit {
					t.Errorf("ended after %v, want %v", d, limit)
				}
				wantAll(t, r, bystander, 10)
				if r.out != 0 {
					t.Errorf("%d leases were not released", r.out)
				}
				if n := total(t, "gather_jobs_failed_total", regs...); n != 1 {
					t.Errorf("%v failures are counted", n)
				}
			})
		})
	}
}

// A job is cancelled when its work has stopped on all nodes; tasks that wait on a timer stop immediately.
func TestClusterCancel(t *testing.T) {
	for _, tt := range []struct {
		name string
		plan fakePlan
	}{
		{"running", fakePlan{Tasks: 1000, Work: time.Hour}},
		{"blocked", fakePlan{Tasks: 3, Block: true}},
		{"waiting", fakePlan{Tasks: 10, Park: time.Hour, Waiting: 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFakeCluster(t)
				e, _ := startNode(t, r, nil)
				other, _ := startNode(t, r, nil)
				id := submit(t, e, tt.plan)
				time.Sleep(time.Second)
				if had := r.leasesByNode(id); len(had) != 2 {
					t.Errorf("got leases %v, want some on both nodes", had)
				}
				j, err := other.Cancel(t.Context(), "acme", id)
				if err != nil || j.State != job.Cancelling {
					t.Errorf("got %v, %v, want cancelling", j.State, err)
				}
				synctest.Wait()
				wantState(t, r, id, job.Cancelled)
				next := submit(t, e, fakePlan{Tasks: 9})
				settle()
				wantAll(t, r, next, 9)
			})
		})
	}
}

// The cluster enforces the bounds; its rejections are returned to the client and counted.
func TestClusterAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		reg := prometheus.NewRegistry()
		plans := &counted{}
		e, _ := startNode(t, r, func(c *executor.Config) {
			c.MaxJobs, c.MaxBytes, c.MaxWaiting, c.Registerer, c.Planner = 3, 100, 10, reg, plans
			c.TenantJobs = func(string) int { return 2 }
		})
		sub := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{Tasks: 2, Memory: 7, Waiting: 4}.spec(), Priority: job.Normal}
		ask := func(n int) error {
			_, err := e.Submit(t.Context(), slices.Repeat([]job.Submission{sub}, n), nil, false)
			return err
		}
		r.full = &job.Rejection{Err: job.ErrQueueFull, Reason: "bytes"}
		if err := ask(2); !errors.Is(err, job.ErrQueueFull) {
			t.Errorf("%v, want ErrQueueFull", err)
		}
		size := job.Size{Tasks: 2, Units: 2, Waiting: 4, Memory: 7}
		if a := r.admission; a == nil || a.Jobs != 3 || a.TenantJobs != 2 || a.Bytes != 100 || a.Waiting != 10 ||
			!slices.Equal(a.Sizes, []job.Size{size, size}) {
			t.Errorf("admission %+v", a)
		}
		prior := &job.DuplicateKeyError{IDs: []job.ID{job.NewID()}}
		r.full = prior
		if err := ask(1); !errors.Is(err, prior) {
			t.Errorf("%v, want the DuplicateKeyError", err)
		}
		var v *fields.Errors
		if err := ask(3); !errors.As(err, &v) {
			t.Errorf("%v, want a field error: the batch is larger than the quota", err)
		}
		e.Drain()
		if err := ask(1); !errors.Is(err, job.ErrDraining) {
			t.Errorf("%v, want ErrDraining", err)
		}
		if n := total(t, "gather_jobs_rejected_total", reg); n != 3 {
			t.Errorf("%v rejected jobs are counted, want 3", n)
		}
		if n := plans.open.Load(); n != 0 {
			t.Errorf("%d plans are open", n)
		}
	})
}

// A job's queue position and Retry-After come from the cluster.
func TestClusterHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, oneWorker)
		submit(t, e, fakePlan{Tasks: 1, Block: true})
		synctest.Wait()
		ids := []job.ID{submit(t, e, fakePlan{Tasks: 1})}
		synctest.Wait()
		ids = append(ids, submit(t, e, fakePlan{Tasks: 1}))
		synctest.Wait()
		for i, wait := range []time.Duration{20 * time.Second, 30 * time.Second} {
			j := r.job(ids[i])
			if place, d := e.Outlook(&j); place != i+1 || d != wait {
				t.Errorf("job %d is at position %d, Retry-After %v; want %d, %v", i, place, d, i+1, wait)
			}
		}
	})
}
