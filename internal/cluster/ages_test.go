package cluster_test

import (
	"encoding/binary"
	"testing"
	"time"

	"gather/internal/job"
)

// idAt returns an id made by a clock that shows a given time.
func idAt(at time.Time) job.ID {
	id := job.NewID()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// expired submits jobs that end, expire and are deleted immediately.
func (n *node) expired(count int) {
	n.f.Helper()
	for range count {
		id := n.submit(1, func(j *job.Job) { j.Retention = time.Millisecond })
		n.f.ok(n.events(id, job.Started{At: n.Now()}, job.Finished{At: n.Now(), State: job.Succeeded}))
		n.remove(id)
	}
}

// The trim of a job depends on its place in the log and its expiry, not on the clock of its author, which is an hour ahead
// here.
func TestTrimSkewedAuthor(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]job.State{"a running job": job.Running, "a kept job": job.Succeeded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, 1)
			a := f.open("a", briefly)
			for began := time.Now(); time.Since(began) < 20*time.Millisecond; { // a span of the log, and more
				a.expired(5)
			}
			id := a.submit(2, func(j *job.Job) { j.ID = idAt(time.Now().Add(time.Hour)) })
			f.ok(a.events(id, job.Started{At: a.Now()}))
			if state.Terminal() {
				f.ok(a.events(id, job.Finished{At: a.Now(), State: state}))
			}
			began := time.Now()
			f.eventually("messages older than five times the retention of keys are trimmed", func() bool {
				a.expired(1)
				f.ok(a.Trim(t.Context()))
				first, _ := f.logRange()
				return first > 1 && time.Since(began) > 2*time.Second
			})
			fresh := f.open("fresh", briefly)
			f.catchUp(fresh)
			if got := fresh.get(id).State; got != state {
				t.Errorf("the job is %v on a node that reads the rest of the log, want %v", got, state)
			}
		})
	}
}

// A node trims messages that it applied before a restart.
func TestTrimAfterRestart(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", briefly)
	a.expired(5)
	// The time of the log is the time of its last message, so a message must follow after the retention of tombstones.
	f.pass(time.Second, a)
	a.close()
	a = f.open("a", briefly)
	f.eventually("the log is trimmed", func() bool {
		f.ok(a.Trim(t.Context()))
		first, _ := f.logRange()
		return first > 1
	})
	if got := a.metric("log_untrimmed_seconds"); got > waitTimeout.Seconds() {
		t.Errorf("log_untrimmed_seconds is %v, want nearly 0", got)
	}
}

// The ages of the log in a node's replica are the same after a restart.
func TestAgesAfterRestart(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	ended, runs := a.submit(1), a.submit(1)
	f.ok(a.events(ended, job.Started{At: a.Now()}, job.Finished{At: a.Now(), State: job.Succeeded}))
	f.catchUp(a)
	before := a.Ages()
	a.close()
	a = f.open("a")
	if after := a.Ages(); after != before {
		t.Errorf("the ages are\n%s\nafter a restart, want\n%s", after, before)
	}
	a.get(runs)
}
