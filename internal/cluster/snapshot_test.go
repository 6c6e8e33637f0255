package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// compacting makes snapshots small and frequent.
var compacting = cluster.WithCompaction(1, time.Hour)

// churn submits jobs that end and are kept.
func (n *node) churn(jobs int) (last job.ID) {
	n.f.Helper()
	for range jobs {
		s := newJob(2)
		last = s.Job.ID
		n.f.ok(n.append(job.Batch{Entries: []job.Entry{{ID: s.Job.ID, Events: []job.Event{
			s, job.Started{At: n.Now()}, job.Finished{At: n.Now(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "why"}},
		}}}}))
	}
	return last
}

// compact has a node write a snapshot.
func (n *node) compact() {
	n.f.Helper()
	n.f.ok(n.Compact(n.f.Context()))
}

// sameContents fails the test unless the replicas of all nodes have the same jobs and keys.
func (f *testCluster) sameContents(nodes ...*node) {
	f.Helper()
	all := make([]string, len(nodes))
	f.atSamePosition(func() {
		for i, n := range nodes {
			var err error
			all[i], err = n.Contents(f.Context())
			f.ok(err)
		}
	}, nodes...)
	for i, got := range all {
		if got != all[0] {
			f.Errorf("the replica in %s has\n%s\nwant, as in %s,\n%s", nodes[i].dir, got, nodes[0].dir, all[0])
		}
	}
}

func (f *testCluster) snapshots() jetstream.ObjectStore {
	f.Helper()
	store, err := f.jetStream().ObjectStore(f.Context(), "FLEET_SNAPSHOTS")
	f.ok(err)
	return store
}

// objects returns the names of the objects in the bucket, of manifests or of parts.
func (f *testCluster) objects(parts bool) (names []string) {
	f.Helper()
	all, err := f.snapshots().List(f.Context())
	if !errors.Is(err, jetstream.ErrNoObjectsFound) {
		f.ok(err)
	}
	for _, o := range all {
		if strings.Contains(o.Name, "/") == parts {
			names = append(names, o.Name)
		}
	}
	return names
}

// The log is trimmed although jobs in its start are kept or have not ended. A new node, and one whose replica ends in the
// removed part, start from a snapshot, and have and decide everything as the others do.
func TestCompaction(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, late := f.open("a", compacting), f.open("late", compacting)
	kept, running, cancelling := a.submit(1), a.submit(3), a.submit(2)
	f.ok(a.events(kept, job.Started{At: a.Now()}, job.TaskProgress{Done: true, Completed: 1}, job.Finished{At: a.Now(), State: job.Succeeded, Result: []byte("1")}))
	f.ok(a.events(running, job.Started{At: a.Now()}, job.TaskProgress{Task: 1, Done: true, Completed: 1}))
	f.ok(a.Join(t.Context(), cancelling, "another"))
	_, err := a.Cancel(t.Context(), "t", cancelling)
	f.ok(err)
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Fingerprint: [32]byte{1}}
	first, err := a.submitOnce(key, newJob(3))
	f.ok(err)
	f.want(a.AppendBlindly(t.Context(), admitted(job.Admission{Jobs: 1}, job.Size{}, newJob(1))), job.ErrQueueFull)
	f.catchUp(late)
	late.close()
	for range 3 {
		a.churn(10)
		a.compact()
	}
	if begin, _ := f.logRange(); begin < 10 {
		t.Fatalf("the log begins at message %d, want that the start is removed", begin)
	}
	late = f.open("late", compacting)
	fresh := f.open("fresh", compacting)
	for _, n := range []*node{late, fresh} {
		if got := n.metric("snapshot_restores_total", "restored"); got != 1 {
			t.Errorf("the node in %s restored %v snapshots, want 1", n.dir, got)
		}
		if got := n.metric("replica_rebuilds_total"); got != 0 {
			t.Errorf("the node in %s rebuilt its replica %v times, want 0", n.dir, got)
		}
		if id, err := n.submitOnce(key, newJob(3)); err != nil || id != first {
			t.Errorf("a key that was used before the snapshot: got job %s (%v), want %s", id, err, first)
		}
	}
	f.sameStates(a, late, fresh)
	f.sameContents(a, late, fresh)
	fresh.work(2, nil)
	fresh.waitEnded(running)
	for _, n := range []*node{a, late, fresh} {
		f.catchUp(n)
		n.checkLog(kept)
		if j := n.get(kept); string(j.Result) != "1" {
			t.Errorf("the result is %q, want 1", j.Result)
		}
	}
	late.close()
	f.sameStates(a, f.open("late", compacting), fresh)
}

