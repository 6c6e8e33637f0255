package journaltest

import (
	"sync"
	"time"

	"gather/internal/job"
)

func testLife(h *harness) {
	for _, end := range []struct {
		name   string
		events []job.Event
	}{
		{"succeeds", []job.Event{
			h.started(),
			job.TaskProgress{Task: 0, Done: true, Completed: 3, Items: block(0, 1, 2)},
			job.TaskProgress{Task: 1, Done: true, Completed: 1, Failed: 1, Bytes: 9, Items: block(4, 3), Partial: []byte("p")},
			h.finished(job.Succeeded),
		}},
		{"is cancelled", []job.Event{job.CancelRequested{At: h.now}, h.finished(job.Cancelled)}},
		{"is cancelled while it runs", []job.Event{h.started(), job.CancelRequested{At: h.now}, h.finished(job.Cancelled)}},
		{"fails", []job.Event{
			h.started(),
			job.Finished{At: h.now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTimeout, Detail: "late"}, Items: block(7)},
		}},
	} {
		// The journal has the same state after one append and after several.
		id, s := h.new("t", 5, func(j *job.Job) {
			j.Labels, j.FailedRetention = map[string]string{"a": "1", "b": "2"}, 2*time.Hour
		})
		all := append([]job.Event{s}, end.events...)
		h.events(id, all...)
		h.same(h.get(id), h.apply(all...))
		h.sameLog(h.log(id, 100), all)

		id, s = h.new("t", 5)
		all = append([]job.Event{s}, end.events...)
		for i, e := range all {
			h.events(id, e)
			h.same(h.get(id), h.apply(all[:i+1]...))
			h.sameLog(h.log(id, 1), all[:i+1])
		}
	}
	h.ok(h.j.Ready())
	h.ok(h.append(job.Batch{}))
}

func testIllegal(h *harness) {
	running := h.submit("t", 1)
	h.events(running, h.started())
	ended := h.submit("t", 1)
	h.events(ended, h.started(), h.finished(job.Succeeded))
	for _, c := range []struct {
		id    job.ID
		event job.Event
	}{
		{job.NewID(), h.started()},
		{job.NewID(), h.finished(job.Succeeded)},
		{running, h.started()},
		{running, job.Submitted{Job: job.Job{ID: running, Tenant: "t", State: job.Queued}}},
		{running, h.finished(job.Cancelled)},
		{ended, h.finished(job.Succeeded)},
		{ended, job.CancelRequested{At: h.now}},
		{ended, job.TaskProgress{Task: 1, Completed: 1}},
	} {
		h.want(h.append(job.Batch{Entries: []job.Entry{{ID: c.id, Events: []job.Event{c.event}}}}), job.ErrTransition)
	}
	if s := h.get(running); s.Seq != 2 {
		h.Fatalf("seq is %d after illegal events", s.Seq)
	}
	_, err := h.j.Get(h.Context(), "t", job.NewID())
	h.want(err, job.ErrNotFound)
}

func testAllOrNothing(h *harness) {
	old := h.submit("t", 1)
	a, sa := h.new("t", 1)
	b, sb := h.new("t", 1)
	bad := job.Batch{Entries: []job.Entry{
		{ID: a, Events: []job.Event{sa}},
		{ID: old, Events: []job.Event{h.started(), job.TaskProgress{Task: 0, Completed: 1, Items: block(0)}}},
		{ID: b, Events: []job.Event{sb, h.finished(job.Succeeded)}}, // invalid: it has not started
	}}
	h.want(h.append(bad), job.ErrTransition)
	for _, id := range []job.ID{a, b} {
		_, err := h.j.Get(h.Context(), "t", id)
		h.want(err, job.ErrNotFound)
		h.equal(len(h.log(id, 10)), 0)
	}
	h.equal(h.get(old).State, job.Queued)

	// A rejected batch can be repeated, and a job may have several entries.
	good := job.Batch{Entries: []job.Entry{
		{ID: a, Events: []job.Event{sa}},
		{ID: old, Events: []job.Event{h.started()}},
		{ID: b, Events: []job.Event{sb}},
		{ID: a, Events: []job.Event{h.started(), h.finished(job.Succeeded)}},
	}}
	h.ok(h.append(good))
	h.equal(h.get(a).State, job.Succeeded)
	h.equal(h.get(b).State, job.Queued)
	h.equal(h.get(old).Seq, uint64(2))
}

func testWatch(h *harness) {
	id, s := h.new("t", 3)
	changed, stop := h.j.Watch(id)
	other, stopOther := h.j.Watch(id)
	defer stopOther()
	never, stopNever := h.j.Watch(job.NewID())
	defer stopNever()
	events := []job.Event{s, h.started(), job.TaskProgress{Task: 0, Completed: 1, Items: block(0)}, h.finished(job.Succeeded)}
	for i, e := range events {
		h.ok(h.j.Append(h.Context(), job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{e}}}}))
		// After the signal the change is visible to reads.
		for seq := uint64(0); seq < h.apply(events[:i+1]...).Seq; {
			select {
			case <-changed:
				seq = h.get(id).Seq
			case <-h.Context().Done():
				h.Fatal("no token")
			}
		}
	}
	stop()
	stop()
	h.equal(len(other), 1)
	<-other
	h.ok(h.j.Delete(h.Context(), "t", id))
	h.equal(len(never), 0)
}

func testConcurrent(h *harness) {
	const appenders, each = 16, 25
	ids := make([][]job.ID, appenders)
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for n := range each {
				id, s := h.new("t", 4)
				ids[a] = append(ids[a], id)
				var all sync.WaitGroup
				for _, e := range []job.Event{
					s, h.started(),
					job.TaskProgress{Task: 0, Done: true, Completed: 2, Items: block(2, 3)},
					job.TaskProgress{Task: 1, Done: true, Completed: 2, Items: block(0, 1)},
					h.finished(job.Succeeded),
				} {
					all.Add(1)
					b := job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{e}}}, Done: func(err error) {
						if err != nil {
							h.Error(err)
						}
						all.Done()
					}}
					if n%3 == 0 {
						b.Delay = time.Millisecond
					}
					if err := h.j.Append(h.Context(), b); err != nil {
						h.Error(err)
						all.Done()
					}
				}
				if n%5 == 0 {
					all.Wait()
				} else {
					h.Cleanup(all.Wait)
				}
			}
		})
	}
	wg.Wait()
	h.reopen()
	for _, list := range ids {
		for _, id := range list {
			h.equal(h.get(id).State, job.Succeeded)
			h.equal(len(h.log(id, 3)), 5)
		}
	}
}

func testClose(h *harness) {
	id, s := h.new("t", 1)
	done := make(chan error, 1)
	h.ok(h.j.Append(h.Context(), job.Batch{
		Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}, Delay: time.Hour, Done: func(err error) { done <- err },
	}))
	j := h.j
	h.close()
	h.ok(<-done)
	_, s2 := h.new("t", 1)
	h.want(Append(h.Context(), j, job.Batch{Entries: []job.Entry{{ID: s2.Job.ID, Events: []job.Event{s2}}}}), job.ErrStorage)
	if j.Ready() == nil {
		h.Fatal("a closed journal is ready")
	}
	h.ok(j.Close())
	h.reopen()
	h.equal(h.get(id).State, job.Queued)
}
