package cluster_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// checkContextEnds fails the test unless the context of a lease ends.
func (f *testCluster) checkContextEnds(t *job.Lease) {
	f.Helper()
	select {
	case <-t.Context.Done():
	case <-time.After(waitTimeout):
		f.Fatalf("got a context of task %d that has not ended within %s, want one that has", t.Task, waitTimeout)
	}
}

// running submits a job and returns one started lease of it for each node.
func (f *testCluster) running(nodes ...*node) (id job.ID, leases []*job.Lease) {
	f.Helper()
	id = nodes[0].submit(2 * len(nodes))
	for _, n := range nodes {
		lease := n.lease()
		f.ok(lease.Start(f.Context()))
		leases = append(leases, lease)
	}
	return id, leases
}

// A queued job is cancelled immediately from any node. Cancelling it twice, or after its end, changes nothing.
func TestCancelQueued(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	for _, n := range nodes {
		id := nodes[0].submit(3)
		j, err := n.Cancel(t.Context(), "t", id)
		f.ok(err)
		if j.State != job.Cancelling && j.State != job.Cancelled {
			t.Errorf("when it should stop, the job is %v", j.State)
		}
		for _, m := range nodes {
			m.waitEnded(id)
			if j := m.checkLog(id); j.State != job.Cancelled {
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

// A job that runs on two nodes stops on both before it is cancelled.
func TestCancelRunning(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	a, b, c := nodes[0], nodes[1], nodes[2]
	id, leases := f.running(a, b)
	var all sync.WaitGroup
	for range 2 { // concurrently on two nodes
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
	for _, lease := range leases {
		f.checkContextEnds(lease)
		f.want(lease.Start(t.Context()), job.ErrTransition)
	}
	// The progress of a task before the cancel is kept.
	f.ok(appendLease(t.Context(), leases[1], job.TaskProgress{Task: leases[1].Task, Completed: 7}))
	leases[0].End()
	f.catchUp(a, c) // a has left the job, and c has applied that
	if s := c.get(id).State; s != job.Cancelling {
		t.Fatalf("while b works on it, got the job %v, want it %v", s, job.Cancelling)
	}
	leases[1].End()
	for _, n := range nodes {
		n.waitEnded(id)
		if j := n.checkLog(id); j.State != job.Cancelled || j.Progress.Completed != 7 {
			t.Errorf("the job is %v with %+v", j.State, j.Progress)
		}
	}
	a.onlyNew()
}

// A decided end takes effect when all participants have left; the first decision counts.
func TestDecide(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	id, leases := f.running(a, b)
	failed := func(detail string) job.Finished {
		return job.Finished{At: time.Now().UTC(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: detail}}
	}
	leases[1].Decide(failed("first"))
	f.checkContextEnds(leases[0])
	f.checkContextEnds(leases[1])
	leases[0].Decide(failed("second"))
	leases[0].End()
	leases[1].End()
	for _, n := range []*node{a, b} {
		if j := n.waitEnded(id); j.State != job.Failed || j.Failure == nil || j.Failure.Detail != "first" {
			t.Errorf("the job is %v: %v", j.State, j.Failure)
		}
		n.checkLog(id)
	}
	// A job that fails before its cancel has failed; in the other order it is cancelled.
	id, leases = f.running(a)
	_, err := b.Cancel(t.Context(), "t", id)
	f.ok(err)
	f.checkContextEnds(leases[0])
	leases[0].Decide(failed("late"))
	leases[0].End()
	if j := a.waitEnded(id); j.State != job.Cancelled {
		t.Errorf("the job is %v", j.State)
	}
}

// The leader ends jobs that wait for a dead node.
func TestCancelWithTheDead(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	nodes := f.openThree()
	a, b, c := nodes[0], nodes[1], nodes[2]
	id, leases := f.running(b, c)
	second, _ := f.running(c)
	_, err := a.Cancel(t.Context(), "t", second)
	f.ok(err)
	c.die()
	_, err = a.Cancel(t.Context(), "t", id)
	f.ok(err)
	f.checkContextEnds(leases[0])
	leases[0].End()
	for _, id := range []job.ID{id, second} {
		if j := b.waitEnded(id); j.State != job.Cancelled {
			t.Errorf("the job is %v", j.State)
		}
		b.checkLog(id)
	}
	f.sameStates(a, b)
}

// A job without participants ends when its timeout has passed.
func TestTimeout(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	s := newJob(2, func(j *job.Job) { j.Timeout = 10 * time.Millisecond })
	f.ok(b.append(batch(s)))
	lease := b.lease()
	f.ok(lease.Start(t.Context()))
	b.die()
	j := a.waitEnded(s.Job.ID)
	if j.State != job.Failed || j.Failure == nil || j.Failure.Reason != job.FailedTimeout {
		t.Errorf("the job is %v: %v", j.State, j.Failure)
	}
	a.checkLog(s.Job.ID)
}

// Jobs that are cancelled while all nodes run them end once, and leave no state.
func TestCancelStorm(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	var workers []*workers
	for _, n := range nodes {
		workers = append(workers, n.work(3, func(ctx context.Context, lease *job.Lease) error {
			if lease.Task%7 == 6 {
				lease.Decide(job.Finished{At: time.Now().UTC(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask}})
			}
			return perform(ctx, lease)
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
		nodes[0].waitEnded(id)
		states[nodes[0].checkLog(id).State]++
	}
	t.Logf("jobs ended as %v", states)
	for _, w := range workers {
		w.end()
	}
	if got, want := f.sameStates(nodes...), "tenants map[], 0 bytes, 0 waiting\n"; got != want {
		t.Errorf("got the table %s, want %s", got, want)
	}
	for _, n := range nodes {
		f.eventually("no lease is held", func() bool { return n.metric("leases_held") == 0 })
	}
}

// Open returns an error for invalid options.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
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
			t.Errorf("%s: Open succeeded", name)
		}
	}
	// A directory belongs to one node at a time.
	a := f.open("a")
	cfg := f.cfg
	cfg.Dir = a.dir
	if n, err := cluster.Open(t.Context(), cfg); err == nil {
		f.ok(n.Close())
		t.Error("a directory was opened twice")
	}
}
