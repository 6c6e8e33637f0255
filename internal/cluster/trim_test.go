package cluster_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// briefly has everything expire at once.
func briefly(c *cluster.Config) {
	c.TombstoneRetention, c.KeyRetention = 400*time.Millisecond, 400*time.Millisecond
}

// logRange is what is left of the log.
func (f *fleet) logRange() (first, last uint64) {
	f.Helper()
	s, err := f.jetStream().Stream(f.Context(), "FLEET_LOG")
	f.ok(err)
	return s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
}

// What expired leaves the log, and whoever reads only the rest comes to the same as the others: a node that is new, and
// one whose view ends in what was trimmed.
func TestTrim(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a, b, late := f.open("a", briefly), f.open("b", briefly), f.open("late", briefly)
	old := a.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
	f.ok(a.events(old, job.Started{At: time.Now()}, job.Finished{At: time.Now().UTC(), State: job.Succeeded}))
	a.remove(old)
	f.caughtUp(late)
	late.close()
	f.eventually("the log is trimmed", func() bool {
		id := b.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
		f.ok(b.events(id, job.Started{At: time.Now()}, job.Finished{At: time.Now().UTC(), State: job.Succeeded}))
		b.remove(id)
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > 5
	})
	// Submissions that were dropped by what is no longer told: they are told of behind it.
	stays := a.submit(3)
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Fingerprint: [32]byte{1}}
	_, err := a.submitOnce(key, newJob(3))
	f.ok(err)
	late = f.open("late", briefly)
	if n := late.metric("replica_rebuilds_total"); n != 1 {
		t.Errorf("got %v rebuilds of the view, want 1", n)
	}
	fresh := f.open("fresh", briefly)
	f.sameTables(a, b, late, fresh)
	for _, n := range []*node{a, b, late, fresh} {
		n.get(stays)
		if _, err := n.Get(t.Context(), "t", old); !isGone(err) {
			t.Errorf("a job that was deleted: got %v, want %v or %v", err, job.ErrNotFound, job.ErrExpired)
		}
	}
	fresh.work(2, nil)
	fresh.ends(stays)
}

// A node that reads only the rest of a log does not accept submissions that were rejected, however many messages the trim has.
func TestTrimmedDrops(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1000, 2} {
		t.Run(fmt.Sprintf("%d in a message", most), func(t *testing.T) {
			t.Parallel()
			testTrimmedDrops(t, most)
		})
	}
}

func testTrimmedDrops(t *testing.T, maxDropped int) {
	t.Helper()
	f := newFleet(t, 1)
	few := cluster.WithMaxDropped(maxDropped)
	a, b := f.open("a", briefly, few), f.open("b", briefly, few)
	bounds := job.Admission{Jobs: 1}
	fill := a.submit(2, func(j *job.Job) { j.Retention = time.Millisecond })
	var dropped []job.ID
	drop := func() {
		t.Helper()
		// Each node refuses what it knows to be too much: only a race brings a submission that is dropped into the log.
		s := newJob(1)
		f.want(a.AppendBlindly(t.Context(), admitted(bounds, job.Size{}, s)), job.ErrQueueFull)
		dropped = append(dropped, s.Job.ID)
	}
	for range 5 {
		drop()
	}
	f.ok(a.events(fill, job.Started{At: time.Now()}))
	f.eventually("the log is trimmed, up to where something was dropped", func() bool {
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
	for range 5 { // in what is left of the log
		drop()
	}
	f.caughtUp(a, b)
	if got := a.metric("log_rejections"); got < 5 {
		t.Errorf("%v rejections stand in the log, want 5 at least", got)
	}
	f.eventually("a trim tells of what was dropped", func() bool {
		f.ok(a.Trim(t.Context()))
		fresh := f.open("fresh", briefly)
		defer fresh.close()
		return fresh.Table() == a.Table()
	})
	fresh := f.open("fresh", briefly)
	for _, n := range []*node{a, b, fresh} {
		f.caughtUp(n)
		for _, id := range dropped {
			if _, err := n.Get(t.Context(), "t", id); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("a dropped job: got %v, want %v", err, job.ErrNotFound)
			}
		}
	}
}
