package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// recover takes up every job that the journal has unfinished: running ones go on after their last finished task, queued
// ones are queued again in their order, and those that were being cancelled are cancelled.
func (e *Executor) recover(ctx context.Context) error {
	var again []*run
	err := e.cfg.Journal.Recover(ctx, func(j job.Job, spec []byte, log job.LogSeq) error {
		r, err := e.resume(ctx, j, spec, log)
		if err != nil {
			return err
		}
		again = append(again, r)
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range again {
		e.restart(r)
	}
	if len(again) > 0 {
		e.log.Info("recovered unfinished jobs", "jobs", len(again))
	}
	return nil
}

// unplanned stands in for the plan of a job whose spec this version refuses.
type unplanned struct{ job.Plan }

func (unplanned) Size() job.Size       { return job.Size{Tasks: 1} }
func (unplanned) Reducer() job.Reducer { return nil }

// resume makes a run of what the journal knows.
func (e *Executor) resume(ctx context.Context, j job.Job, spec []byte, log job.LogSeq) (*run, error) {
	var plan job.Plan
	planErr := (&planned{e: e, job: j}).guard(func() (err error) {
		plan, err = e.cfg.Planner.Replan(ctx, j.Tenant, j.Kind, spec)
		return err
	})
	if errors.Is(planErr, job.ErrStorage) {
		return nil, fmt.Errorf("plan job %s again: %w", j.ID, planErr) // it may pass: the job is not failed for it
	}
	if planErr != nil {
		plan = unplanned{}
	}
	r := e.newRun(e.planned(j, plan, nil))
	r.startedAt, r.started = j.StartedAt, time.Now().Add(-e.cfg.Journal.Elapsed(j.StartedAt))
	r.due = r.due.Add(-e.cfg.Journal.Elapsed(j.CreatedAt))
	r.completed = j.Progress.Completed
	r.finished = make([]bool, r.size.Tasks)
	r.steps = make(map[int][]job.Advanced)
	for rec, err := range log {
		if err != nil {
			return nil, err
		}
		a, ok := rec.Event.(job.Advanced)
		if !ok || planErr != nil {
			continue
		}
		if a.Task >= r.size.Tasks {
			planErr = &job.Failure{Reason: job.FailedTask, Detail: "its plan differs from the one it was begun with"}
			continue
		}
		r.results += job.ResultBytes(a)
		if !a.Done {
			r.steps[a.Task] = append(r.steps[a.Task], a)
			continue
		}
		if err := r.guard(func() error { return r.reduction().Add(a.Task, a.Partial) }); err != nil {
			planErr = err
			continue
		}
		delete(r.steps, a.Task)
		r.finished[a.Task] = true
		r.done++
	}
	r.nextTask = r.after(-1)
	e.count(r)
	if planErr != nil {
		f := &job.Failure{Reason: job.FailedTask, Detail: "the job cannot be resumed by this version: " + planErr.Error()}
		r.ending = &job.Finished{State: job.Failed, Failure: f}
	}
	return r, nil
}

// restart puts a recovered run where it left off.
func (e *Executor) restart(r *run) {
	r.mu.Lock()
	if r.state == job.Cancelling && r.ending == nil {
		r.ending = &job.Finished{State: job.Cancelled}
	}
	if r.ending == nil && r.state == job.Running && r.done == r.size.Tasks {
		r.reduce()
	}
	if r.ending != nil {
		r.settle()
		r.mu.Unlock()
		return
	}
	running := r.state == job.Running
	if running {
		r.armTimeout()
		r.startTrace(time.Now(), true)
	}
	r.mu.Unlock()
	if !running {
		e.enqueue([]*run{r})
		return
	}
	r.series.resume()
	e.mu.Lock()
	e.queue.pushActive(r)
	e.mu.Unlock()
}
