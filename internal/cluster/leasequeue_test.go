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

// Every task of a job is done once, wherever, and then its reduction: of jobs with fewer and with more tasks than lanes.
func TestTurns(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a"), f.open("b")
	var ids []job.ID
	for i, tasks := range []int{0, 1, 2, 5, 300} {
		ids = append(ids, []*node{a, b}[i%2].submit(tasks, func(j *job.Job) { j.Progress.Total = 2000 }))
	}
	workers := []*workers{a.work(4, nil), b.work(4, nil)}
	for _, id := range ids {
		for _, n := range []*node{a, b} {
			n.ends(id)
			if j := n.whole(id); j.State != job.Succeeded || j.TasksDone != j.Tasks {
				t.Errorf("job of %d tasks is %v with %d done", j.Tasks, j.State, j.TasksDone)
			}
		}
	}
	for i, w := range workers {
		w.end()
		if w.turns.Load() == 0 {
			t.Errorf("node %d had no turn", i)
		}
	}
	f.eventually("no message is left", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 0
	})
	for _, n := range []*node{a, b} {
		if v := n.metric("leases_held"); v != 0 {
			t.Errorf("%v turns are held in the end", v)
		}
	}
}

// Short jobs are done, also when the node that accepted them does no work.
func TestShortJobs(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	var ids []job.ID
	for range 50 {
		ids = append(ids, a.submit(1))
	}
	b.work(2, nil)
	for _, id := range ids {
		b.ends(id)
		b.whole(id)
	}
}

// The queues of the priorities are served 16 to 4 to 1.
func TestPriorities(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a"), f.open("b")
	for range 60 {
		for _, p := range job.Priorities() {
			a.submit(2, func(j *job.Job) { j.Priority = p })
		}
	}
	f.caughtUp(b)
	// Only first turns, each of another job: they are not ended, so that nothing is given twice.
	counts := make(map[job.Priority]int)
	for range 63 {
		turn := b.turn()
		counts[turn.Job.Priority]++
		defer turn.End() //nolint:revive // all are held until the end
	}
	if h, n, l := counts[job.High], counts[job.Normal], counts[job.Low]; h < 40 || n < 6 || n > 18 || l < 1 || l > 9 {
		t.Errorf("of 63 turns %d were high, %d normal, %d low", h, n, l)
	}
}

// New jobs come before those under way, mostly.
func TestNewJobsFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.open("a")
	old := a.submit(128)
	turn := a.turn()
	f.ok(turn.Start(t.Context()))
	f.eventually("all lanes are offered", func() bool {
		s, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
		f.ok(err)
		return s.CachedInfo().State.Msgs == 64
	})
	defer turn.End()
	for range 20 {
		a.submit(2)
	}
	fresh, active := 0, 0
	for range 16 {
		turn := a.turn()
		if turn.Job.ID == old {
			active++
		} else {
			fresh++
		}
		defer turn.End() //nolint:revive // all are held until the end
	}
	if fresh < 8 || active < 1 {
		t.Errorf("of 16 turns %d were of new jobs, %d of one under way", fresh, active)
	}
}

// A turn that is given back goes to another node, which is told of the steps that were made.
func TestTurnGivenBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a"), f.open("b")
	id := a.submit(2)
	turn := a.turn()
	if turn.Task != 0 || turn.Resumed || turn.Job.State != job.Queued || string(turn.Spec) != fmt.Sprintf(`{"of":%q}`, id) {
		t.Errorf("the first turn is of task %d, resumed %v, spec %s", turn.Task, turn.Resumed, turn.Spec)
	}
	f.ok(turn.Start(t.Context()))
	f.eventually("the start can be read", func() bool { return a.get(id).State == job.Running })
	if turn.Job.State != job.Running {
		t.Errorf("started, the job is %v", turn.Job.State)
	}
	f.ok(turn.Start(t.Context()))
	f.ok(appendTurn(t.Context(), turn, job.Advanced{Task: 0, Completed: 5}))
	f.ok(appendTurn(t.Context(), turn, job.Advanced{Task: 0, Completed: 6}))
	turn.End()
	turns := map[int]*job.Lease{}
	for range 2 {
		turn := b.turn()
		turns[turn.Task] = turn
	}
	if turns[0] == nil || turns[1] == nil {
		t.Fatalf("turns are %v", turns)
	}
	if !turns[0].Resumed || turns[1].Resumed {
		t.Errorf("resumed: %v, %v", turns[0].Resumed, turns[1].Resumed)
	}
	steps := 0
	for r, err := range turns[0].Log(t.Context()) {
		f.ok(err)
		if ev, ok := r.Event.(job.Advanced); ok && ev.Task == 0 {
			steps++
		}
	}
	if steps != 2 {
		t.Errorf("the log has %d steps, want 2", steps)
	}
	f.ok(perform(t.Context(), turns[1]))
	f.ok(perform(t.Context(), turns[0]))
	if last := b.turn(); last.Task != job.Reduction {
		t.Errorf("the last turn is of task %d", last.Task)
	} else {
		f.ok(perform(t.Context(), last))
	}
	if j := b.whole(id); j.State != job.Succeeded || j.Progress.Completed != 13 {
		t.Errorf("the job is %v with %+v", j.State, j.Progress)
	}
}

