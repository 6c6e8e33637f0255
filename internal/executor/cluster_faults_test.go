package executor_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// stages plans tasks of five items that complete one item a second.
type stages struct{ fakePlanner }

func (s stages) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := s.Replan(ctx, tenant, kind, spec)
	return p, spec, err
}

func (stages) Replan(_ context.Context, _, _ string, spec []byte) (job.Plan, error) {
	p, err := fakePlanner{}.Replan(context.Background(), "", "toy", spec)
	if err != nil {
		return nil, err
	}
	return stagesPlan{p.(fakePlan)}, nil
}

type stagesPlan struct{ fakePlan }

func (p stagesPlan) Task(i int, r job.Resume) job.Task { return &stagesTask{i, r} }

type stagesTask struct {
	i int
	r job.Resume
}

func (s *stagesTask) Step(_ context.Context, now time.Time, _ *job.Scratch) (job.Step, error) {
	done := 0
	for _, a := range s.r.Steps {
		done += a.Items.Len()
	}
	var step job.Step
	for ; done < 5 && !s.r.Started.Add(time.Duration(done+1)*time.Second).After(now); done++ {
		step.Items.Add(int64(5*s.i+done), []byte("1"), 0)
		step.Completed++
	}
	s.r.Steps = append(s.r.Steps, job.TaskProgress{Items: step.Items})
	if done == 5 {
		step.Partial = []byte{1}
	} else {
		step.ResumeAt = s.r.Started.Add(time.Duration(done+1) * time.Second)
	}
	return step, nil
}

// The tasks of a dead node are redelivered to other nodes, which continue after its last step: no item is lost or
// duplicated. Later appends of the dead node are rejected.
func TestClusterRedelivery(t *testing.T) {
	for _, tasks := range []int{1, 6} {
		synctest.Test(t, func(t *testing.T) {
			r := newFakeCluster(t)
			plan := func(c *executor.Config) { c.Planner = stages{} }
			e, first := startNode(t, r, plan)
			id := submit(t, e, fakePlan{Tasks: tasks, Waiting: 5})
			time.Sleep(2500 * time.Millisecond)
			startNode(t, r, plan)
			r.kill(first)
			time.Sleep(20 * time.Second)
			j := wantState(t, r, id, job.Succeeded)
			want := make([]int64, 5*tasks)
			for i := range want {
				want[i] = int64(i)
			}
			if got := r.items(id); !slices.Equal(got, want) {
				t.Errorf("items %v", got)
			}
			if had := r.leasesByNode(id); had["node 1"] == 0 || j.Progress.Completed != int64(len(want)) {
				t.Errorf("leases %v, progress %+v", had, j.Progress)
			}
			synctest.Wait()
			if r.out != 0 {
				t.Errorf("%d leases were not released", r.out)
			}
		})
	}
}

// Tasks whose end is in the log are not run again when their node dies before it has released them.
func TestClusterRedeliveryOfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		r.slow = time.Second
		e, first := startNode(t, r, func(c *executor.Config) { c.Workers = 4 })
		startNode(t, r, nil)
		r.nodes[1].dead = true
		id := submit(t, e, fakePlan{Tasks: 4})
		synctest.Wait()
		if n := r.job(id).TasksDone; n != 4 {
			t.Fatalf("%d tasks are in the log", n)
		}
		r.nodes[1].dead = false
		r.kill(first)
		settle()
		wantAll(t, r, id, 4)
	})
}

// A lease whose append is rejected is released without further effects.
func TestClusterRefusedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		r.slow = 100 * time.Millisecond
		rejections := 3
		r.reject = func([]job.Event) bool {
			rejections--
			return rejections >= 0
		}
		e, _ := startNode(t, r, func(c *executor.Config) { c.Planner = stages{} })
		id := submit(t, e, fakePlan{Tasks: 2, Waiting: 5})
		time.Sleep(20 * time.Second)
		wantState(t, r, id, job.Succeeded)
		if got := r.items(id); len(got) != 10 {
			t.Errorf("items %v", got)
		}
		if r.given < 3+3 {
			t.Errorf("got %d leases, want three, all rejected", r.given)
		}
	})
}