// A node starts from the snapshot before a damaged one. If no snapshot is intact, it waits, with the error that names the remedy, until
// the leader has written one.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	replace := func(f *testCluster, name string, change func(data []byte) []byte) {
		f.Helper()
		data, err := f.snapshots().GetBytes(f.Context(), name)
		f.ok(err)
		_, err = f.snapshots().PutBytes(f.Context(), name, change(bytes.Clone(data)))
		f.ok(err)
	}
	for _, tt := range []struct {
		name   string
		damage func(f *testCluster, manifest string)
	}{
		{"part with a flipped bit", func(f *testCluster, m string) {
			replace(f, m+"/00000", func(b []byte) []byte { b[len(b)/2] ^= 8; return b })
		}},
		{"part cut short", func(f *testCluster, m string) {
			replace(f, m+"/00001", func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{"part removed", func(f *testCluster, m string) { f.ok(f.snapshots().Delete(f.Context(), m+"/00001")) }},
		{"parts of another snapshot", func(f *testCluster, m string) {
			replace(f, m+"/00000", func([]byte) []byte {
				data, err := f.snapshots().GetBytes(f.Context(), m+"/00001")
				f.ok(err)
				return data
			})
		}},
		{"manifest unreadable", func(f *testCluster, m string) {
			replace(f, m, func(b []byte) []byte { return b[:len(b)-3] })
		}},
		{"manifest without parts", func(f *testCluster, m string) {
			replace(f, m, func(b []byte) []byte { return bytes.Replace(b, []byte(`"parts":[`), []byte(`"none":[`), 1) })
		}},
		{"of another log", func(f *testCluster, m string) {
			replace(f, m, func(b []byte) []byte { return bytes.Replace(b, []byte(`"log":"`), []byte(`"log":"x`), 1) })
		}},
		{"of a later state than the log", func(f *testCluster, m string) {
			replace(f, m, func(b []byte) []byte { return bytes.Replace(b, []byte(`"seq":`), []byte(`"seq":9`), 1) })
		}},
		{"of other messages", func(f *testCluster, m string) {
			replace(f, m, func(b []byte) []byte { return bytes.Replace(b, []byte(`"at":`), []byte(`"at":1`), 1) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, 1)
			a := f.open("a", compacting)
			running := a.submit(2)
			for range 3 {
				a.churn(40)
				a.compact()
			}
			manifests := f.objects(false)
			if len(manifests) != 2 {
				t.Fatalf("there are %d snapshots, want 2", len(manifests))
			}
			newest := max(manifests[0], manifests[1])
			tt.damage(f, newest)
			fresh := f.open("fresh", compacting)
			if got := fresh.metric("snapshot_restores_total", "failed"); got != 1 {
				t.Errorf("%v snapshots could not be used, want 1", got)
			}
			f.sameStates(a, fresh)
			f.sameContents(a, fresh)
			fresh.close()

			tt.damage(f, min(manifests[0], manifests[1]))
			waiting := make(chan *node, 1)
			logged := new(lines)
			go func() { waiting <- f.open("waiting", compacting, logged.to) }()
			f.eventually("the node logs that it waits for a snapshot", func() bool {
				return logged.have("waits for a snapshot") && logged.have("GatherSnapshotFailing")
			})
			a.compact() // finds both damaged, and writes another
			n := <-waiting
			n.get(running)
			f.sameStates(a, n)
		})
	}
}

// What a writer that died has left is not taken for a snapshot, and is removed when it is old, down to the last message.
func TestSnapshotOfDeadWriter(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", cluster.WithCompaction(1, time.Millisecond))
	a.churn(30)
	a.compact()
	name := f.objects(false)[0]
	dead := strings.Replace(name, "0", "1", 1) // of a later message
	data, err := f.snapshots().GetBytes(t.Context(), name+"/00000")
	f.ok(err)
	_, err = f.snapshots().PutBytes(t.Context(), dead+"/00000", data)
	f.ok(err)
	_, err = f.jetStream().Publish(t.Context(), "$O.FLEET_SNAPSHOTS.C.incomplete", data) // an object without its metadata
	f.ok(err)
	fresh := f.open("fresh", compacting)
	f.sameStates(a, fresh)
	for range 3 {
		a.churn(5)
		a.compact()
	}
	if got := f.objects(false); len(got) != 2 {
		t.Errorf("the snapshots are %q, want 2", got)
	}
	for _, part := range f.objects(true) {
		if strings.HasPrefix(part, dead) {
			t.Errorf("%s is left of a dead writer", part)
		}
	}
	s, err := f.jetStream().Stream(t.Context(), "OBJ_FLEET_SNAPSHOTS")
	f.ok(err)
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("$O.FLEET_SNAPSHOTS.>"))
	f.ok(err)
	if want := 2 * (len(f.objects(true)) + 2); len(info.State.Subjects) != want {
		t.Errorf("the bucket has %d subjects, want 2 for each of its objects: %d", len(info.State.Subjects), want)
	}
}

// Two leaders at a time write snapshots and trim, while clients submit: a new node starts from each of their snapshots.
func TestTwoSnapshotWriters(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a", compacting), f.open("b", compacting)
	old := a.submit(2)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for _, n := range []*node{a, b} {
		load.Go(func() {
			for ctx.Err() == nil {
				n.churn(3)
				time.Sleep(5 * time.Millisecond) // the nodes that start have to catch up, also on a busy machine
			}
		})
	}
	var writers sync.WaitGroup
	for _, n := range []*node{a, b} {
		writers.Go(func() {
			for range 6 {
				// The other one may remove a snapshot that this one reads.
				if err := n.Compact(t.Context()); err != nil {
					t.Logf("a compaction failed: %v", err)
				}
			}
		})
	}
	writers.Wait()
	fresh := f.open("fresh", compacting)
	stop()
	load.Wait()
	a.compact()
	second := f.open("second", compacting)
	f.sameStates(a, b, fresh, second)
	f.sameContents(a, b, fresh, second)
	second.get(old)
	if first, _ := f.logRange(); first < 5 {
		t.Errorf("the log begins at message %d, want that it was trimmed", first)
	}
}

// A node that was cut off until the log was trimmed past it starts from a snapshot while it runs. It gets no outcome for what it
// had written, and continues.
func TestRestoreWhileRunning(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	p := natstest.NewProxy(t, f.s.URL)
	a, b := f.open("a", compacting), f.open("b", compacting, through(p))
	old, ended, left := a.submit(2), a.submit(2), a.submit(1)
	f.ok(b.events(ended, job.Started{At: b.Now()}))
	f.ok(b.Join(t.Context(), left, b.ID()))
	f.catchUp(a, b)
	p.Pause()
	pending := make(chan error, 1)
	f.ok(b.Append(t.Context(), job.Batch{
		Entries: []job.Entry{{ID: old, Events: []job.Event{job.Started{At: b.Now()}}}}, Done: func(err error) { pending <- err },
	}))
	f.ok(a.events(ended, job.Finished{At: a.Now(), State: job.Failed}))
	_, err := a.Cancel(t.Context(), "t", left)
	f.ok(err)
	for range 3 {
		a.churn(100)
		a.compact()
	}
	p.Resume()
	f.eventually("the node has restored a snapshot", func() bool { return b.metric("snapshot_restores_total", "restored") == 1 })
	f.eventually("the node is ready", func() bool { return b.Ready() == nil })
	if err := <-pending; err != nil {
		t.Errorf("an event that was written after the cut: got error %v, want none", err)
	}
	f.sameStates(a, b)
	f.sameContents(a, b)
	// The node had joined a job that was cancelled meanwhile, and leaves it.
	b.waitEnded(left)
	b.work(2, nil)
	b.waitEnded(old)
	b.checkLog(old)
}

// The leader compacts only while all nodes read snapshots.
func TestCompactionWithEarlierVersion(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	soon := func(c *cluster.Config) { c.NodeTimeout = shortNodeTimeout }
	old := f.open("old", compacting, soon, cluster.WithFormat(job.ProposeSnapshotTrim.Format()-1))
	a := f.open("a", compacting, soon)
	for _, n := range []*node{a, old} {
		f.eventually("the nodes see each other", func() bool {
			nodes, err := n.Nodes(t.Context())
			return err == nil && len(nodes) == 2
		})
		if n.SnapshotsSupported() {
			t.Error("snapshots are supported beside a node of an earlier version, want that they are not")
		}
	}
	a.churn(20)
	old.close()
	f.eventually("the leader has written snapshots and trimmed the log", func() bool {
		a.churn(5)
		first, _ := f.logRange()
		return first > 1
	})
	if got := a.metric("snapshots_total", "written"); got < 2 {
		t.Errorf("%v snapshots were written, want 2 at least", got)
	}
	if got := a.metric("snapshot_size_bytes"); got <= 0 {
		t.Errorf("the newest snapshot has %v bytes, want some", got)
	}
}

// A proposal that is acknowledged and skipped by a restore gets an outcome.
func TestSkippedProposal(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a", compacting), f.open("b", compacting)
	id := a.submit(2)
	f.catchUp(b)
	goOn := b.HoldApply()
	a.churn(200) // more than the node receives before it applies them
	pending := make(chan error, 1)
	f.ok(b.Append(t.Context(), job.Batch{
		Entries: []job.Entry{{ID: id, Events: []job.Event{job.Started{At: b.Now()}}}}, Done: func(err error) { pending <- err },
	}))
	f.eventually("the event is in the log", func() bool { return a.get(id).State == job.Running })
	for range 3 {
		a.churn(100)
		a.compact()
	}
	goOn()
	f.want(<-pending, job.ErrStorage)
	f.sameStates(a, b)
	f.ok(b.events(b.submit(1), job.Started{At: b.Now()}))
}

// lines holds what a node logs.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) to(c *cluster.Config) { c.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// String returns what was logged so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) have(text string) bool { return strings.Contains(l.String(), text) }
