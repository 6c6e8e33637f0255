package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// Every task of a job runs once, on any node, and then its reduction, for jobs with fewer and with more tasks than
// partitions.
func TestLeases(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	var ids []job.ID
	for i, tasks := range []int{0, 1, 2, 5, 300} {
		ids = append(ids, []*node{a, b}[i%2].submit(tasks, func(j *job.Job) { j.Progress.Total = 2000 }))
	}
	workers := []*workers{a.work(4, nil), b.work(4, nil)}
	for _, id := range ids {
		for _, n := range []*node{a, b} {
			n.waitEnded(id)
			if j := n.checkLog(id); j.State != job.Succeeded || j.TasksDone != j.Tasks {
				t.Errorf("job of %d tasks is %v with %d done", j.Tasks, j.State, j.TasksDone)
			}
		}
	}
	for i, w := range workers {
		w.end()
		if w.tasks.Load() == 0 {
			t.Errorf("node %d had no lease", i)
		}
	}
	f.eventually("no message is left", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 0
	})
	for _, n := range []*node{a, b} {
		if v := n.metric("leases_held"); v != 0 {
			t.Errorf("%v leases are held in the end", v)
		}
	}
}

// Short jobs run also when the node that accepted them has no workers.
func TestShortJobs(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	var ids []job.ID
	for range 50 {
		ids = append(ids, a.submit(1))
	}
	b.work(2, nil)
	for _, id := range ids {
		b.waitEnded(id)
		b.checkLog(id)
	}
}

// The priorities are served 16 to 4 to 1.
func TestPriorities(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	for range 60 {
		for _, p := range job.Priorities() {
			a.submit(2, func(j *job.Job) { j.Priority = p })
		}
	}
	f.catchUp(b)
	// Only first leases, each of another job. They are not ended, so no task is leased twice.
	counts := make(map[job.Priority]int)
	for range 63 {
		lease := b.lease()
		counts[lease.Job.Priority]++
		defer lease.End() //nolint:revive // all are held until the end
	}
	if h, n, l := counts[job.High], counts[job.Normal], counts[job.Low]; h < 40 || n < 6 || n > 18 || l < 1 || l > 9 {
		t.Errorf("of 63 leases %d were high, %d normal, %d low", h, n, l)
	}
}

// New jobs come before running ones, mostly.
func TestNewJobsFirst(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	old := a.submit(128)
	lease := a.lease()
	f.ok(lease.Start(t.Context()))
	f.eventually("all partitions are queued", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 64
	})
	defer lease.End()
	for range 20 {
		a.submit(2)
	}
	fresh, active := 0, 0
	for range 16 {
		lease := a.lease()
		if lease.Job.ID == old {
			active++
		} else {
			fresh++
		}
		defer lease.End() //nolint:revive // all are held until the end
	}
	if fresh < 8 || active < 1 {
		t.Errorf("of 16 leases %d were of new jobs, %d of a running one", fresh, active)
	}
}

// A lease that is given back goes to another node, with the steps that were made.
func TestLeaseReturned(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	id := a.submit(2)
	lease := a.lease()
	if lease.Task != 0 || lease.Resumed || lease.Job.State != job.Queued || string(lease.Spec) != fmt.Sprintf(`{"of":%q}`, id) {
		t.Errorf("the first lease is of task %d, resumed %v, spec %s", lease.Task, lease.Resumed, lease.Spec)
	}
	f.ok(lease.Start(t.Context()))
	f.eventually("the start can be read", func() bool { return a.get(id).State == job.Running })
	if lease.Job.State != job.Running {
		t.Errorf("started, the job is %v", lease.Job.State)
	}
	f.ok(lease.Start(t.Context()))
	f.ok(appendLease(t.Context(), lease, job.TaskProgress{Task: 0, Completed: 5}))
	f.ok(appendLease(t.Context(), lease, job.TaskProgress{Task: 0, Completed: 6}))
	f.eventually("the steps can be read on b", func() bool { return b.get(id).Progress.Completed == 11 })
	lease.End() // a node that lags would get a lease whose first step is rejected
	leases := map[int]*job.Lease{}
	for range 2 {
		lease := b.lease()
		leases[lease.Task] = lease
	}
	if leases[0] == nil || leases[1] == nil {
		t.Fatalf("leases are %v", leases)
	}
	if !leases[0].Resumed || leases[1].Resumed {
		t.Errorf("resumed: %v, %v", leases[0].Resumed, leases[1].Resumed)
	}
	steps := 0
	for r, err := range leases[0].Log(t.Context()) {
		f.ok(err)
		if ev, ok := r.Event.(job.TaskProgress); ok && ev.Task == 0 {
			steps++
		}
	}
	if steps != 2 {
		t.Errorf("the log has %d steps, want 2", steps)
	}
	f.ok(perform(t.Context(), leases[1]))
	f.ok(perform(t.Context(), leases[0]))
	if last := b.lease(); last.Task != job.Reduction {
		t.Errorf("the last lease is of task %d", last.Task)
	} else {
		f.ok(perform(t.Context(), last))
	}
	if j := b.checkLog(id); j.State != job.Succeeded || j.Progress.Completed != 13 {
		t.Errorf("the job is %v with %+v", j.State, j.Progress)
	}
}

