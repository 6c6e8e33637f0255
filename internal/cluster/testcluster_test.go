package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
)

// waitTimeout is the maximum wait of a test for an expected state, on a machine that may be busy.
const waitTimeout = 5 * time.Minute

// shortNodeTimeout is the node timeout of tests in which a node dies or the leader has to act.
const shortNodeTimeout = 2 * time.Second

// testCluster is a cluster of nodes on NATS servers of its own.
type testCluster struct {
	*testing.T
	s   *natstest.Servers
	cfg cluster.Config
	dir string

	js    jetstream.JetStream
	nodes []*node
}

// node is a node of a testCluster.
type node struct {
	*cluster.Cluster
	f    *testCluster
	dir  string
	reg  *prometheus.Registry
	gone bool
}

func newTestCluster(t *testing.T, servers int) *testCluster {
	t.Helper()
	f := &testCluster{T: t, s: natstest.Start(t, servers), dir: t.TempDir()}
	f.cfg = cluster.Config{URL: f.s.URL, Prefix: "fleet", Replicas: servers}
	return f
}

// open starts a node in a directory of the given name. It is closed at the end of the test.
func (f *testCluster) open(name string, change ...func(*cluster.Config)) *node {
	f.Helper()
	n := &node{f: f, dir: filepath.Join(f.dir, name), reg: prometheus.NewRegistry()}
	cfg := f.cfg
	cfg.Name, cfg.Dir, cfg.Registerer = name, n.dir, n.reg
	for _, c := range change {
		c(&cfg)
	}
	n.Cluster = open(f.T, cfg)
	f.nodes = append(f.nodes, n)
	f.Cleanup(n.close)
	return n
}

// through makes a node connect through a proxy.
func through(p *natstest.Proxy) func(*cluster.Config) {
	return func(c *cluster.Config) { c.URL = p.URL }
}

// openThree starts nodes a, b and c.
func (f *testCluster) openThree() []*node {
	f.Helper()
	return []*node{f.open("a"), f.open("b"), f.open("c")}
}

func (n *node) close() {
	n.f.Helper()
	if !n.gone {
		n.gone = true
		n.f.ok(n.Close())
	}
}

// die ends the node without leaving the cluster.
func (n *node) die() {
	n.f.Helper()
	n.gone = true
	n.f.ok(n.Die())
}

// jetStream returns a client of the test for the streams.
func (f *testCluster) jetStream() jetstream.JetStream {
	f.Helper()
	if f.js == nil {
		nc, err := f.s.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
		f.ok(err)
		f.Cleanup(nc.Close)
		f.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute)) // a lost request takes as long
		f.ok(err)
	}
	return f.js
}

func (f *testCluster) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *testCluster) want(err, target error) {
	f.Helper()
	if !errors.Is(err, target) {
		f.Fatalf("error is %v, want %v", err, target)
	}
}

// eventually waits until a condition holds.
func (f *testCluster) eventually(what string, holds func() bool) {
	f.Helper()
	for end := time.Now().Add(waitTimeout); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("got no such state within %s, want this: %s", waitTimeout, what)
		}
	}
}

