package job

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

const (
	// MaxAfter is the maximum number of jobs that a job waits for.
	MaxAfter = 64
	// MaxDependents is the number of jobs that wait for one job from which on no other is accepted. The end of a job and its
	// effects on these are one write, which takes some 20 µs for each of them and delays other writes.
	MaxDependents = 10_000
)

// A TooManyDependentsError reports that a job which a new job waits for has MaxDependents.
type TooManyDependentsError struct{ Job, After ID }

// Error implements error.
func (e *TooManyDependentsError) Error() string {
	return fmt.Sprintf("%d jobs wait for job %s already", MaxDependents, e.After)
}

// Pending yields the jobs that the job waits for.
func (j *Job) Pending() iter.Seq[ID] {
	return func(yield func(ID) bool) {
		for i, id := range j.After {
			if j.Waits&(1<<i) != 0 && !yield(id) {
				return
			}
		}
	}
}

// Due returns the earliest time at which the job could have started.
func (j *Job) Due() time.Time {
	due := j.CreatedAt
	for _, at := range [...]time.Time{j.StartAfter, j.ReleasedAt} {
		if at.After(due) {
			due = at
		}
	}
	return due
}

func (j *Job) validWaits() bool {
	return len(j.After) <= MaxAfter && j.Waits>>len(j.After) == 0
}

// endsWaiting reports whether an event cancels the job because a job of After did not succeed.
func (j *Job) endsWaiting(e *Finished) bool {
	return j.State == Queued && len(j.After) > 0 && e.Failure != nil && e.Failure.Reason == FailedDependency
}

// DependencyFailure returns the reason for which a job is cancelled that waits for a job which has ended in a state.
func DependencyFailure(id ID, state State) *Failure {
	what := "failed"
	if state == Cancelled {
		what = "was cancelled"
	}
	return &Failure{Reason: FailedDependency, Detail: fmt.Sprintf("job %s, which this job was to run after, %s", id, what)}
}

// WaitTooLong returns the end of a job that has waited for other jobs for AfterTimeout.
func (j *Job) WaitTooLong() Finished {
	return Finished{State: Cancelled, Failure: &Failure{
		Reason: FailedDependency, Detail: "the jobs that this job was to run after did not succeed within " + j.AfterTimeout.String(),
	}}
}

// Dependents indexes the unfinished jobs that wait for other jobs by the jobs that they wait for. The zero value is empty. It is
// not safe for concurrent use.
type Dependents struct{ m map[ID]map[ID]struct{} }

// Update replaces the entries of a job. Before is the zero Job for a new one.
func (d *Dependents) Update(before, after *Job) {
	if len(after.After) == 0 {
		return
	}
	for id := range before.Pending() {
		if delete(d.m[id], after.ID); len(d.m[id]) == 0 {
			delete(d.m, id)
		}
	}
	if after.State.Terminal() {
		return
	}
	for id := range after.Pending() {
		if d.m == nil {
			d.m = make(map[ID]map[ID]struct{})
		}
		if d.m[id] == nil {
			d.m[id] = make(map[ID]struct{})
		}
		d.m[id][after.ID] = struct{}{}
	}
}

// CheckRoom returns a TooManyDependentsError unless all jobs that a new job waits for have fewer than MaxDependents.
func (d *Dependents) CheckRoom(j *Job) error {
	for id := range j.Pending() {
		if len(d.m[id]) >= MaxDependents {
			return &TooManyDependentsError{Job: j.ID, After: id}
		}
	}
	return nil
}

// Of returns the jobs that wait for a job, by ID.
func (d *Dependents) Of(id ID) []ID {
	return slices.SortedFunc(maps.Keys(d.m[id]), func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
}

// Resolve returns the events that follow from the ends of jobs, in an order that depends only on its input: the jobs that wait for
// a job that has succeeded wait for one less, those that wait for another are cancelled, and so are those that wait for these. view
// returns the current view of an unfinished job.
func (d *Dependents) Resolve(ended []*Job, view func(ID) *Job) (caused []Entry) {
	if len(d.m) == 0 {
		return nil
	}
	changed := make(map[ID]*Job)
	for ended = slices.Clone(ended); len(ended) > 0; ended = ended[1:] {
		end := ended[0]
		for _, id := range d.Of(end.ID) {
			j := changed[id]
			if j == nil {
				if j = view(id); j == nil {
					continue
				}
				changed[id] = new(*j)
				j = changed[id]
			}
			ev := j.dependencyEnded(end)
			next, err := Apply(*j, ev)
			if err != nil {
				continue // it has ended by another job of After
			}
			*j = next
			caused = append(caused, Entry{ID: id, Events: []Event{ev}})
			if j.State.Terminal() {
				ended = append(ended, j)
			}
		}
	}
	return caused
}

// dependencyEnded returns the event of the job that follows from the end of a job that it waits for.
func (j *Job) dependencyEnded(end *Job) Event {
	if end.State == Succeeded {
		return DependencySucceeded{Index: slices.Index(j.After, end.ID), At: end.FinishedAt}
	}
	f := Finished{At: end.FinishedAt, State: Cancelled}
	if j.State == Queued {
		f.Failure = DependencyFailure(end.ID, end.State)
	}
	return f
}

// DependenciesFirst returns unfinished jobs in an order in which every job comes after the jobs that it waits for, and otherwise
// unchanged: the jobs that wait for none are first.
func DependenciesFirst(jobs []*Job) []*Job {
	waiting := make(map[ID]*Job)
	sorted := slices.DeleteFunc(slices.Clone(jobs), func(j *Job) bool {
		if j.Waits != 0 {
			waiting[j.ID] = j
		}
		return j.Waits != 0
	})
	var visit func(j *Job)
	visit = func(j *Job) {
		if waiting[j.ID] == nil {
			return
		}
		delete(waiting, j.ID)
		for id := range j.Pending() {
			if d := waiting[id]; d != nil {
				visit(d)
			}
		}
		sorted = append(sorted, j)
	}
	for _, j := range jobs {
		visit(j)
	}
	return sorted
}
