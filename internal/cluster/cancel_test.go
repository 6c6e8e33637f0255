package cluster_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// ended checks that a turn's context ends.
func (f *fleet) ended(t *job.Lease) {
	f.Helper()
	select {
	case <-t.Context.Done():
	case <-time.After(patience):
		f.Fatalf("got a context of task %d that has not ended within %s, want one that has", t.Task, patience)
	}
}

// running has each of the nodes work on a task of one job.
func (f *fleet) running(nodes ...*node) (id job.ID, turns []*job.Lease) {
	f.Helper()
	id = nodes[0].submit(2 * len(nodes))
	for _, n := range nodes {
		turn := n.turn()
		f.ok(turn.Start(f.Context()))
		turns = append(turns, turn)
	}
	return id, turns
}

// A queued job is cancelled at once, from any node; twice, or when it has ended, changes nothing.
func TestCancelQueued(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	nodes := f.trio()
	for _, n := range nodes {
		id := nodes[0].submit(3)
		j, err := n.Cancel(t.Context(), "t", id)
		f.ok(err)
		if j.State != job.Cancelling && j.State != job.Cancelled {
			t.Errorf("asked to stop, the job is %v", j.State)
		}
		for _, m := range nodes {
			m.ends(id)
			if j := m.whole(id); j.State != job.Cancelled {
				t.Errorf("the job is %v", j.State)
			}
			j, err := m.Cancel(t.Context(), "t", id)
			f.ok(err)
			if j.State != job.Cancelled {
				t.Errorf("cancelled again, the job is %v", j.State)
			}
		}
		_, err = n.Cancel(t.Context(), "other", id)
		f.want(err, job.ErrNotFound)
	}
	nodes[1].onlyNew()
}

// What runs on two nodes stops on both before the job is cancelled.
func TestCancelRunning(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	nodes := f.trio()
	a, b, c := nodes[0], nodes[1], nodes[2]
	id, turns := f.running(a, b)
	var all sync.WaitGroup
	for range 2 { // two at once, on two nodes
		for _, n := range []*node{c, a} {
			all.Go(func() {
				j, err := n.Cancel(t.Context(), "t", id)
				if err != nil || j.State != job.Cancelling {
					t.Errorf("asked to stop, the job is %v, %v", j.State, err)
				}
			})
		}
	}
	all.Wait()
	for _, turn := range turns {
		f.ended(turn)
		f.want(turn.Start(t.Context()), job.ErrTransition)
	}
	// What a task made of before it heard of it is kept.
	f.ok(appendTurn(t.Context(), turns[1], job.Advanced{Task: turns[1].Task, Completed: 7}))
	turns[0].End()
	f.caughtUp(a, c) // a has written to the log that it no longer works on the job, and c has read it
	if s := c.get(id).State; s != job.Cancelling {
		t.Fatalf("while b works on it, got the job %v, want it %v", s, job.Cancelling)
	}
	turns[1].End()
	for _, n := range nodes {
		n.ends(id)
		if j := n.whole(id); j.State != job.Cancelled || j.Progress.Completed != 7 {
			t.Errorf("the job is %v with %+v", j.State, j.Progress)
		}
	}
	a.onlyNew()
}

// A applyResult ends a job as it says, when all have stopped; the first one counts.
func TestDecide(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a"), f.open("b")
	id, turns := f.running(a, b)
	failed := func(detail string) job.Finished {
		return job.Finished{At: time.Now().UTC(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: detail}}
	}
	turns[1].Decide(failed("first"))
	f.ended(turns[0])
	f.ended(turns[1])
	turns[0].Decide(failed("second"))
	turns[0].End()
	turns[1].End()
	for _, n := range []*node{a, b} {
		if j := n.ends(id); j.State != job.Failed || j.Failure == nil || j.Failure.Detail != "first" {
			t.Errorf("the job is %v: %v", j.State, j.Failure)
		}
		n.whole(id)
	}
	// A job that failed before it was asked to stop has failed; the other way round it is cancelled.
	id, turns = f.running(a)
	_, err := b.Cancel(t.Context(), "t", id)
	f.ok(err)
	f.ended(turns[0])
	turns[0].Decide(failed("late"))
	turns[0].End()
	if j := a.ends(id); j.State != job.Cancelled {
		t.Errorf("the job is %v", j.State)
	}
}