// The tasks of a node that dies go to other nodes, also of jobs that only it had started.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	ids := []job.ID{a.submit(300), b.submit(5), a.submit(1), a.submit(1, func(j *job.Job) { j.Progress.Total = 2000 })}
	var held sync.WaitGroup
	held.Add(3)
	a.work(1, nil)
	busy := a.work(3, func(ctx context.Context, lease *job.Lease) error {
		if err := lease.Start(ctx); err == nil {
			_ = appendLease(ctx, lease, job.TaskProgress{Task: lease.Task})
		}
		held.Done()
		<-ctx.Done()
		return errors.New("it never ends")
	})
	held.Wait()
	a.die()
	busy.end()
	b.work(3, nil)
	for _, id := range ids {
		if j := b.waitEnded(id); j.State != job.Succeeded {
			t.Errorf("a job is %v", j.State)
		}
		b.checkLog(id)
	}
	if b.metric("leases_redelivered_total") < 1 {
		t.Error("no lease was redelivered")
	}
}

// A node without heartbeats for longer than the node timeout loses its leases, and its later appends are rejected.
func TestNodeIsPaused(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	p := natstest.NewProxy(t, f.s.URL)
	a, b := f.open("a", through(p)), f.open("b")
	id := a.submit(2)
	lease := a.lease()
	f.ok(lease.Start(t.Context()))
	f.ok(appendLease(t.Context(), lease, job.TaskProgress{Task: lease.Task, Completed: 1}))
	p.Pause()
	b.work(1, nil)
	if j := b.waitEnded(id); j.State != job.Succeeded {
		t.Errorf("the job is %v", j.State)
	}
	rejected := make(chan error, 1)
	f.ok(lease.Append(t.Context(), func(err error) { rejected <- err }, job.TaskProgress{Task: lease.Task, Done: true, Completed: 100}))
	p.Resume()
	f.want(<-rejected, job.ErrTransition)
	select {
	case <-lease.Context.Done():
	case <-time.After(waitTimeout):
		t.Errorf("got a context of the task that has not ended within %s, want it to end with the job", waitTimeout)
	}
	lease.End()
	for _, n := range []*node{a, b} {
		f.catchUp(n)
		if j := n.checkLog(id); j.Progress.Completed != 3 {
			t.Errorf("progress is %+v", j.Progress)
		}
		if n.metric("log_rejected_proposals_total", "transition") < 1 {
			t.Error("no proposal was rejected")
		}
	}
	// The node works again.
	next := a.submit(2)
	a.work(1, nil)
	a.waitEnded(next)
}

// When another node has taken a step of a task, no later step of the lease before is accepted, although the number of steps may fit.
func TestStepsAfterARejectedOne(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	p := natstest.NewProxy(t, f.s.URL)
	a, b := f.open("a", through(p)), f.open("b")
	id := a.submit(1, func(j *job.Job) { j.Progress.Total = 4 })
	lease := a.lease()
	f.ok(lease.Start(t.Context()))
	f.ok(appendLease(t.Context(), lease, job.TaskProgress{Completed: 1}))
	p.Pause()
	next := b.lease()
	f.ok(next.Start(t.Context()))
	f.ok(appendLease(t.Context(), next, job.TaskProgress{Completed: 1}))
	outcome := make(chan error, 2)
	f.ok(lease.Append(t.Context(), func(err error) { outcome <- err }, job.TaskProgress{Completed: 1}))
	second := make(chan error, 1)
	go func() {
		second <- appendLease(t.Context(), lease, job.TaskProgress{Completed: 2})
	}()
	p.Resume()
	f.want(<-outcome, job.ErrTransition)
	f.want(<-second, job.ErrTransition)
	lease.End()
	f.ok(appendLease(t.Context(), next, job.TaskProgress{Done: true, Completed: 2}))
	next.End()
	last := b.lease()
	f.ok(perform(t.Context(), last))
	for _, n := range []*node{a, b} {
		f.catchUp(n)
		if j := n.checkLog(id); j.State != job.Succeeded || j.Progress.Completed != 4 {
			t.Errorf("the job is %v with %+v, want succeeded with 4", j.State, j.Progress)
		}
	}
}

