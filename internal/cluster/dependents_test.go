package cluster_test

import (
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// after makes a job wait for others.
func after(ids ...job.ID) func(*job.Job) {
	return func(j *job.Job) { j.After, j.Waits, j.AfterTimeout = ids, 1<<len(ids)-1, time.Hour }
}

// end starts a job and ends it in a state.
func (n *node) end(id job.ID, state job.State) {
	n.f.Helper()
	events := []job.Event{job.Started{At: n.Now()}, job.Finished{At: n.Now(), State: state}}
	if state == job.Failed {
		events[1] = job.Finished{At: n.Now(), State: state, Failure: &job.Failure{Reason: job.FailedTask, Detail: "why"}}
	}
	n.f.ok(n.events(id, events...))
}

// A waitingSet is a set of jobs that wait for others while the start of the log is removed: for jobs that have ended before, that end
// afterwards but before other nodes start, and that end last.
type waitingSet struct {
	before, mid, midFails, last, lastFails job.ID
	// succeeding succeed at last, cancelled are cancelled.
	succeeding, cancelled []job.ID
}

// submitWaiting submits the jobs; the first one ends.
func (n *node) submitWaiting() *waitingSet {
	n.f.Helper()
	shortly := func(j *job.Job) { j.Retention = time.Millisecond }
	w := &waitingSet{before: n.submit(0, shortly), mid: n.submit(0), midFails: n.submit(0, shortly), last: n.submit(0), lastFails: n.submit(0)}
	a, b := n.submit(1, after(w.before, w.mid)), n.submit(1, after(w.before, w.last, w.mid))
	w.succeeding = []job.ID{a, b, n.submit(1, after(a, b))}
	c, d := n.submit(1, after(w.before, w.midFails)), n.submit(1, after(w.lastFails, w.mid))
	w.cancelled = []job.ID{d, n.submit(1, after(d, a))}
	w.cancelled = append(w.cancelled, n.submit(1, after(w.last, c)))
	n.end(w.before, job.Succeeded)
	n.remove(w.before)
	return w
}

// endSome ends the jobs that end before other nodes start.
func (w *waitingSet) endSome(n *node) {
	n.f.Helper()
	n.end(w.mid, job.Succeeded)
	n.end(w.midFails, job.Failed)
	n.remove(w.midFails)
}

// check ends the rest of the jobs, and checks that all nodes have the same outcomes. The last node runs the tasks.
func (w *waitingSet) check(f *testCluster, nodes ...*node) {
	f.Helper()
	f.sameStates(nodes...)
	f.sameContents(nodes...)
	nodes[0].end(w.last, job.Succeeded)
	nodes[0].end(w.lastFails, job.Failed)
	f.sameStates(nodes...)
	nodes[len(nodes)-1].work(2, nil)
	for _, n := range nodes {
		for _, id := range w.succeeding {
			if n.waitEnded(id); n.checkLog(id).State != job.Succeeded {
				f.Errorf("the node in %s: got job %s %v, want succeeded", n.dir, id, n.get(id).State)
			}
		}
		for _, id := range w.cancelled {
			j := n.checkLog(id)
			if j.State != job.Cancelled || j.Failure == nil || j.Failure.Reason != job.FailedDependency {
				f.Errorf("the node in %s: got job %s %v with failure %+v, want cancelled with %v", n.dir, id, j.State, j.Failure, job.FailedDependency)
			}
		}
	}
	f.sameStates(nodes...)
	f.sameContents(nodes...)
}

// A node that reads only the rest of a log has the jobs that wait for others, whether these ended before the log was trimmed,
// afterwards or not yet.
func TestDependentsAfterTrim(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, late := f.open("a", briefly), f.open("late", briefly)
	f.catchUp(late)
	late.close()
	_, applied := f.logRange()
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; { // several spans of the log
		a.expired(5)
	}
	_, end := f.logRange()
	w := a.submitWaiting()
	f.eventually("the log is trimmed", func() bool {
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > applied+1
	})
	if first, _ := f.logRange(); first > end+1 {
		t.Fatalf("the log begins at message %d, want at most %d, from which on it has jobs that others wait for", first, end+1)
	}
	w.endSome(a)
	late = f.open("late", briefly)
	if n := late.metric("replica_rebuilds_total"); n != 1 {
		t.Errorf("got %v rebuilds of the replica, want 1", n)
	}
	w.check(f, a, late, f.open("fresh", briefly))
}

// A node that starts from a snapshot has the jobs that wait for others, as those have that took part from the start.
func TestDependentsInSnapshot(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, late := f.open("a", compacting), f.open("late", compacting)
	f.catchUp(late)
	late.close()
	w := a.submitWaiting()
	for range 3 {
		a.churn(10)
		a.compact()
	}
	if first, _ := f.logRange(); first < 20 {
		t.Fatalf("the log begins at message %d, want that the submissions are removed", first)
	}
	w.endSome(a)
	late = f.open("late", compacting)
	fresh := f.open("fresh", compacting)
	for _, n := range []*node{late, fresh} {
		if got := n.metric("snapshot_restores_total", "restored"); got != 1 {
			t.Errorf("the node in %s restored %v snapshots, want 1", n.dir, got)
		}
	}
	a.close()
	a = f.open("a", compacting) // reads its replica
	w.check(f, a, late, fresh)
}

// The log is kept from the submission of a job until the keys of the jobs that waited for it have expired: a node that reads only the
// rest would not accept these jobs, and so would not have their keys.
func TestDependentsKeepTheLog(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", func(c *cluster.Config) { c.KeyRetention, c.TombstoneRetention = time.Hour, time.Hour })
	shortly := func(j *job.Job) { j.Retention = time.Millisecond }
	first := a.submit(0, shortly)
	submitted := a.Now()
	second := a.submit(0, shortly, after(first))
	a.end(first, job.Succeeded)
	a.end(second, job.Succeeded)
	f.catchUp(a)
	if got, want := a.LogExpiry(), submitted.Add(time.Hour); got.Before(want) {
		t.Errorf("the start of the log is needed until %s, want at least %s", got, want)
	}
}

// The cancellation of the first of a long chain of jobs ends all of them in one write, on every node.
func TestCancelledChain(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	chain := []job.ID{nodes[0].submit(1)}
	for len(chain) < 200 {
		var subs []job.Submitted
		for range 50 {
			s := newJob(1, after(chain[len(chain)-1]))
			chain = append(chain, s.Job.ID)
			subs = append(subs, s)
		}
		f.ok(nodes[0].append(batch(subs...)))
	}
	head, middle := chain[0], chain[len(chain)/2]
	_, before := f.logRange()
	_, err := nodes[1].Cancel(t.Context(), "t", middle)
	f.ok(err)
	for _, n := range nodes {
		n.waitEnded(chain[len(chain)-1])
		if j := n.get(middle); j.State != job.Cancelled || j.Failure != nil {
			t.Errorf("got a job %v that a client has cancelled with failure %+v, want cancelled without one", j.State, j.Failure)
		}
		if j := n.get(chain[len(chain)/2-1]); j.State != job.Queued {
			t.Errorf("the job before the cancelled one is %v, want queued", j.State)
		}
	}
	_, err = nodes[2].Cancel(t.Context(), "t", head)
	f.ok(err)
	for _, n := range nodes {
		n.waitEnded(head)
		for i, id := range chain[1:] {
			n.waitEnded(id) // one write is shown job by job
			j := n.checkLog(id)
			if j.State != job.Cancelled || id != middle && (j.Failure == nil || j.Failure.Reason != job.FailedDependency) {
				t.Fatalf("job %d of the chain is %v with failure %+v, want cancelled with %v", i+1, j.State, j.Failure, job.FailedDependency)
			}
		}
	}
	if _, last := f.logRange(); last-before > 20 {
		t.Errorf("the end of the chain took %d messages of the log, want a few", last-before)
	}
	f.sameStates(nodes...)
	f.sameContents(nodes...)
}
