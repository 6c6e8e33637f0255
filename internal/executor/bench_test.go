package executor_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/executor"
	"gather/internal/job"
)

// void is a journal that stores nothing and signals the end of each job.
type void struct{ ended chan struct{} }

func (void) Get(context.Context, string, job.ID) (job.Job, error) { return job.Job{}, job.ErrNotFound }

func (void) Release(job.Key) {}

func (void) Elapsed(since time.Time) time.Duration { return time.Since(since) }

func (void) Recover(context.Context, func(job.Job, []byte, job.LogSeq) error) error { return nil }

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

// idle is a plan of tasks that do nothing.
type idle struct{ n int }

func (p idle) Size() job.Size                { return job.Size{Tasks: p.n, Units: int64(p.n)} }
func (p idle) Task(int, job.Resume) job.Task { return p }
func (p idle) Reducer() job.Reducer          { return p }
func (idle) Add(int, []byte) error           { return nil }
func (idle) Outcome() (job.Outcome, error)   { return job.Outcome{Value: []byte("0")}, nil }
func (p idle) Names() []string               { return []string{"idle"} }

func (p idle) Replan(context.Context, string, string, []byte) (job.Plan, error) { return p, nil }

func (p idle) Plan(context.Context, string, string, []byte) (job.Plan, []byte, error) {
	return p, nil, nil
}

func (idle) Step(context.Context, time.Time, *job.Scratch) (job.Step, error) {
	return job.Step{Completed: 1}, nil
}

func benchmark(b *testing.B, tasks, jobs int) {
	v := void{ended: make(chan struct{}, 1024)}
	c := executor.DefaultConfig()
	c.Journal, c.Planner = v, idle{tasks}
	c.Logger, c.Registerer = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	e, err := executor.New(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	sub := []job.Submission{{Tenant: "acme", Kind: "idle", Priority: job.Normal}}
	b.ReportAllocs()
	for b.Loop() {
		for range jobs {
			if _, err := e.Submit(b.Context(), sub, nil, false); err != nil {
				b.Fatal(err)
			}
		}
		for range jobs {
			<-v.ended
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tasks*jobs), "ns/task")
	if err := e.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTask measures the overhead of a task: dispatch, step, record.
func BenchmarkTask(b *testing.B) { benchmark(b, 10_000, 1) }

// BenchmarkJob measures the overhead of a job of one task: admission, run, end.
func BenchmarkJob(b *testing.B) { benchmark(b, 1, 100) }
