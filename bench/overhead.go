package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/bench/render"
	"gather/internal/executor"
	"gather/internal/job"
	"gather/internal/kind"
)

// void is a journal that stores nothing and signals the end of each job.
type void struct{ ended chan struct{} }

func (void) Get(context.Context, string, job.ID) (job.Job, error) { return job.Job{}, job.ErrNotFound }

func (void) Recover(context.Context, func(job.Job, []byte, job.LogSeq) error) error { return nil }

func (void) Release(job.Key) {}

func (void) Elapsed(since time.Time) time.Duration { return time.Since(since) }

func (v void) Append(_ context.Context, b job.Batch) error {
	if b.Done != nil {
		b.Done(nil)
	}
	for _, e := range b.Entries {
		for _, ev := range e.Events {
			if _, ok := ev.(job.Finished); ok {
				v.ended <- struct{}{}
			}
		}
	}
	return nil
}

// idle is a plan of tasks without work, and its planner.
type idle struct{ tasks int }

func (p idle) Size() job.Size                { return job.Size{Tasks: p.tasks, Units: int64(p.tasks)} }
func (p idle) Task(int, job.Resume) job.Task { return p }
func (p idle) Reducer() job.Reducer          { return p }
func (idle) Add(int, []byte) error           { return nil }
func (idle) Outcome() (job.Outcome, error)   { return job.Outcome{Value: []byte("0")}, nil }
func (idle) Names() []string                 { return []string{"idle"} }

// Plan implements executor.Planner.
func (p idle) Plan(context.Context, string, string, []byte) (job.Plan, []byte, error) {
	return p, nil, nil
}

// Replan implements executor.Planner.
func (p idle) Replan(context.Context, string, string, []byte) (job.Plan, error) { return p, nil }

func (idle) Step(context.Context, time.Time, *job.Scratch) (job.Step, error) {
	return job.Step{Completed: 1}, nil
}

// overhead measures the cost of the executor for each task, in this process and without a journal.
func overhead(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"the executor's overhead", "each"},
		Note: "In one process, without HTTP and journal. A task: a job of tasks that do nothing, on one worker. A job: of one such task, admitted, " +
			"run and ended. An item: squares of a range on one worker, less the same squares in a plain loop.",
	}
	runs := s.times(7, 3)
	tasks, jobs, items := s.times(1_000_000, 100_000), s.times(50_000, 5_000), s.times(5_000_000, 500_000)

	each := func(what string, took time.Duration, n int) {
		t.Row(what, render.Number(float64(took)/float64(n))+" ns")
	}
	perTask, err := inExecutor(ctx, idle{tasks}, "idle", "", runs, 1)
	if err != nil {
		return t, err
	}
	each("task", perTask, tasks)
	perJob, err := inExecutor(ctx, idle{1}, "idle", "", runs, jobs)
	if err != nil {
		return t, err
	}
	each("job", perJob, jobs)

	kinds := kind.NewRegistry(kind.DefaultLimits(), nil)
	spec := `{"range":{"stop":` + strconv.Itoa(items) + `}}`
	with, err := inExecutor(ctx, kinds, "squares", spec, runs, 1)
	if err != nil {
		return t, err
	}
	without, err := inLoop(ctx, kinds, "squares", spec, runs)
	if err != nil {
		return t, err
	}
	each("item", max(0, with-without), items)
	each("item, with the work", with, items)
	return t, nil
}

// inExecutor runs jobs on one worker and returns the median of their times.
func inExecutor(ctx context.Context, p executor.Planner, kind, spec string, runs, jobs int) (time.Duration, error) {
	v := void{ended: make(chan struct{}, jobs)}
	c := executor.DefaultConfig()
	c.Workers, c.Journal, c.Planner = 1, v, p
	c.Logger, c.Registerer = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	e, err := executor.New(ctx, c)
	if err != nil {
		return 0, err
	}
	var took []float64
	for i := 0; i < runs && err == nil; i++ {
		began := time.Now()
		for range jobs {
			subs := []job.Submission{{Tenant: "bench", Kind: kind, Spec: []byte(spec), Priority: job.Normal}}
			if _, err = e.Submit(ctx, subs, nil, false); err != nil {
				break
			}
		}
		for range jobs {
			if err == nil {
				<-v.ended
			}
		}
		took = append(took, float64(time.Since(began)))
	}
	return time.Duration(median(took)), errors.Join(err, e.Stop(context.WithoutCancel(ctx)))
}

// inLoop runs the tasks of a job in a loop, without an executor.
func inLoop(ctx context.Context, p executor.Planner, kind, spec string, runs int) (time.Duration, error) {
	var local job.Scratch
	var took []float64
	for range runs {
		began := time.Now()
		plan, _, err := p.Plan(ctx, "bench", kind, []byte(spec))
		if err != nil {
			return 0, err
		}
		for i := range plan.Size().Tasks {
			if _, err := plan.Task(i, job.Resume{Started: began}).Step(ctx, time.Now(), &local); err != nil {
				return 0, err
			}
		}
		took = append(took, float64(time.Since(began)))
	}
	return time.Duration(median(took)), nil
}