// metric returns the sum of a metric of the node over its labels, or its value for one value of the label.
func (n *node) metric(name string, label ...string) float64 {
	n.f.Helper()
	families, err := n.reg.Gather()
	n.f.ok(err)
	sum := 0.0
	for _, fam := range families {
		if fam.GetName() != "gather_cluster_"+name {
			continue
		}
		for _, m := range fam.GetMetric() {
			if len(label) == 0 || m.GetLabel()[0].GetValue() == label[0] {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// newJob returns a submission of tenant "t" with a number of tasks.
func newJob(tasks int, change ...func(*job.Job)) job.Submitted {
	j := job.Job{
		ID: job.NewID(), Tenant: "t", Kind: "squares", Priority: job.Normal, State: job.Queued, CreatedAt: time.Now().UTC(),
		Tasks: tasks, Progress: job.Progress{Total: int64(tasks)}, Retention: time.Hour,
	}
	for _, c := range change {
		c(&j)
	}
	return job.Submitted{Job: j, Spec: fmt.Appendf(nil, `{"of":%q}`, j.ID)}
}

func batch(subs ...job.Submitted) job.Batch {
	var b job.Batch
	for _, s := range subs {
		b.Entries = append(b.Entries, job.Entry{ID: s.Job.ID, Events: []job.Event{s}})
	}
	return b
}

// append appends a batch and waits for the outcome. It repeats what the node rejects while the disk of a busy machine stalls.
func (n *node) append(b job.Batch) error {
	ctx, cancel := context.WithTimeout(n.f.Context(), waitTimeout)
	defer cancel()
	for {
		err := journaltest.Append(ctx, n.Cluster, b)
		rejected, ok := errors.AsType[*job.Rejection](err)
		if stalled := ok && strings.Contains(rejected.Detail, "the disk has not answered"); !stalled || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// events appends events of one job.
func (n *node) events(id job.ID, events ...job.Event) error {
	return n.append(job.Batch{Entries: []job.Entry{{ID: id, Events: events}}})
}

// submit submits a job with a number of tasks.
func (n *node) submit(tasks int, change ...func(*job.Job)) job.ID {
	n.f.Helper()
	s := newJob(tasks, change...)
	n.f.ok(n.append(batch(s)))
	return s.Job.ID
}

func (n *node) get(id job.ID) job.Job {
	n.f.Helper()
	j, err := n.Get(n.f.Context(), "t", id)
	n.f.ok(err)
	return j
}

// log reads the whole log of a job.
func (n *node) log(id job.ID) (all []job.LogRecord) {
	n.f.Helper()
	for after := uint64(0); ; {
		page, err := n.Log(n.f.Context(), id, after, 1000)
		n.f.ok(err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1].Seq
	}
}

// catchUp waits until the nodes have applied the whole log.
func (f *testCluster) catchUp(nodes ...*node) {
	f.Helper()
	for _, n := range nodes {
		f.ok(n.CatchUp(f.Context()))
	}
}

// atSamePosition runs look while all nodes have applied exactly the same messages. It repeats look until no message was
// appended meanwhile.
func (f *testCluster) atSamePosition(look func(), nodes ...*node) {
	f.Helper()
	f.eventually("the log is still", func() bool {
		f.catchUp(nodes...)
		_, before := f.logRange()
		for _, n := range nodes {
			f.ok(n.AwaitLog(f.Context(), before))
		}
		look()
		_, after := f.logRange()
		return before == after
	})
}

// sameStates fails the test unless the nodes have the same state, and returns it.
func (f *testCluster) sameStates(nodes ...*node) (want string) {
	f.Helper()
	states := make([]string, len(nodes))
	f.atSamePosition(func() {
		for i, n := range nodes {
			states[i] = n.State()
		}
	}, nodes...)
	for i, got := range states {
		if got != states[0] {
			f.Errorf("the node in %s: got the state\n%s, want, as of the node in %s,\n%s", nodes[i].dir, got, nodes[0].dir, states[0])
		}
	}
	return states[0]
}

// isGone reports whether err means that a job has been removed.
func isGone(err error) bool { return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) }

// waitOver waits until a job has ended, or has been removed after that.
func (n *node) waitOver(id job.ID) {
	n.f.Helper()
	n.f.eventually(fmt.Sprintf("job %s is over", id), func() bool {
		j, err := n.Get(n.f.Context(), "t", id)
		if isGone(err) {
			return true
		}
		n.f.ok(err)
		return j.State.Terminal()
	})
}

// remove deletes a job that has ended, unless it has expired.
func (n *node) remove(id job.ID) {
	n.f.Helper()
	if err := n.Delete(n.f.Context(), "t", id); !isGone(err) {
		n.f.ok(err)
	}
}

// waitEnded waits until a job has ended in the node's replica, and returns its view.
func (n *node) waitEnded(id job.ID) (j job.Job) {
	n.f.Helper()
	n.f.eventually(fmt.Sprintf("job %s ends", id), func() bool {
		j = n.get(id)
		return j.State.Terminal()
	})
	return j
}

// lease requests one lease and waits for it.
func (n *node) lease() *job.Lease {
	n.f.Helper()
	n.RequestLeases(1)
	select {
	case t := <-n.Leases():
		return t
	case <-time.After(waitTimeout):
		n.f.Fatalf("got no task within %s, want one", waitTimeout)
		return nil
	}
}

// onlyNew fails the test if the node is given a task of an earlier job: the next lease must be of a new job, which is last
// in the queue.
func (n *node) onlyNew() {
	n.f.Helper()
	id := n.submit(2, func(j *job.Job) { j.Progress.Total = 5000 })
	t := n.lease()
	defer t.End()
	if t.Job.ID != id {
		n.f.Errorf("got task %d of job %s, want one of job %s", t.Task, t.Job.ID, id)
	}
}

// appendLease appends events under a lease and waits for the outcome.
func appendLease(ctx context.Context, t *job.Lease, events ...job.Event) error {
	done := make(chan error, 1)
	if err := t.Append(ctx, func(err error) { done <- err }, events...); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// perform runs the task of a lease, as a worker does. It returns nil if its events were accepted.
func perform(ctx context.Context, t *job.Lease) error {
	defer t.End()
	if err := t.Start(ctx); err != nil {
		return err
	}
	if t.Task == job.Reduction || t.Job.Tasks == 0 {
		return appendLease(ctx, t, job.Finished{At: time.Now().UTC(), State: job.Succeeded, Result: []byte("1")})
	}
	return appendLease(ctx, t, job.TaskProgress{Task: t.Task, Done: true, Completed: 1})
}

// workers run the tasks of a node.
type workers struct {
	stop context.CancelFunc
	done sync.WaitGroup
	// tasks counts the tasks that were run, rejected the tasks with a rejected append.
	tasks, rejected atomic.Int64
}

// work starts workers of a node. They call do for every lease, which it must end; nil for perform.
func (n *node) work(workerCount int, do func(ctx context.Context, t *job.Lease) error) *workers {
	if do == nil {
		do = perform
	}
	ctx, stop := context.WithCancel(n.f.Context())
	w := &workers{stop: stop}
	for range workerCount {
		w.done.Go(func() {
			for {
				n.RequestLeases(1)
				select {
				case t := <-n.Leases():
					if err := do(ctx, t); err != nil {
						w.rejected.Add(1)
					} else {
						w.tasks.Add(1)
					}
				case <-ctx.Done():
					n.RequestLeases(-1)
					return
				}
			}
		})
	}
	n.f.Cleanup(w.end)
	return w
}

// end ends the workers after their current tasks.
func (w *workers) end() {
	w.stop()
	w.done.Wait()
}

// checkLog fails the test unless a job's log has every task at most once, at most one start and one end, and leads to its
// view.
func (n *node) checkLog(id job.ID) job.Job {
	n.f.Helper()
	view := n.get(id)
	tasks := make([]int, view.Tasks)
	starts, ends := 0, 0
	seq := uint64(0)
	for _, r := range n.log(id) {
		if seq += job.Seqs(r.Event); r.Seq != seq {
			n.f.Fatalf("event %T has seq %d, want %d", r.Event, r.Seq, seq)
		}
		switch ev := r.Event.(type) {
		case job.Started:
			starts++
		case job.TaskProgress:
			if ev.Done {
				tasks[ev.Task]++
			}
		case job.Finished:
			ends++
		}
	}
	for task, times := range tasks {
		if times > 1 || times == 0 && view.State == job.Succeeded {
			n.f.Errorf("task %d of job %s was done %d times", task, id, times)
		}
	}
	if starts > 1 || ends > 1 || view.State.Terminal() && ends != 1 {
		n.f.Errorf("job %s: %d starts, %d ends", id, starts, ends)
	}
	if view.Seq != seq {
		n.f.Errorf("job %s is at seq %d, its log at %d", id, view.Seq, seq)
	}
	return view
}