// The turns of a node that dies go to the others; jobs that only it had started too.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	ids := []job.ID{a.submit(300), b.submit(5), a.submit(1), a.submit(1, func(j *job.Job) { j.Progress.Total = 2000 })}
	var held sync.WaitGroup
	held.Add(3)
	a.work(1, nil)
	busy := a.work(3, func(ctx context.Context, turn *job.Lease) error {
		if err := turn.Start(ctx); err == nil {
			_ = appendTurn(ctx, turn, job.Advanced{Task: turn.Task})
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
		if j := b.ends(id); j.State != job.Succeeded {
			t.Errorf("a job is %v", j.State)
		}
		b.whole(id)
	}
	if b.metric("leases_redelivered_total") < 1 {
		t.Error("no turn came again")
	}
}

// Who was silent for longer than the ack wait has lost its turns, and what it appends then is refused.
func TestNodeIsPaused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	p := natstest.NewProxy(t, f.s.URL)
	a, b := f.open("a", through(p)), f.open("b")
	id := a.submit(2)
	turn := a.turn()
	f.ok(turn.Start(t.Context()))
	f.ok(appendTurn(t.Context(), turn, job.Advanced{Task: turn.Task, Completed: 1}))
	p.Pause()
	b.work(1, nil)
	if j := b.ends(id); j.State != job.Succeeded {
		t.Errorf("the job is %v", j.State)
	}
	refused := make(chan error, 1)
	f.ok(turn.Append(t.Context(), func(err error) { refused <- err }, job.Advanced{Task: turn.Task, Done: true, Completed: 100}))
	p.Resume()
	f.want(<-refused, job.ErrTransition)
	select {
	case <-turn.Context.Done():
	case <-time.After(patience):
		t.Errorf("got a context of the task that has not ended within %s, want it to end with the job", patience)
	}
	turn.End()
	for _, n := range []*node{a, b} {
		f.caughtUp(n)
		if j := n.whole(id); j.Progress.Completed != 3 {
			t.Errorf("progress is %+v", j.Progress)
		}
		if n.metric("log_rejected_proposals_total", "transition") < 1 {
			t.Error("no record was dropped")
		}
	}
	// It is as good as any other again.
	next := a.submit(2)
	a.work(1, nil)
	a.ends(next)
}

// A node that is drained takes nothing more, says so, and its turns can be ended.
func TestDrain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b := f.open("a"), f.open("b")
	id := a.submit(5)
	turn := a.turn()
	f.ok(turn.Start(t.Context()))
	short := a.submit(1)
	a.Drain()
	a.RequestLeases(1)
	f.eventually("b hears that a drains", func() bool {
		nodes, err := b.Nodes(t.Context())
		f.ok(err)
		return len(nodes) == 2 && nodes[0].ID == a.ID() && nodes[0].Draining && !nodes[1].Draining
	})
	f.ok(perform(t.Context(), turn))
	b.work(2, nil)
	for _, id := range []job.ID{id, short} {
		if j := b.ends(id); j.State != job.Succeeded {
			t.Errorf("got the job %v, want it %v", j.State, job.Succeeded)
		}
		b.whole(id)
	}
	select {
	case turn := <-a.Leases(): // it would have waited for the worker
		t.Errorf("drained, the node got task %d of job %s, want none", turn.Task, turn.Job.ID)
	default:
	}
}

// Turns that were lost are offered again.
func TestLostTurns(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	queued, running := a.submit(3), a.submit(200)
	var turn *job.Lease
	for turn == nil || turn.Job.ID != running {
		if turn != nil {
			defer turn.End() //nolint:revive // all are held until the end
		}
		turn = a.turn()
	}
	f.ok(perform(t.Context(), turn))
	stream, err := f.jetStream().Stream(t.Context(), "FLEET_TASKS")
	f.ok(err)
	f.ok(stream.Purge(t.Context()))
	b.work(4, nil)
	for _, id := range []job.ID{queued, running} {
		if j := b.ends(id); j.State != job.Succeeded {
			t.Errorf("the job is %v", j.State)
		}
		b.whole(id)
	}
	if a.metric("leases_requeued_total") == 0 {
		t.Error("the leader restored nothing")
	}
}

// The same when the whole stream of turns is gone.
func TestLostStreamOfTurns(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a := f.open("a")
	id := a.submit(3)
	f.ok(f.jetStream().DeleteStream(t.Context(), "FLEET_TASKS"))
	b := f.open("b") // which makes it again
	b.work(2, nil)
	b.ends(id)
	b.whole(id)
}

// Jobs wait for their start_after, and start when the node that submitted them is gone as well.
func TestStartAfter(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	start := time.Now().Add(3 * time.Second)
	later := func(j *job.Job) { j.StartAfter = start }
	ids := []job.ID{a.submit(2, later), b.submit(2, later), a.submit(1, later)}
	f.caughtUp(b)
	a.die()
	var mu sync.Mutex
	early := 0
	b.work(2, func(ctx context.Context, turn *job.Lease) error {
		if time.Now().Before(start.Add(-time.Second)) { // a node reads the log's clock with an error of a second at most
			mu.Lock()
			early++
			mu.Unlock()
		}
		return perform(ctx, turn)
	})
	if _, _, ok := b.Position(ids[0]); ok && time.Now().Before(start.Add(-time.Second)) {
		t.Error("a job that is not due has a place in the queue")
	}
	for _, id := range ids {
		if j := b.ends(id); j.State != job.Succeeded {
			t.Errorf("the job is %v", j.State)
		}
		b.whole(id)
	}
	if early > 0 {
		t.Errorf("%d turns came too early", early)
	}
}

// Nothing is lost when a consumer of the turns was deleted and a node starts.
func TestLostConsumer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
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
	b.ends(id)
	b.whole(id)
}
