package cluster_test

import (
	"testing"
	"time"

	"gather/internal/job"
)

// history returns the export of a job with events.
func history(f *testCluster, tasks int, events ...job.Event) (view job.Job, spec []byte, log []job.Event) {
	f.Helper()
	s := newJob(tasks)
	log = append([]job.Event{s}, events...)
	for _, ev := range log {
		var err error
		view, err = job.Apply(view, ev)
		f.ok(err)
	}
	return view, s.Spec, log
}

// Imported records exist on all nodes, and unfinished jobs continue.
func TestImport(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	now := time.Now().UTC()
	type imported struct {
		view job.Job
		spec []byte
		log  []job.Event
		end  job.State
	}
	var all []imported
	add := func(end job.State, tasks int, events ...job.Event) {
		t.Helper()
		view, spec, log := history(f, tasks, events...)
		all = append(all, imported{view, spec, log, end})
	}
	start := job.Started{At: now}
	add(job.Succeeded, 1)
	add(job.Succeeded, 3)
	add(job.Succeeded, 3, start)
	add(job.Succeeded, 3, start, job.TaskProgress{Task: 0, Done: true, Completed: 1}, job.TaskProgress{Task: 2, Completed: 1})
	add(job.Succeeded, 2, start, job.TaskProgress{Task: 0, Done: true}, job.TaskProgress{Task: 1, Done: true})
	add(job.Cancelled, 2, start, job.CancelRequested{At: now})
	add(job.Cancelled, 2, job.CancelRequested{At: now})
	add(job.Failed, 2, job.Finished{At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask}})
	add(job.Succeeded, 1, start, job.TaskProgress{Done: true}, job.Finished{At: now, State: job.Succeeded, Result: []byte("7")})
	for _, im := range all {
		f.ok(a.ImportJob(t.Context(), im.view, im.spec, im.log, nil))
		f.want(a.ImportJob(t.Context(), im.view, im.spec, im.log, nil), job.ErrExists)
		f.want(b.ImportJob(t.Context(), im.view, im.spec, im.log, nil), job.ErrExists)
		if got := a.get(im.view.ID); got.Seq < im.view.Seq {
			t.Errorf("imported, the job is at seq %d, want %d", got.Seq, im.view.Seq)
		}
	}
	view, spec, log := history(f, 2, start)
	f.want(a.ImportJob(t.Context(), view, spec, log[:1], nil), job.ErrCorrupt)

	f.checkSame(nil, a, b, f.open("before"))
	b.work(3, nil)
	for _, im := range all {
		if j := b.waitEnded(im.view.ID); j.State != im.end {
			t.Errorf("job %s, imported as %v, is %v, want %v", j.ID, im.view.State, j.State, im.end)
		}
		b.checkLog(im.view.ID)
	}
	f.checkSame(nil, a, b, f.open("after"))

	// Tombstones.
	gone := job.Tombstone{Tenant: "t", ID: job.NewID(), Expires: now.Add(time.Hour).Truncate(time.Millisecond)}
	f.ok(a.ImportTombstone(t.Context(), gone))
	f.want(b.ImportTombstone(t.Context(), gone), job.ErrExists)
	f.want(b.ImportTombstone(t.Context(), job.Tombstone{Tenant: "t", ID: all[0].view.ID, Expires: gone.Expires}), job.ErrExists)
	_, err := b.Get(t.Context(), "t", gone.ID)
	f.want(err, job.ErrExpired)

	// Keys.
	k := job.KeyRecord{Hash: [32]byte{1}, Fingerprint: [32]byte{2}, Expires: gone.Expires, IDs: []job.ID{all[0].view.ID}}
	f.ok(b.ImportKey(t.Context(), k))
	f.want(a.ImportKey(t.Context(), k), job.ErrExists)
}

// Uses finds a refID in the specs of unfinished jobs.
func TestUses(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	s := newJob(1, func(j *job.Job) { j.Progress.BytesTotal = 8 })
	s.Spec = []byte(`{"array":"mark-17"}`)
	f.ok(a.append(batch(s)))
	f.catchUp(b)
	for _, n := range []*node{a, b} {
		if !n.Uses("mark-17") || n.Uses("mark-18") {
			t.Error("Uses does not match the spec of the job")
		}
	}
	f.ok(a.events(s.Job.ID, job.Finished{At: time.Now(), State: job.Failed}))
	f.catchUp(b)
	if b.Uses("mark-17") {
		t.Error("an ended job uses an array")
	}
}