// The leader ends what waits for a node that died, whatever that died of.
func TestCancelWithTheDead(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.trio()
	a, b, c := nodes[0], nodes[1], nodes[2]
	id, turns := f.running(b, c)
	second, _ := f.running(c)
	_, err := a.Cancel(t.Context(), "t", second)
	f.ok(err)
	c.die()
	_, err = a.Cancel(t.Context(), "t", id)
	f.ok(err)
	f.ended(turns[0])
	turns[0].End()
	for _, id := range []job.ID{id, second} {
		if j := b.ends(id); j.State != job.Cancelled {
			t.Errorf("the job is %v", j.State)
		}
		b.whole(id)
	}
	f.sameTables(a, b)
}

// A job that nobody works on ends when it has run too long.
func TestTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	s := newJob(2, func(j *job.Job) { j.Timeout = 10 * time.Millisecond })
	f.ok(b.append(batch(s)))
	turn := b.turn()
	f.ok(turn.Start(t.Context()))
	b.die()
	j := a.ends(s.Job.ID)
	if j.State != job.Failed || j.Failure == nil || j.Failure.Reason != job.FailedTimeout {
		t.Errorf("the job is %v: %v", j.State, j.Failure)
	}
	a.whole(s.Job.ID)
}

// Jobs that are cancelled while all nodes are at them end once, and nothing of them is left.
func TestCancelStorm(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	nodes := f.trio()
	var workers []*workers
	for _, n := range nodes {
		workers = append(workers, n.work(3, func(ctx context.Context, turn *job.Lease) error {
			if turn.Task%7 == 6 {
				turn.Decide(job.Finished{At: time.Now().UTC(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask}})
			}
			return perform(ctx, turn)
		}))
	}
	var ids []job.ID
	var all sync.WaitGroup
	for i := range 60 {
		id := nodes[i%3].submit(1 + i%12)
		ids = append(ids, id)
		if i%2 == 0 {
			all.Go(func() {
				for k := range 2 {
					if _, err := nodes[(i+k)%3].Cancel(t.Context(), "t", id); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	states := make(map[job.State]int)
	for _, id := range ids {
		nodes[0].ends(id)
		states[nodes[0].whole(id).State]++
	}
	t.Logf("jobs ended as %v", states)
	for _, w := range workers {
		w.end()
	}
	if got, want := f.sameTables(nodes...), "tenants map[], 0 bytes, 0 waiting\n"; got != want {
		t.Errorf("got the table %s, want %s", got, want)
	}
	for _, n := range nodes {
		f.eventually("no turn is held", func() bool { return n.metric("leases_held") == 0 })
	}
}

// Options that cannot be are refused.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	for name, change := range map[string]func(*cluster.Config){
		"no server":           func(c *cluster.Config) { c.URL = "nats://127.0.0.1:1" },
		"no CA file":          func(c *cluster.Config) { c.CA = "/none" },
		"an empty CA file":    func(c *cluster.Config) { c.CA = "/dev/null" },
		"a key without cert":  func(c *cluster.Config) { c.Key = "/none" },
		"no certificate file": func(c *cluster.Config) { c.Cert, c.Key = "/none", "/none" },
	} {
		cfg := f.cfg
		cfg.Dir = t.TempDir()
		change(&cfg)
		if n, err := cluster.Open(t.Context(), cfg); err == nil {
			f.ok(n.Close())
			t.Errorf("%s: it opens", name)
		}
	}
	// A directory belongs to one node at a time.
	a := f.open("a")
	cfg := f.cfg
	cfg.Dir = a.dir
	if n, err := cluster.Open(t.Context(), cfg); err == nil {
		f.ok(n.Close())
		t.Error("a directory is opened twice")
	}
}
