package journaltest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gather/internal/job"
)

// after makes a job wait for others.
func after(ids ...job.ID) func(*job.Job) {
	return func(j *job.Job) {
		j.After, j.Waits, j.AfterTimeout = ids, 1<<len(ids)-1, time.Hour
	}
}

// testAfter checks that a job waits until the last of the jobs before it has succeeded, also after restarts.
func testAfter(h *harness) {
	a, b := h.submit("t", 1), h.submit("t", 1)
	c, submitted := h.new("t", 1, after(a, b))
	h.events(c, submitted)
	start := job.Batch{Entries: []job.Entry{{ID: c, Events: []job.Event{h.started()}}}}
	h.want(h.append(start), job.ErrTransition)
	h.events(b, h.started(), h.finished(job.Succeeded))
	if j := h.get(c); j.Waits != 1 || !j.ReleasedAt.IsZero() {
		h.Fatalf("waits for %b, released at %v, want 1 and no time while one job has not succeeded", j.Waits, j.ReleasedAt)
	}
	h.reopen()
	h.want(h.append(start), job.ErrTransition)
	h.events(a, h.started(), h.finished(job.Succeeded))
	h.events(c, h.started())
	at := h.now.Add(2 * time.Second)
	want := []job.Event{
		submitted, job.DependencySucceeded{Index: 1, At: at}, job.DependencySucceeded{Index: 0, At: at}, h.started(),
	}
	h.same(h.get(c), h.apply(want...))
	h.reopen()
	h.same(h.get(c), h.apply(want...))
	h.sameLog(h.log(c, 100)[1:], want[1:])
}

// testAfterFailed checks that the end of a job that does not succeed cancels the jobs that wait for it, and those that wait for them,
// but not a job that has no reason to wait any longer.
func testAfterFailed(h *harness) {
	for _, state := range []job.State{job.Failed, job.Cancelled} {
		a, other := h.submit("t", 1), h.submit("t", 1)
		b := h.submit("t", 1, after(a))
		c := h.submit("t", 1, after(other, b))
		d := h.submit("t", 1, after(a, b), func(j *job.Job) { j.Group = "diamond" })
		cancelling := h.submit("t", 1, after(a))
		h.events(cancelling, job.CancelRequested{At: h.now})
		h.reopen()
		events := []job.Event{h.started(), h.finished(state)}
		if state == job.Cancelled {
			events = slices.Insert(events, 1, job.Event(job.CancelRequested{At: h.now}))
		}
		h.events(a, events...)
		for _, id := range []job.ID{b, c, d} {
			j := h.get(id)
			if j.State != job.Cancelled || j.Failure == nil || j.Failure.Reason != job.FailedDependency {
				h.Fatalf("a job that waited for a job that has %v is %v with failure %+v, want cancelled with %v", state, j.State, j.Failure, job.FailedDependency)
			}
			h.want(h.append(job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{h.started()}}}}), job.ErrTransition)
		}
		if j := h.get(cancelling); j.State != job.Cancelled || j.Failure != nil {
			h.Fatalf("a cancelling job is %v with failure %+v, want cancelled without a failure", j.State, j.Failure)
		}
		h.events(other, h.started(), h.finished(job.Succeeded)) // c has ended already
		h.reopen()
		if j := h.get(c); j.State != job.Cancelled || j.Seq != 2 {
			h.Fatalf("after a restart the job is %v with seq %d, want cancelled and 2", j.State, j.Seq)
		}
		h.ok(h.j.Delete(h.Context(), "t", d))
	}
}

// testAfterEnded checks that a new job cannot wait for a job that has ended or is missing, and that the key of its submission is free.
func testAfterEnded(h *harness) {
	ended := h.submit("t", 1)
	h.events(ended, h.started(), h.finished(job.Succeeded))
	for _, dep := range []job.ID{ended, job.NewID()} {
		id, s := h.new("t", 1, after(dep))
		key := job.Key{Tenant: "t", Route: "jobs", Value: dep.String(), Expires: h.now.Add(time.Hour)}
		for range 2 {
			prior, err := h.j.Reserve(h.Context(), key)
			h.ok(err)
			h.equal(len(prior), 0)
			h.want(h.append(job.Batch{Key: &key, Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}}), job.ErrDependencyEnded)
			_, err = h.j.Get(h.Context(), "t", id)
			h.want(err, job.ErrNotFound)
		}
	}
	// In one batch a job may come after another of the batch.
	a, sa := h.new("t", 1)
	b, sb := h.new("t", 1, after(a))
	h.ok(h.append(job.Batch{Entries: []job.Entry{{ID: a, Events: []job.Event{sa}}, {ID: b, Events: []job.Event{sb}}}}))
	h.events(a, h.started(), h.finished(job.Succeeded))
	if j := h.get(b); j.Waits != 0 || !j.ReleasedAt.Equal(h.now.Add(2*time.Second)) {
		h.Fatalf("waits for %b, released at %v, want 0 and the end of the job before it", j.Waits, j.ReleasedAt)
	}
	// A job may also end together with its submission.
	unmet, s := h.new("t", 1, after(ended))
	h.events(unmet, s, job.Finished{At: h.now, State: job.Cancelled, Failure: job.DependencyFailure(ended, job.Failed)})
	h.equal(h.get(unmet).State, job.Cancelled)
}

// testManyDependents checks that as many jobs as possible wait for a job, that no other is accepted meanwhile, and that all are released by
// its success and cancelled by its failure.
func testManyDependents(h *harness) {
	const each = 500 // jobs of a batch
	for state, count := range map[job.State]int{job.Succeeded: each, job.Failed: job.MaxDependents} {
		if testing.Short() {
			count = each
		}
		first, other := h.submit("t", 1), h.submit("t", 1)
		var ids []job.ID
		for len(ids) < count {
			var b job.Batch
			for range each {
				id, s := h.new("t", 1, after(first))
				ids = append(ids, id)
				b.Entries = append(b.Entries, job.Entry{ID: id, Events: []job.Event{s}})
			}
			h.ok(h.append(b))
		}
		if count == job.MaxDependents {
			h.checkFull(first, other)
		}
		h.events(first, h.started(), h.finished(state))
		want := job.Queued
		if state == job.Failed {
			want = job.Cancelled
		}
		check := func() {
			for i, id := range ids {
				if j := h.get(id); j.State != want || state == job.Succeeded && j.Waits != 0 {
					h.Fatalf("job %d is %v and waits for %b after the end of the job that it waited for, want %v", i, j.State, j.Waits, want)
				}
			}
		}
		check()
		h.reopen()
		check()
	}
}

// checkFull checks that no other job may wait for a job, but for another one, and that the key of the submission is free.
func (h *harness) checkFull(full, other job.ID) {
	h.Helper()
	id, s := h.new("t", 1, after(other, full))
	key := job.Key{Tenant: "t", Route: "jobs", Value: id.String(), Expires: h.now.Add(time.Hour)}
	for range 2 {
		prior, err := h.j.Reserve(h.Context(), key)
		h.ok(err)
		h.equal(len(prior), 0)
		err = h.append(job.Batch{Key: &key, Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}})
		if tooMany, ok := errors.AsType[*job.TooManyDependentsError](err); !ok || tooMany.Job != id || tooMany.After != full {
			h.Fatalf("got %v (%+v), want an error with job %s that would wait for %s", err, tooMany, id, full)
		}
		_, err = h.j.Get(h.Context(), "t", id)
		h.want(err, job.ErrNotFound)
	}
	h.submit("t", 1, after(other))
}
