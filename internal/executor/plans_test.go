package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
)

// fakePlan is a plan with configurable behaviour. Its spec is its JSON.
type fakePlan struct {
	Tasks   int           `json:"tasks"`
	Waiting int64         `json:"waiting,omitempty"`
	Memory  int64         `json:"memory,omitempty"`
	Results int64         `json:"results,omitempty"`
	Work    time.Duration `json:"work,omitempty"` // each task sleeps this long, holding its worker
	Bytes   int64         `json:"bytes,omitempty"`
	Park    time.Duration `json:"park,omitempty"` // each task waits this long, holding none
	Panic   bool          `json:"panic,omitempty"`
	Error   string        `json:"error,omitempty"`
	Block   bool          `json:"block,omitempty"`  // until cancelled
	Reduce  string        `json:"reduce,omitempty"` // "error" or "panic"; "add" panics at the first partial
	Make    bool          `json:"make,omitempty"`   // making a task panics
}

func (p fakePlan) spec() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return b
}

// fakePlanner plans fakePlans.
type fakePlanner struct{}

func (fakePlanner) Names() []string { return []string{"toy"} }

func (t fakePlanner) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := t.Replan(ctx, tenant, kind, spec)
	return p, spec, err
}

func (fakePlanner) Replan(_ context.Context, _, kind string, spec []byte) (job.Plan, error) {
	var p fakePlan
	if err := json.Unmarshal(spec, &p); err != nil || kind != "toy" {
		return nil, fields.Invalidf("/kind", "not a toy")
	}
	return p, nil
}

func (p fakePlan) Size() job.Size {
	return job.Size{Tasks: p.Tasks, Units: int64(p.Tasks), Waiting: p.Waiting, Memory: p.Memory, Results: p.Results, Bytes: p.Bytes}
}

func (p fakePlan) Task(i int, r job.Resume) job.Task {
	if p.Make {
		panic("toy")
	}
	return &fakeTask{fakePlan: p, i: i, resume: r}
}

func (p fakePlan) Reducer() job.Reducer { return &fakeReducer{fakePlan: p, seen: make(map[int]bool)} }

type fakeTask struct {
	fakePlan
	i      int
	resume job.Resume
}

// scratchKey is the key of the value that a failing step leaves in the scratch space of its worker.
type scratchKey struct{}

func (t *fakeTask) Step(ctx context.Context, now time.Time, scratch *job.Scratch) (job.Step, error) {
	left := scratch.Get(scratchKey{}, func() any { return new(string) }).(*string)
	if *left != "" {
		return job.Step{}, errors.New("the scratch has " + *left)
	}
	if t.Panic || t.Error != "" {
		*left = "the half-done work of a failed step"
	}
	switch {
	case t.Panic:
		panic("toy")
	case t.Error != "":
		return job.Step{}, fmt.Errorf("%s", t.Error)
	case t.Block:
		<-ctx.Done()
		return job.Step{}, context.Cause(ctx)
	case now.Sub(t.resume.Started) < t.Park:
		return job.Step{ResumeAt: t.resume.Started.Add(t.Park)}, nil
	case t.Work > 0:
		timer := time.NewTimer(t.Work)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return job.Step{}, context.Cause(ctx)
		}
	}
	step := job.Step{Completed: 1, Partial: []byte{1}}
	step.Items.Add(int64(t.i), []byte("1"), time.Since(now))
	return step, nil
}

type fakeReducer struct {
	fakePlan
	seen map[int]bool
}

func (r *fakeReducer) Add(task int, partial []byte) error {
	switch r.Reduce {
	case "add":
		panic("toy")
	case "version":
		return fmt.Errorf("%w: partial", job.ErrVersion)
	}
	if r.seen[task] || len(partial) != 1 {
		return fmt.Errorf("task %d twice, or its partial %q", task, partial)
	}
	r.seen[task] = true
	return nil
}

func (r *fakeReducer) Outcome() (job.Outcome, error) {
	switch r.Reduce {
	case "error":
		return job.Outcome{}, fmt.Errorf("no outcome")
	case "panic":
		panic("toy")
	}
	return job.Outcome{Value: fmt.Append(nil, len(r.seen))}, nil
}

// bulky plans tasks with large results.
type bulky struct{ fakePlan }

func (bulky) Plan(_ context.Context, _, _ string, spec []byte) (job.Plan, []byte, error) {
	return bulky{fakePlan{Tasks: 100}}, spec, nil
}

func (bulky) Replan(context.Context, string, string, []byte) (job.Plan, error) { return bulky{}, nil }

func (bulky) Names() []string { return []string{"toy"} }

func (p bulky) Task(i int, _ job.Resume) job.Task { return bulkyTask(i) }

type bulkyTask int

func (t bulkyTask) Step(context.Context, time.Time, *job.Scratch) (job.Step, error) {
	step := job.Step{Completed: 1, Partial: []byte{1}}
	step.Items.Add(int64(t), make([]byte, 200<<10), 0)
	return step, nil
}
