package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 3 * time.Minute

// shortNodeTimeout is for tests in which a node dies or the leader has to act: it is how long the others wait for a node.
const shortNodeTimeout = 2 * time.Second

// fleet are the nodes of one test, on NATS servers of their own.
type fleet struct {
	*testing.T
	s   *natstest.Servers
	cfg cluster.Config
	dir string

	js    jetstream.JetStream
	nodes []*node
}

// node is one of them.
type node struct {
	*cluster.Cluster
	f    *fleet
	dir  string
	reg  *prometheus.Registry
	gone bool
}

func newFleet(t *testing.T, servers int) *fleet {
	t.Helper()
	f := &fleet{T: t, s: natstest.Start(t, servers), dir: t.TempDir()}
	f.cfg = cluster.Config{URL: f.s.URL, Prefix: "fleet", Replicas: servers}
	return f
}

// open starts a node in a directory of the given name; it is closed at the end of the test.
func (f *fleet) open(name string, change ...func(*cluster.Config)) *node {
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

// through has a node connect through a proxy.
func through(p *natstest.Proxy) func(*cluster.Config) {
	return func(c *cluster.Config) { c.URL = p.URL }
}

// trio starts nodes a, b and c.
func (f *fleet) trio() []*node {
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

// die ends the node without a word to the others.
func (n *node) die() {
	n.f.Helper()
	n.gone = true
	n.f.ok(n.Die())
}

// stream is a client's look at the streams.
func (f *fleet) jetStream() jetstream.JetStream {
	f.Helper()
	if f.js == nil {
		nc, err := f.s.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
		f.ok(err)
		f.Cleanup(nc.Close)
		f.js, err = jetstream.New(nc)
		f.ok(err)
	}
	return f.js
}

func (f *fleet) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fleet) want(err, target error) {
	f.Helper()
	if !errors.Is(err, target) {
		f.Fatalf("error is %v, want %v", err, target)
	}
}

// eventually waits until a condition holds.
func (f *fleet) eventually(what string, holds func() bool) {
	f.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("got no such state within %s, want this: %s", patience, what)
		}
	}
}

// metric is the sum of a metric of the node over its labels, or of one value of its label.
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

// newJob returns a submission of tenant "t" of so many tasks.
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

// append appends a batch and waits for the outcome.
func (n *node) append(b job.Batch) error {
	ctx, cancel := context.WithTimeout(n.f.Context(), patience)
	defer cancel()
	return journaltest.Append(ctx, n.Cluster, b)
}

// events appends events of one job.
func (n *node) events(id job.ID, events ...job.Event) error {
	return n.append(job.Batch{Entries: []job.Entry{{ID: id, Events: events}}})
}

// submit submits a job of so many tasks.
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

// caughtUp waits until the nodes have all that is in the log.
func (f *fleet) caughtUp(nodes ...*node) {
	f.Helper()
	for _, n := range nodes {
		f.ok(n.CatchUp(f.Context()))
	}
}

// samePosition runs look while the nodes have applied the whole log, none more of it than the others: again and again until
// no message was appended meanwhile.
func (f *fleet) samePosition(look func(), nodes ...*node) {
	f.Helper()
	f.eventually("the log is still", func() bool {
		f.caughtUp(nodes...)
		_, before := f.logRange()
		for _, n := range nodes {
			f.ok(n.AwaitLog(f.Context(), before))
		}
		look()
		_, after := f.logRange()
		return before == after
	})
}

// sameTables checks that the nodes decide alike, and returns by what.
func (f *fleet) sameTables(nodes ...*node) (want string) {
	f.Helper()
	tables := make([]string, len(nodes))
	f.samePosition(func() {
		for i, n := range nodes {
			tables[i] = n.Table()
		}
	}, nodes...)
	for i, got := range tables {
		if got != tables[0] {
			f.Errorf("the node in %s: got the table\n%s, want that of the node in %s\n%s", nodes[i].dir, got, nodes[0].dir, tables[0])
		}
	}
	return tables[0]
}

// isGone reports whether err is that of a job that has been removed.
func isGone(err error) bool { return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) }

// over waits until a job has ended, or has expired after that.
func (n *node) over(id job.ID) {
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

// ends waits until a job has ended, as a node sees it, and returns its view.
func (n *node) ends(id job.ID) (j job.Job) {
	n.f.Helper()
	n.f.eventually(fmt.Sprintf("job %s ends", id), func() bool {
		j = n.get(id)
		return j.State.Terminal()
	})
	return j
}

// turn asks for one turn and waits for it.
func (n *node) turn() *job.Lease {
	n.f.Helper()
	n.RequestLeases(1)
	select {
	case t := <-n.Leases():
		return t
	case <-time.After(patience):
		n.f.Fatalf("got no task within %s, want one", patience)
		return nil
	}
}

// onlyNew checks that the node is given no task of the jobs before: the next one is of a new job, which came last into the queue.
func (n *node) onlyNew() {
	n.f.Helper()
	id := n.submit(2, func(j *job.Job) { j.Progress.Total = 5000 })
	t := n.turn()
	defer t.End()
	if t.Job.ID != id {
		n.f.Errorf("got task %d of job %s, want one of job %s", t.Task, t.Job.ID, id)
	}
}

// appendTurn appends events to a turn and waits for the outcome.
func appendTurn(ctx context.Context, t *job.Lease, events ...job.Event) error {
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

// perform does what a turn asks for, as a worker does: the events that it appended were taken when the error is nil.
func perform(ctx context.Context, t *job.Lease) error {
	defer t.End()
	if err := t.Start(ctx); err != nil {
		return err
	}
	if t.Task == job.Reduction || t.Job.Tasks == 0 {
		return appendTurn(ctx, t, job.Finished{At: time.Now().UTC(), State: job.Succeeded, Result: []byte("1")})
	}
	return appendTurn(ctx, t, job.Advanced{Task: t.Task, Done: true, Completed: 1})
}

// workers do the turns of nodes.
type workers struct {
	stop context.CancelFunc
	done sync.WaitGroup
	// turns counts those that were done, refused those of which an append was not taken.
	turns, refused atomic.Int64
}

// work starts so many workers of a node. Do is called for every turn, and must end it; nil for perform.
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
						w.refused.Add(1)
					} else {
						w.turns.Add(1)
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

// end ends the workers, after the turns that they have.
func (w *workers) end() {
	w.stop()
	w.done.Wait()
}

// whole checks that a job's log tells of every task once, of one start and one end, and that its view is the fold.
func (n *node) whole(id job.ID) job.Job {
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
		case job.Advanced:
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
