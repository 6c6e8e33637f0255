package cluster_test

import (
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// A short job that fails ends with one append.
func TestShortJobFails(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	id := a.submit(1)
	lease := a.lease()
	now := time.Now().UTC()
	f.ok(appendLease(t.Context(), lease, job.Started{At: now}, job.Finished{
		At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "no"},
	}))
	lease.End()
	if s := a.get(id).State; s != job.Failed {
		t.Errorf("the job is %s", s)
	}
}

// Messages of ended jobs do not hide that other tasks were lost.
func TestStaleTasksHideNone(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	for range 3 { // no node takes their messages, which stay
		id := a.submit(2, func(j *job.Job) { j.Priority = job.High; j.Progress.Total = 5000 })
		_, err := a.Cancel(t.Context(), "t", id)
		f.ok(err)
		a.waitEnded(id)
	}
	id := a.submit(1) // a keeps the lease of a short job, and dies with it
	f.catchUp(b)
	a.die()
	b.work(2, nil)
	b.waitEnded(id)
	f.eventually("the remaining messages are removed", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 0
	})
}

// pass waits until the time of the log, which is the time of its last message, has advanced by d.
func (f *testCluster) pass(d time.Duration, n *node) {
	f.Helper()
	f.catchUp(n)
	from := f.logTime()
	f.eventually("the time of the log is later by "+d.String(), func() bool {
		f.catchUp(n)
		return f.logTime().Sub(from) >= d
	})
}

// logTime returns the time of the last message of the log.
func (f *testCluster) logTime() time.Time {
	f.Helper()
	s, err := f.jetStream().Stream(f.Context(), "FLEET_LOG")
	f.ok(err)
	return s.CachedInfo().State.LastTime
}

// A node that reads only the rest of a trimmed log reaches the same state, although it lacks the job that filled the queue.
func TestRebuildOfFullQueue(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a", briefly), f.open("b", briefly)
	submit := func(n *node) (job.ID, error) {
		s := newJob(2, func(j *job.Job) { j.Retention, j.Progress.Total = time.Millisecond, 5000 })
		first := batch(s)
		first.Admission = &job.Admission{Sizes: make([]job.Size, 1), Jobs: 2}
		return s.Job.ID, n.append(first)
	}
	old, err := submit(a)
	f.ok(err)
	// Later messages are young enough to stay, and a span between can be trimmed.
	f.pass(700*time.Millisecond, a)
	between, err := submit(a)
	f.ok(err)
	_, err = a.Cancel(t.Context(), "t", between)
	f.ok(err)
	a.waitOver(between)
	f.pass(800*time.Millisecond, a)
	// Races bring submissions into the log that are rejected there, and one that is accepted.
	f.eventually("submissions were rejected", func() bool {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { _, _ = submit([]*node{a, b}[i%2]) })
		}
		wg.Wait()
		f.catchUp(a, b)
		if a.Rejected() > 0 {
			return true
		}
		jobs, _, err := a.List(t.Context(), job.Query{Tenant: "t", States: []job.State{job.Queued}, Limit: 10})
		f.ok(err)
		for _, j := range jobs {
			if j.ID != old {
				_, err := a.Cancel(t.Context(), "t", j.ID)
				f.ok(err)
				a.waitOver(j.ID)
			}
		}
		return false
	})
	_, err = a.Cancel(t.Context(), "t", old)
	f.ok(err)
	a.waitOver(old)
	last, err := submit(a)
	f.ok(err)
	f.eventually("the log is trimmed", func() bool {
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > 1
	})
	c := f.open("c", briefly)
	f.sameStates(a, b, c)
	c.get(last)
}

// A node that applies its own submissions again, because its replica is rebuilt, does not cancel them.
func TestOwnSubmissionReadAgain(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	s := newJob(2)
	b := batch(s)
	f.ok(a.append(b))
	a.ReportOutcomeAgain(b.Entries)
	f.ok(a.CatchUp(t.Context()))
	if state := a.get(s.Job.ID).State; state != job.Queued {
		t.Errorf("the job is %s", state)
	}
}
