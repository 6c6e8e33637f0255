package cluster_test

import (
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// A short job that fails says so in one append, and ends.
func TestShortJobFails(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a")
	id := a.submit(1)
	turn := a.turn()
	now := time.Now().UTC()
	f.ok(appendTurn(t.Context(), turn, job.Started{At: now}, job.Finished{
		At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "no"},
	}))
	turn.End()
	if s := a.get(id).State; s != job.Failed {
		t.Errorf("the job is %s", s)
	}
}

// Turns that are left of jobs which have ended do not hide that others were lost.
func TestStaleTurnsHideNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	for range 3 { // nobody takes their turns, which stay
		id := a.submit(2, func(j *job.Job) { j.Priority = job.High; j.Progress.Total = 5000 })
		_, err := a.Cancel(t.Context(), "t", id)
		f.ok(err)
		a.ends(id)
	}
	id := a.submit(1) // a keeps the turn of a short job, and dies with it
	f.caughtUp(b)
	a.die()
	b.work(2, nil)
	b.ends(id)
	f.eventually("what was left is cleared", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 0
	})
}

// pass waits until the time of the log, which is that of its last message, is later by d.
func (f *fleet) pass(d time.Duration, n *node) {
	f.Helper()
	f.caughtUp(n)
	from := f.logTime()
	f.eventually("the time of the log is later by "+d.String(), func() bool {
		f.caughtUp(n)
		return f.logTime().Sub(from) >= d
	})
}

// logTime returns when the last message of the log was written.
func (f *fleet) logTime() time.Time {
	f.Helper()
	s, err := f.jetStream().Stream(f.Context(), "FLEET_LOG")
	f.ok(err)
	return s.CachedInfo().State.LastTime
}

// A node that begins to read behind a trim comes to the same, though it knows nothing of the job that filled the queue.
func TestRebuildOfFullQueue(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a", briefly), f.open("b", briefly)
	submit := func(n *node) (job.ID, error) {
		s := newJob(2, func(j *job.Job) { j.Retention, j.Progress.Total = time.Millisecond, 5000 })
		first := batch(s)
		first.Admission = &job.Admission{Sizes: make([]job.Size, 1), Jobs: 2}
		return s.Job.ID, n.append(first)
	}
	old, err := submit(a)
	f.ok(err)
	// What comes now is young enough to stay, and in between there is something to trim to.
	f.pass(700*time.Millisecond, a)
	between, err := submit(a)
	f.ok(err)
	_, err = a.Cancel(t.Context(), "t", between)
	f.ok(err)
	a.over(between)
	f.pass(800*time.Millisecond, a)
	// Races bring submissions into the log that are dropped there, beside one that is not.
	f.eventually("submissions were dropped", func() bool {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { _, _ = submit([]*node{a, b}[i%2]) })
		}
		wg.Wait()
		f.caughtUp(a, b)
		if a.Dropped() > 0 {
			return true
		}
		jobs, _, err := a.List(t.Context(), job.Query{Tenant: "t", States: []job.State{job.Queued}, Limit: 10})
		f.ok(err)
		for _, j := range jobs {
			if j.ID != old {
				_, err := a.Cancel(t.Context(), "t", j.ID)
				f.ok(err)
				a.over(j.ID)
			}
		}
		return false
	})
	_, err = a.Cancel(t.Context(), "t", old)
	f.ok(err)
	a.over(old)
	last, err := submit(a)
	f.ok(err)
	f.eventually("the log is trimmed", func() bool {
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > 1
	})
	c := f.open("c", briefly)
	f.sameTables(a, b, c)
	c.get(last)
}

// A node that reads its own submissions again, because its view is made anew, does not take them for refused ones.
func TestOwnSubmissionReadAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a")
	s := newJob(2)
	b := batch(s)
	f.ok(a.append(b))
	a.DecideAgain(b.Entries)
	f.ok(a.CatchUp(t.Context()))
	if state := a.get(s.Job.ID).State; state != job.Queued {
		t.Errorf("the job is %s", state)
	}
}
