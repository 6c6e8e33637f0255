package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

var snapshotFaults = flag.Bool("snapshot-faults", false, "all faults of TestSnapshotFaults, for minutes")

// Servers that are killed or paused while a snapshot is written leave no snapshot that a node takes for a whole one, and nothing behind. Every
// new node has all jobs that were acknowledged.
func TestSnapshotFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	servers := natstest.Start(t, 3, natstest.SyncAlways())
	f := &testCluster{T: t, dir: t.TempDir(), cfg: cluster.Config{URL: servers.URL, Prefix: "fleet", Replicas: 3}}
	nc, err := servers.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	f.ok(err)
	t.Cleanup(nc.Close)
	f.js, err = jetstream.New(nc)
	f.ok(err)
	brief := cluster.WithCompaction(1, time.Millisecond)
	a := f.open("a", brief)
	a.finished(300, time.Hour)
	a.compact()
	held := a.submit(1, after(a.submit(1)))
	leader := func() (i int) { // of the bucket
		for _, s := range servers.Streams(t, "OBJ_FLEET_SNAPSHOTS") {
			_, err := fmt.Sscanf(s.Leader, "nats-%d", &i)
			f.ok(err)
		}
		return i
	}
	rng := rand.New(rand.NewPCG(1, 1))
	faults := []struct {
		name string
		// fault returns how to inject it, as of before the snapshot.
		fault func() (inject func())
	}{
		{"kill of all", func() func() { return servers.KillAll }},
		{"kill of the bucket's leader", func() func() {
			i := leader()
			return func() { servers.Kill(i) }
		}},
		{"pause of the bucket's leader, and kill", func() func() {
			i := leader()
			return func() {
				servers.Pause(i)
				time.Sleep(time.Second)
				servers.Kill(i)
			}
		}},
	}
	if !*snapshotFaults {
		faults = faults[:1]
	}
	for _, tt := range faults {
		inject := tt.fault()
		before := f.bucketMessages()
		ctx, stop := context.WithCancel(t.Context())
		var load, writing sync.WaitGroup
		var acknowledged []job.ID
		load.Go(func() {
			for ctx.Err() == nil {
				s := newJob(1)
				if err := a.append(batch(s, newJob(1, after(s.Job.ID)))); err == nil {
					acknowledged = append(acknowledged, s.Job.ID)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		var wrote error
		ended := make(chan struct{})
		writing.Go(func() {
			defer close(ended)
			wrote = a.Compact(t.Context())
		})
		parts := uint64(4 + rng.IntN(40))
		for f.bucketMessages() < before+parts {
			select {
			case <-ended: // before that many, or before this goroutine saw them; the fault then comes after it
				parts = 0
			default:
			}
		}
		inject()
		servers.KillAll()
		servers.StartAll()
		writing.Wait()
		stop()
		load.Wait()
		t.Logf("%s after %d messages: the snapshot has the error %v; %d submissions were acknowledged", tt.name, parts, wrote, len(acknowledged))
		f.eventually("the node is ready", func() bool { return a.Ready() == nil && a.CatchUp(t.Context()) == nil })
		fresh := f.open("fresh "+tt.name, brief)
		f.sameStates(a, fresh)
		f.sameContents(a, fresh)
		for _, id := range append(acknowledged, held) {
			fresh.get(id)
		}
		fresh.close()
	}
	for range 3 {
		a.finished(1, time.Hour)
		f.eventually("the node compacts the log", func() bool { return a.Compact(t.Context()) == nil })
	}
	if first, _ := f.logRange(); first == 1 {
		t.Error("the log was not trimmed, want that it was")
	}
	whole := f.objects(false)
	if len(whole) != 2 {
		t.Errorf("the snapshots are %q, want 2", whole)
	}
	s, err := f.jetStream().Stream(t.Context(), "OBJ_FLEET_SNAPSHOTS")
	f.ok(err)
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("$O.FLEET_SNAPSHOTS.>"))
	f.ok(err)
	if want := 2 * (len(f.objects(true)) + len(whole)); len(info.State.Subjects) != want {
		t.Errorf("the bucket has %d subjects, want 2 for each of its objects: %d", len(info.State.Subjects), want)
	}
}

// bucketMessages returns the number of messages that were written to the bucket of snapshots.
func (f *testCluster) bucketMessages() uint64 {
	f.Helper()
	s, err := f.jetStream().Stream(f.Context(), "OBJ_FLEET_SNAPSHOTS")
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.LastSeq
}
