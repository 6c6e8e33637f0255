package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// recover resumes every unfinished job of the journal: running jobs continue after their last finished task, queued jobs
// are queued again in their order, and jobs that were being cancelled are cancelled.
func (e *Executor) recover(ctx context.Context) error {
	var again []*jobExecution
	err := e.cfg.Journal.Recover(ctx, func(j job.Job, spec []byte, log job.LogSeq) error {
		x, err := e.resume(ctx, j, spec, log)
		if err != nil {
			return err
		}
		again = append(again, x)
		return nil
	})
	if err != nil {
		return err
	}
	for _, x := range again {
		e.restart(x)
	}
	if len(again) > 0 {
		e.log.Info("recovered unfinished jobs", "jobs", len(again))
	}
	return nil
}

// failedPlan stands in for the plan of a job whose spec this version rejects.
type failedPlan struct{ job.Plan }

func (failedPlan) Size() job.Size       { return job.Size{Tasks: 1} }
func (failedPlan) Reducer() job.Reducer { return nil }

// resume makes the execution of a job in the journal.
func (e *Executor) resume(ctx context.Context, j job.Job, spec []byte, log job.LogSeq) (*jobExecution, error) {
	var plan job.Plan
	planErr := (&plannedJob{e: e, job: j}).guard(func() (err error) {
		plan, err = e.cfg.Planner.Replan(ctx, j.Tenant, j.Kind, spec)
		return err
	})
	if errors.Is(planErr, job.ErrStorage) {
		return nil, fmt.Errorf("plan job %s again: %w", j.ID, planErr) // a temporary error must not fail the job
	}
	if planErr != nil {
		plan = failedPlan{}
	}
	x := e.newExecution(e.newPlannedJob(j, plan, nil))
	x.startedAt, x.started = j.StartedAt, time.Now().Add(-e.cfg.Journal.Elapsed(j.StartedAt))
	x.due = x.due.Add(-e.cfg.Journal.Elapsed(j.CreatedAt))
	x.completed = j.Progress.Completed
	x.finished = make([]bool, x.size.Tasks)
	x.steps = make(map[int][]job.TaskProgress)
	for rec, err := range log {
		if err != nil {
			return nil, err
		}
		a, ok := rec.Event.(job.TaskProgress)
		if !ok || planErr != nil {
			continue
		}
		if a.Task >= x.size.Tasks {
			planErr = &job.Failure{Reason: job.FailedTask, Detail: "its plan differs from the one it was begun with"}
			continue
		}
		x.results += job.ResultBytes(a)
		if !a.Done {
			x.steps[a.Task] = append(x.steps[a.Task], withoutValues(a))
			continue
		}
		if err := x.guard(func() error { return x.reduction().Add(a.Task, a.Partial) }); errors.Is(err, job.ErrVersion) {
			return nil, fmt.Errorf("resume job %s: %w", j.ID, err)
		} else if err != nil {
			planErr = err
			continue
		}
		delete(x.steps, a.Task)
		x.finished[a.Task] = true
		x.done++
	}
	x.nextTask = x.after(-1)
	e.count(x)
	if planErr != nil {
		x.ending = &job.Finished{State: job.Failed, Failure: unplannable(planErr)}
	}
	return x, nil
}

// withoutValues returns the step of an unfinished task without the values of its items, which refer to memory of the log.
func withoutValues(a job.TaskProgress) job.TaskProgress {
	a.Items.DropValues()
	a.Partial = bytes.Clone(a.Partial)
	return a
}

// restart continues a recovered job.
func (e *Executor) restart(x *jobExecution) {
	x.mu.Lock()
	if x.state == job.Cancelling && x.ending == nil {
		x.ending = &job.Finished{State: job.Cancelled}
	}
	if x.ending == nil && x.state == job.Running && x.done == x.size.Tasks {
		x.reduce()
	}
	if x.ending != nil {
		x.finishIfIdle()
		x.mu.Unlock()
		return
	}
	running := x.state == job.Running
	if running {
		x.setTimeout()
		x.startTrace(time.Now(), true)
	}
	x.mu.Unlock()
	if !running {
		e.queueJobs(e.hold([]*jobExecution{x}))
		return
	}
	x.series.resume()
	e.mu.Lock()
	e.queue.pushRunning(x)
	e.mu.Unlock()
}
