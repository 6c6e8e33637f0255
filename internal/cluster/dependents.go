package cluster

import (
	"fmt"
	"time"

	"gather/internal/job"
)

// # Jobs that wait for jobs
//
// The end of a job releases or cancels the jobs that wait for it when it is applied: the events of these jobs are not in the log, but
// follow from it on every node. They only depend on the state, so a job may only wait for jobs that are unfinished when its
// submission is applied; the author has read that the others have succeeded. A node that reads only the rest of a trimmed log has
// the state that it needs, because the log is kept from the submissions of the jobs that a needed job waited for (neededSeq).

// checkPending returns job.ErrDependencyEnded unless every job that a new job waits for is unfinished. Updated has the jobs that
// the proposal changes. Caller holds t.mu.
func (t *state) checkPending(j *job.Job, updated map[job.ID]job.Job) error {
	if j.State.Terminal() {
		return nil
	}
	for id := range j.Pending() {
		d, changed := updated[id]
		if changed && d.State.Terminal() || !changed && t.jobs[id] == nil {
			return fmt.Errorf("%w: job %s", job.ErrDependencyEnded, id)
		}
	}
	return nil
}

// neededSeq returns a message of the log at or before the submissions of a new job, which is in message seq or later, and of the
// jobs that it waits for. Caller holds t.mu.
func (t *state) neededSeq(j *job.Job, seq uint64) uint64 {
	for id := range j.Pending() {
		if d := t.jobs[id]; d != nil {
			seq = min(seq, d.seq)
		}
	}
	return seq
}

// neededUntil returns the time until which the log is needed from neededSeq of an ended job on: a node that lacks the jobs that the job
// waited for rejects its submission, and so lacks its key. Caller holds t.mu.
func (t *state) neededUntil(j *job.Job, keyRetention time.Duration) time.Time {
	if key := t.ages.now.Add(keyRetention); len(j.After) > 0 && key.After(j.ExpiresAt) {
		return key
	}
	return j.ExpiresAt
}

// resolve returns the events that follow from the ends of jobs in a proposal, and adds their jobs to updated. Caller holds t.mu.
func (t *state) resolve(p *job.Proposal, updated map[job.ID]job.Job) (caused []job.Entry) {
	var ended []*job.Job
	for i := range p.Entries {
		if j := updated[p.Entries[i].ID]; j.State.Terminal() {
			ended = append(ended, &j)
		}
	}
	view := func(id job.ID) *job.Job {
		j, changed := updated[id]
		if s := t.jobs[id]; !changed && s != nil {
			j, changed = s.job, true
		}
		if !changed {
			return nil
		}
		return &j
	}
	caused = t.dependents.Resolve(ended, view)
	for i := range caused {
		j := *view(caused[i].ID)
		for _, ev := range caused[i].Events {
			if next, err := job.Apply(j, ev); err == nil { // Resolve has applied them
				j = next
			}
		}
		updated[j.ID] = j
	}
	return caused
}

// followCaused returns, of the jobs that the end of a job has changed, the subjects of the tasks to queue, and the jobs that were
// cancelled. Caller holds state.mu.
func (c *Cluster) followCaused(caused []job.Entry, updated map[job.ID]job.Job) (released []string, cancelled []*job.Job) {
	for i := range caused {
		j := updated[caused[i].ID]
		if _, ends := caused[i].Events[0].(job.Finished); ends {
			cancelled = append(cancelled, &j)
		} else if s := c.state.jobs[j.ID]; s != nil && s.due && !s.held && s.ending == nil {
			released = append(released, c.subjectOf(s, true, 0))
		}
	}
	return released, cancelled
}
