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
	f.ok(a.Delete(t.Context(), "t", old))
	f.caughtUp(late)
	late.close()
	f.eventually("the log is trimmed", func() bool {
		id := b.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
		f.ok(b.events(id, job.Started{At: time.Now()}, job.Finished{At: time.Now().UTC(), State: job.Succeeded}))
		f.ok(b.Delete(t.Context(), "t", id))
		time.Sleep(50 * time.Millisecond)
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
		t.Errorf("the view was made anew %v times", n)
	}
	fresh := f.open("fresh", briefly)
	f.caughtUp(a, b, late, fresh)
	for _, n := range []*node{b, late, fresh} {
		if got, want := n.Table(), a.Table(); got != want {
			t.Errorf("the table is\n%s, on a\n%s", got, want)
		}
		n.get(stays)
	}
	for _, n := range []*node{a, b, late, fresh} {
		if _, err := n.Get(t.Context(), "t", old); !errors.Is(err, job.ErrNotFound) && !errors.Is(err, job.ErrExpired) {
			t.Errorf("a job that was deleted: %v", err)
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
		if first, _ := f.logRange(); first > 1 {
			return true
		}
		// The job that fills the queue is another one now and then, or nothing could be trimmed.
		f.ok(a.events(fill, job.Finished{At: time.Now().UTC(), State: job.Failed}))
		f.ok(a.Delete(t.Context(), "t", fill))
		fill = a.submit(2, func(j *job.Job) { j.Retention = time.Millisecond })
		time.Sleep(100 * time.Millisecond)
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
		fresh := f.open("fresh", briefly)
		defer fresh.close()
		return fresh.Table() == a.Table()
	})
	fresh := f.open("fresh", briefly)
	for _, n := range []*node{a, b, fresh} {
		f.caughtUp(n)
		for _, id := range dropped {
			if _, err := n.Get(t.Context(), "t", id); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("a dropped job: %v", err)
			}
		}
	}
}
