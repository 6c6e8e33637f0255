package journaltest

import (
	"fmt"

	"gather/internal/job"
)

// checkPending returns job.ErrDependencyEnded unless the jobs that the new, unfinished jobs wait for are unfinished, or a
// job.TooManyDependentsError. Caller holds v.mu.
func (v *Volatile) checkPending(entries []job.Entry, next map[job.ID]job.Job) error {
	for _, e := range entries {
		j := next[e.ID]
		if v.jobs[e.ID] != nil || j.State.Terminal() {
			continue
		}
		for id := range j.Pending() {
			d, changed := next[id]
			if old := v.jobs[id]; !changed && old != nil {
				d = old.view
			}
			if d.State == 0 || d.State.Terminal() {
				return fmt.Errorf("%w: job %s", job.ErrDependencyEnded, id)
			}
		}
		if err := v.dependents.CheckRoom(&j); err != nil {
			return err
		}
	}
	return nil
}

// resolve returns what follows from the ends of jobs for the jobs that wait for them, and adds the views of these to next. Caller
// holds v.mu.
func (v *Volatile) resolve(entries []job.Entry, next map[job.ID]job.Job) []job.Entry {
	var ended []*job.Job
	for _, e := range entries {
		j, before := next[e.ID], job.Job{}
		if old := v.jobs[e.ID]; old != nil {
			before = old.view
		}
		v.dependents.Update(&before, &j)
		if j.State.Terminal() {
			ended = append(ended, &j)
		}
	}
	view := func(id job.ID) *job.Job {
		j, changed := next[id]
		if old := v.jobs[id]; !changed && old != nil {
			j, changed = old.view, true
		}
		if !changed {
			return nil
		}
		return &j
	}
	caused := v.dependents.Resolve(ended, view)
	for _, e := range caused {
		before := *view(e.ID)
		after := before
		for _, ev := range e.Events {
			if j, err := job.Apply(after, ev); err == nil { // Resolve has applied them
				after = j
			}
		}
		v.dependents.Update(&before, &after)
		next[e.ID] = after
	}
	return caused
}