// A lease whose append is rejected during the next step is released after that step.
func TestClusterRefusedAppendUnderAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		r.slow = time.Second
		rejections := 1
		r.reject = func([]job.Event) bool {
			rejections--
			return rejections == 0
		}
		e, _ := startNode(t, r, func(c *executor.Config) { c.Planner = twofold{} })
		id := submit(t, e, fakePlan{Tasks: 2, Waiting: 1})
		settle()
		j := wantState(t, r, id, job.Running)
		if r.given != 3 || r.out != 2 || j.Progress.Completed != 2 {
			t.Errorf("%d leases granted, %d held, %+v; want one of two tasks to be leased again", r.given, r.out, j.Progress)
		}
		if _, err := e.Cancel(t.Context(), "acme", id); err != nil {
			t.Error(err)
		}
		settle()
		wantState(t, r, id, job.Cancelled)
	})
}

// twofold plans tasks of two steps: the first adds an item, the second blocks until its context is done.
type twofold struct{ fakePlanner }

func (twofold) Replan(context.Context, string, string, []byte) (job.Plan, error) {
	return twofoldPlan{fakePlan{Tasks: 2}}, nil
}

type twofoldPlan struct{ fakePlan }

func (twofoldPlan) Task(int, job.Resume) job.Task { return new(twofoldTask) }

type twofoldTask struct{ steps int }

func (f *twofoldTask) Step(ctx context.Context, now time.Time, _ *job.Scratch) (job.Step, error) {
	if f.steps++; f.steps == 1 {
		return job.Step{Completed: 1, ResumeAt: now}, nil
	}
	<-ctx.Done()
	return job.Step{}, context.Cause(ctx)
}

// A plan that fails with a storage error is retried; the job does not fail.
func TestClusterPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		plans := &counted{}
		plans.broken.Store(true)
		e, _ := startNode(t, r, func(c *executor.Config) { c.Planner = plans })
		id := submit(t, e, fakePlan{Tasks: 100, Work: time.Millisecond})
		if n := plans.open.Load(); n != 0 {
			t.Errorf("%d plans are open after the submission", n)
		}
		time.Sleep(5 * time.Second)
		wantState(t, r, id, job.Queued)
		plans.broken.Store(false)
		made := plans.made.Load()
		time.Sleep(5 * time.Second)
		wantAll(t, r, id, 100)
		if n := plans.made.Load() - made; n != 1 {
			t.Errorf("%d plans were made for one job", n)
		}
		if n := plans.open.Load(); n != 0 {
			t.Errorf("%d plans are open after the job", n)
		}
	})
}

// counted counts open plans.
type counted struct {
	fakePlanner
	open, made atomic.Int32
	broken     atomic.Bool
}

func (c *counted) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := c.fakePlanner.Replan(ctx, tenant, kind, spec)
	if err != nil {
		return nil, nil, err
	}
	c.open.Add(1)
	return countedPlan{p, c}, spec, nil
}

func (c *counted) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	if c.broken.Load() {
		return nil, fmt.Errorf("no array: %w", job.ErrStorage)
	}
	c.made.Add(1)
	p, _, err := c.Plan(ctx, tenant, kind, spec)
	return p, err
}

type countedPlan struct {
	job.Plan
	c *counted
}

func (p countedPlan) Close() error {
	p.c.open.Add(-1)
	return nil
}

// A job that this version cannot plan fails.
func TestClusterUnknownKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, func(c *executor.Config) { c.Planner = stubborn{} })
		s := job.Submission{Tenant: "acme", Kind: "other", Spec: []byte("{}"), Priority: job.Normal}
		jobs, err := e.Submit(t.Context(), []job.Submission{s}, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		settle()
		wantState(t, r, jobs[0].ID, job.Failed)
	})
}
