package journal

import (
	"fmt"

	"gather/internal/job"
)

// checkPending returns job.ErrDependencyEnded unless every job that a new, unfinished job waits for is unfinished, or a
// job.TooManyDependentsError.
func (b *builder) checkPending(j *job.Job) error {
	if b.j.c.Replica || j.Waits == 0 || j.State.Terminal() {
		return nil
	}
	for id := range j.Pending() {
		if a := b.j.jobs.m[id]; a == nil || a.rejected() || a.head.State.Terminal() {
			return fmt.Errorf("%w: job %s", job.ErrDependencyEnded, id)
		}
	}
	return b.dependents.CheckRoom(j)
}

// resolve applies what follows from the ends of jobs in the request to the jobs that wait for them, and returns it: a job and the
// jobs that it releases or cancels change in one write.
func (b *builder) resolve() []job.Entry {
	if b.j.c.Replica {
		return nil
	}
	var ended []*job.Job
	for i := range b.undo {
		u := &b.undo[i]
		b.dependents.Update(&u.head, &u.a.head)
		if u.a.head.State.Terminal() {
			ended = append(ended, &u.a.head)
		}
	}
	caused := b.dependents.Resolve(ended, func(id job.ID) *job.Job {
		if a := b.j.jobs.m[id]; a != nil && !a.rejected() {
			return &a.head
		}
		return nil
	})
	for i := range caused {
		a := b.j.jobs.m[caused[i].ID]
		before := a.head
		for _, ev := range caused[i].Events {
			if next, err := job.Apply(a.head, ev); err == nil { // Resolve has applied them
				a.head = next
			}
		}
		b.dependents.Update(&before, &a.head)
	}
	return caused
}
