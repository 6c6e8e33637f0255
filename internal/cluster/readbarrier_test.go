package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
	"gather/internal/job"
)

// Reads of jobs that do not exist write nothing to the log, and find jobs that were submitted before.
func TestReadsWriteNothing(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, servers)
			nodes := f.openThree()
			id := nodes[0].submit(1)
			_, before := f.logRange()
			var all sync.WaitGroup
			for _, n := range nodes {
				for range 16 {
					all.Go(func() {
						for range 2 {
							if _, err := n.Get(t.Context(), "t", job.NewID()); err == nil {
								t.Error("a job that was never submitted is there")
							}
							n.get(id)
						}
					})
				}
			}
			all.Wait()
			if _, after := f.logRange(); after != before {
				t.Errorf("the log ends at message %d, want %d as before", after, before)
			}
		})
	}
}

// A leader of the log that has lost its followers still answers for a while. Its answers do not prove that a job does not
// exist, because there may be another leader.
func TestLeaderWithoutQuorum(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 3)
	n := f.open("a", cluster.WithStallAfter(time.Second))
	n.submit(1)
	leader := f.s.StreamLeader("FLEET_LOG")
	for i := range 3 {
		if i != leader {
			f.s.Stop(i)
		}
	}
	stopped := time.Now()
	const lease = 3 * time.Second // the age at which responses of followers no longer count
	f.eventually("a read of an unknown job fails", func() bool {
		late := time.Since(stopped) > lease
		_, err := n.Get(t.Context(), "t", job.NewID())
		if late && errors.Is(err, job.ErrNotFound) {
			t.Errorf("got %v from a leader without followers for more than %s, want %v", err, lease, job.ErrStorage)
		}
		return errors.Is(err, job.ErrStorage)
	})
	f.s.StartAll()
}

// lateAcks holds acknowledgements back until it is released.
type lateAcks struct {
	jetstream.JetStream
	release chan struct{}
}

func (l *lateAcks) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := l.JetStream.PublishMsg(context.WithoutCancel(ctx), m, opts...)
	select {
	case <-l.release:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return ack, err
}

// A submission is acknowledged only after the log's leader has acknowledged it, even if its own node has applied it before,
// because the leader's last sequence may not include it and other nodes would return 404.
func TestAcknowledgedByTheLeader(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	late := &lateAcks{release: make(chan struct{})}
	a := f.open("a", cluster.WithPublisher(func(js jetstream.JetStream) jetstream.JetStream {
		late.JetStream = js
		return late
	}))
	b := f.open("b")
	s := newJob(1)
	var released atomic.Bool
	var client sync.WaitGroup
	client.Go(func() {
		f.ok(a.append(batch(s)))
		if !released.Load() {
			t.Error("got an answer before the leader acknowledged the submission, want it after")
		}
	})
	f.eventually("node a has read the submission", func() bool {
		_, err := b.Get(t.Context(), "t", s.Job.ID)
		return err == nil
	})
	// Node a has decided the submission when it has applied a later message.
	id := b.submit(1)
	f.eventually("node a has read a later one", func() bool {
		_, err := a.Get(t.Context(), "t", id)
		return err == nil
	})
	released.Store(true)
	close(late.release)
	client.Wait()
	a.get(s.Job.ID)
}

// A last sequence is certain as of its leader's last contact with a quorum, if the response shows it.
func TestCertainAt(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	since := sent.Add(-time.Hour)
	cluster3 := func(leader *time.Time, active ...time.Duration) *jetstream.StreamInfo {
		info := &jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: 3}, Cluster: &jetstream.ClusterInfo{LeaderSince: leader}}
		for _, a := range active {
			info.Cluster.Replicas = append(info.Cluster.Replicas, &jetstream.PeerInfo{Active: a})
		}
		return info
	}
	five := cluster3(&since, 4, 2, 9, 3)
	five.Config.Replicas = 5
	for _, tt := range []struct {
		name string
		info *jetstream.StreamInfo
		age  time.Duration
		ok   bool
	}{
		{"one server", &jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: 1}}, 0, true},
		{"one copy in a cluster", &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{Replicas: 1}, Cluster: &jetstream.ClusterInfo{Leader: "a"},
		}, 0, true},
		{"a leader with two followers", cluster3(&since, 7, 3), 3, true},
		{"more followers than it is to have", cluster3(&since, 4, 2, 9, 3), 3, true},
		{"a leader with one follower", cluster3(&since, 0, 5), 5, true},
		{"a leader that is cut off", cluster3(&since, 12*time.Second, 15*time.Second), 12 * time.Second, true},
		{"a leader without responses", cluster3(&since, 0, 0), 0, false},
		{"a server that does not lead", cluster3(nil, 1, 1), 0, false},
		{"five servers", five, 3, true},
		{"fewer followers than there should be", cluster3(&since), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, ok := cluster.CertainAsOf(tt.info, sent)
			if ok != tt.ok || ok && sent.Sub(at) != tt.age {
				t.Errorf("certain as of %v before (%v), want %v (%v)", sent.Sub(at), ok, tt.age, tt.ok)
			}
		})
	}
}