// A draining node takes no more leases, reports that it drains, and its leases can end.
func TestDrain(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	id := a.submit(5)
	lease := a.lease()
	f.ok(lease.Start(t.Context()))
	short := a.submit(1)
	a.Drain()
	a.RequestLeases(1)
	f.eventually("b shows that a drains", func() bool {
		nodes, err := b.Nodes(t.Context())
		f.ok(err)
		return len(nodes) == 2 && nodes[0].ID == a.ID() && nodes[0].Draining && !nodes[1].Draining
	})
	f.ok(perform(t.Context(), lease))
	b.work(2, nil)
	for _, id := range []job.ID{id, short} {
		if j := b.waitEnded(id); j.State != job.Succeeded {
			t.Errorf("got the job %v, want it %v", j.State, job.Succeeded)
		}
		b.checkLog(id)
	}
	select {
	case lease := <-a.Leases(): // it would have waited for the worker
		t.Errorf("drained, the node got task %d of job %s, want none", lease.Task, lease.Job.ID)
	default:
	}
}

// Lost tasks are queued again.
func TestLostTasks(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	queued, running := a.submit(3), a.submit(200)
	var lease *job.Lease
	for lease == nil || lease.Job.ID != running {
		if lease != nil {
			defer lease.End() //nolint:revive // all are held until the end
		}
		lease = a.lease()
	}
	f.ok(perform(t.Context(), lease))
	stream, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
	f.ok(err)
	f.ok(stream.Purge(t.Context()))
	b.work(4, nil)
	for _, id := range []job.ID{queued, running} {
		if j := b.waitEnded(id); j.State != job.Succeeded {
			t.Errorf("the job is %v", j.State)
		}
		b.checkLog(id)
	}
	if a.metric("leases_requeued_total") == 0 {
		t.Error("the leader requeued nothing")
	}
}

// All tasks are queued again when the whole stream of tasks was deleted.
func TestLostStreamOfTasks(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a := f.open("a")
	id := a.submit(3)
	f.ok(f.jetStream().DeleteStream(t.Context(), "FLEET_TASKS"))
	b := f.open("b") // recreates the stream
	b.work(2, nil)
	b.waitEnded(id)
	b.checkLog(id)
}

// Jobs wait for their start_after, and start even if the node that submitted them has died.
func TestStartAfter(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	start := time.Now().Add(3 * time.Second)
	later := func(j *job.Job) { j.StartAfter = start }
	ids := []job.ID{a.submit(2, later), b.submit(2, later), a.submit(1, later)}
	f.catchUp(b)
	a.die()
	var mu sync.Mutex
	early := 0
	b.work(2, func(ctx context.Context, lease *job.Lease) error {
		if time.Now().Before(start.Add(-time.Second)) { // a node reads the log's clock with an error of a second at most
			mu.Lock()
			early++
			mu.Unlock()
		}
		return perform(ctx, lease)
	})
	if _, _, ok := b.Position(ids[0]); ok && time.Now().Before(start.Add(-time.Second)) {
		t.Error("a job that is not due has a place in the queue")
	}
	for _, id := range ids {
		if j := b.waitEnded(id); j.State != job.Succeeded {
			t.Errorf("the job is %v", j.State)
		}
		b.checkLog(id)
	}
	if early > 0 {
		t.Errorf("%d leases came too early", early)
	}
}

// No task is lost when a consumer of the tasks was deleted and a node starts.
func TestLostConsumer(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a := f.open("a")
	id := a.submit(3)
	for _, name := range []string{"normal-new", "normal-running"} {
		err := f.jetStream().DeleteConsumer(t.Context(), "FLEET_TASKS", name)
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			f.ok(err)
		}
	}
	b := f.open("b")
	b.work(2, nil)
	b.waitEnded(id)
	b.checkLog(id)
}
