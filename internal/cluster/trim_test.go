package cluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// briefly makes everything expire quickly.
func briefly(c *cluster.Config) {
	c.TombstoneRetention, c.KeyRetention = 400*time.Millisecond, 400*time.Millisecond
}

// logRange returns the first and the last message of the log.
func (f *testCluster) logRange() (first, last uint64) {
	f.Helper()
	s, err := f.jetStream().Stream(f.Context(), "FLEET_LOG")
	f.ok(err)
	return s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
}

// Expired messages leave the log. A node that reads only the rest reaches the same state: a new node, and one whose replica
// ends in the removed part.
func TestTrim(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b, late := f.open("a", briefly), f.open("b", briefly), f.open("late", briefly)
	old := a.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
	f.ok(a.events(old, job.Started{At: time.Now()}, job.Finished{At: time.Now().UTC(), State: job.Succeeded}))
	a.remove(old)
	f.catchUp(late)
	late.close()
	f.eventually("the log is trimmed", func() bool {
		id := b.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
		f.ok(b.events(id, job.Started{At: time.Now()}, job.Finished{At: time.Now().UTC(), State: job.Succeeded}))
		b.remove(id)
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > 5
	})
	// Submissions that were rejected because of jobs in the removed part: the record of the trim has them.
	stays := a.submit(3)
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Fingerprint: [32]byte{1}}
	_, err := a.submitOnce(key, newJob(3))
	f.ok(err)
	late = f.open("late", briefly)
	if n := late.metric("replica_rebuilds_total"); n != 1 {
		t.Errorf("got %v rebuilds of the replica, want 1", n)
	}
	fresh := f.open("fresh", briefly)
	f.sameStates(a, b, late, fresh)
	for _, n := range []*node{a, b, late, fresh} {
		n.get(stays)
		if _, err := n.Get(t.Context(), "t", old); !isGone(err) {
			t.Errorf("a job that was deleted: got %v, want %v or %v", err, job.ErrNotFound, job.ErrExpired)
		}
	}
	fresh.work(2, nil)
	fresh.waitEnded(stays)
}

// A node that reads only the rest of a log does not accept submissions that were rejected, however many messages the trim
// record has.
func TestTrimmedRejections(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1000, 2} {
		t.Run(fmt.Sprintf("%d in a message", most), func(t *testing.T) {
			t.Parallel()
			testTrimmedRejections(t, most)
		})
	}
}

func testTrimmedRejections(t *testing.T, maxRejected int) {
	t.Helper()
	f := newTestCluster(t, 1)
	few := cluster.WithMaxRejected(maxRejected)
	a, b := f.open("a", briefly, few), f.open("b", briefly, few)
	bounds := job.Admission{Jobs: 1}
	fill := a.submit(2, func(j *job.Job) { j.Retention = time.Millisecond })
	var dropped []job.ID
	drop := func() {
		t.Helper()
		// Nodes reject submissions early: only a race brings one that is rejected into the log.
		s := newJob(1)
		f.want(a.AppendBlindly(t.Context(), admitted(bounds, job.Size{}, s)), job.ErrQueueFull)
		dropped = append(dropped, s.Job.ID)
	}
	for range 5 {
		drop()
	}
	f.ok(a.events(fill, job.Started{At: time.Now()}))
	f.eventually("the log is trimmed up to a rejected submission", func() bool {
		drop()
		f.ok(a.Trim(t.Context()))
		if first, _ := f.logRange(); first > 1 {
			return true
		}
		// The job that fills the queue is another one now and then, or nothing could be trimmed.
		f.ok(a.events(fill, job.Finished{At: time.Now().UTC(), State: job.Failed}))
		a.remove(fill)
		fill = a.submit(2, func(j *job.Job) { j.Retention = time.Millisecond })
		return false
	})
	for range 5 { // in the rest of the log
		drop()
	}
	f.catchUp(a, b)
	if got := a.metric("log_rejections"); got < 5 {
		t.Errorf("%v rejections are in the log, want 5 at least", got)
	}
	f.eventually("a trim record has the rejected submissions", func() bool {
		f.ok(a.Trim(t.Context()))
		fresh := f.open("fresh", briefly)
		defer fresh.close()
		return fresh.State() == a.State()
	})
	fresh := f.open("fresh", briefly)
	for _, n := range []*node{a, b, fresh} {
		f.catchUp(n)
		for _, id := range dropped {
			if _, err := n.Get(t.Context(), "t", id); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("a rejected job: got %v, want %v", err, job.ErrNotFound)
			}
		}
	}
}
