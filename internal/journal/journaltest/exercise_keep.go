package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gather/internal/job"
)

func testDelete(h *harness) {
	small := h.submit("t", 1)
	h.want(h.j.Delete(h.Context(), "t", small), job.ErrNotFinished)
	h.events(small, h.started(), job.TaskProgress{Task: 0, Completed: 1, Items: block(0)}, h.finished(job.Succeeded))
	large := h.submit("t", 3000)
	h.events(large, h.started())
	for i := range int64(150) {
		h.events(large, job.TaskProgress{Task: 0, Completed: 20, Items: block(run(20*i, 20*i+20)...)})
	}
	h.events(large, h.finished(job.Succeeded))
	stays := h.submit("t", 1)
	for _, id := range []job.ID{small, large} {
		h.ok(h.j.Delete(h.Context(), "t", id))
		for range 2 {
			_, err := h.j.Get(h.Context(), "t", id)
			h.want(err, job.ErrExpired)
			h.want(h.j.Delete(h.Context(), "t", id), job.ErrExpired)
			_, err = h.j.Get(h.Context(), "other", id)
			h.want(err, job.ErrNotFound)
			h.equal(len(h.log(id, 10)), 0)
			page, err := h.j.ItemsByIndex(h.Context(), id, -1, 10)
			h.ok(err)
			h.equal(len(page), 0)
			h.equal(slices.Contains(h.list(job.Query{Tenant: "t", Limit: 5}), id), false)
			h.reopen()
		}
	}
	h.equal(h.list(job.Query{Tenant: "t", Limit: 5}), []job.ID{stays})
	h.want(h.j.Delete(h.Context(), "t", job.NewID()), job.ErrNotFound)
}

// testResults checks the count of results through a restart, the end and the deletion of jobs.
func testResults(h *harness) {
	bytes := func(events ...job.Event) (n int64) {
		for _, e := range events {
			n += job.ResultBytes(e)
		}
		return n
	}
	want := func(id job.ID, ofJob, ofTenant int64) {
		h.Helper()
		for range 2 {
			gotJob, gotTenant := h.j.Results("t", id)
			h.equal([]int64{gotJob, gotTenant}, []int64{ofJob, ofTenant})
			_, other := h.j.Results("other", id)
			h.equal(other, int64(0))
			h.reopen()
		}
	}
	first := []job.Event{h.started(), job.TaskProgress{Task: 0, Items: block(run(0, 20)...), Completed: 20}}
	second := job.TaskProgress{Task: 0, Done: true, Items: block(30, 25), Partial: []byte("partial"), Completed: 2}
	end := h.finished(job.Failed)
	h.equal(bytes(first...) > 20 && bytes(second) > 7 && bytes(end) == 2, true)

	// The first write of a job has results.
	id, s := h.new("t", 40)
	h.events(id, append([]job.Event{s}, first...)...)
	want(id, bytes(first...), bytes(first...))
	h.events(id, second)
	all := bytes(append(first, second)...)
	want(id, all, all)
	h.events(id, end)
	// This job begins and ends in one write.
	short, s := h.new("t", 40)
	h.events(short, append(append([]job.Event{s}, first...), end)...)
	ofShort := bytes(first...) + bytes(end)
	all += bytes(end) + ofShort
	for range 2 {
		_, got := h.j.Results("t", id)
		h.equal(got, all)
		h.reopen()
	}
	var deletes sync.WaitGroup
	for range 8 {
		deletes.Go(func() {
			if err := h.j.Delete(h.Context(), "t", id); err != nil && !errors.Is(err, job.ErrExpired) {
				h.Error(err)
			}
		})
	}
	deletes.Wait()
	want(id, 0, ofShort)
	h.ok(h.j.Delete(h.Context(), "t", short))
	want(short, 0, 0)
}

func testIdempotency(h *harness) {
	key := job.Key{Tenant: "t", Route: "POST /v1/jobs", Value: "k", Fingerprint: [32]byte{1}}
	other := key
	other.Fingerprint = [32]byte{2}
	reserve := func(k job.Key) []job.ID {
		h.Helper()
		prior, err := h.j.Reserve(h.Context(), k)
		h.ok(err)
		return prior
	}
	h.equal(len(reserve(key)), 0)
	for _, k := range []job.Key{key, other} {
		_, err := h.j.Reserve(h.Context(), k)
		h.want(err, job.ErrKeyInProgress)
	}
	h.j.Release(key)
	h.equal(len(reserve(key)), 0)

	// A rejected batch releases its key.
	id, s := h.new("t", 1)
	h.want(h.append(job.Batch{Key: &key, Entries: []job.Entry{{ID: id, Events: []job.Event{s, s}}}}), job.ErrTransition)
	h.equal(len(reserve(key)), 0)

	second, s2 := h.new("t", 1)
	h.ok(h.append(job.Batch{Key: &key, Entries: []job.Entry{
		{ID: id, Events: []job.Event{s, h.started()}}, {ID: second, Events: []job.Event{s2}},
	}}))
	for range 2 {
		h.equal(reserve(key), []job.ID{id, second})
		_, err := h.j.Reserve(h.Context(), other)
		h.want(err, job.ErrKeyReused)
		h.j.Release(key)
		h.reopen()
	}
	// Tenant, route and value distinguish keys, also if their concatenations are equal.
	for _, k := range []job.Key{
		{Tenant: "u", Route: "POST /v1/jobs", Value: "k"},
		{Tenant: "t", Route: "POST /v1/jobs:batch", Value: "k"},
		{Tenant: "t", Route: "POST /v1/jobs", Value: "k2"},
		{Tenant: "tPOST", Route: " /v1/jobs", Value: "k"},
	} {
		h.equal(len(reserve(k)), 0)
	}
}

func testIdempotencyRace(h *harness) {
	const clients = 64
	key := job.Key{Tenant: "t", Route: "r", Value: "race", Fingerprint: [32]byte{3}}
	var reserved, replayed atomic.Int64
	ids := make(chan job.ID, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				prior, err := h.j.Reserve(h.Context(), key)
				switch {
				case errors.Is(err, job.ErrKeyInProgress):
					time.Sleep(100 * time.Microsecond)
					continue
				case err != nil:
					h.Error(err)
					return
				case prior != nil:
					replayed.Add(1)
					ids <- prior[0]
					return
				}
				reserved.Add(1)
				id, s := h.new("t", 1)
				if err := h.append(job.Batch{Key: &key, Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}}); err != nil {
					h.Error(err)
				}
				ids <- id
				return
			}
		})
	}
	wg.Wait()
	close(ids)
	h.equal([]int64{reserved.Load(), replayed.Load()}, []int64{1, clients - 1})
	want := h.list(job.Query{Tenant: "t", Limit: 10})
	h.equal(len(want), 1)
	for id := range ids {
		h.equal(id, want[0])
	}
}

func testReopen(h *harness) {
	id, s := h.new("t", 5000)
	all := []job.Event{s}
	h.events(id, s)
	step := func(e job.Event) {
		h.Helper()
		h.reopen()
		h.events(id, e)
		all = append(all, e)
		h.same(h.get(id), h.apply(all...))
		h.sameLog(h.log(id, 2), all)
	}
	step(h.started())
	step(job.TaskProgress{Task: 0, Done: true, Completed: 3, Items: block(4, 5, 6)})
	step(job.TaskProgress{Task: 1, Completed: 3, Items: block(1, 2, 3), Partial: []byte{}})
	step(job.TaskProgress{Task: 1, Completed: 1, Items: block(0)})
	h.reopen()
	h.equal(h.list(job.Query{Tenant: "t", Limit: 5, States: []job.State{job.Running}}), []job.ID{id})
	step(job.CancelRequested{At: h.now})
	step(h.finished(job.Cancelled))
	h.reopen()
	page, err := h.j.ItemsByIndex(h.Context(), id, 1, 3)
	h.ok(err)
	h.equal([]int64{page[0].Index, page[1].Index, page[2].Index}, []int64{2, 3, 4})
	h.equal(h.list(job.Query{Tenant: "t", Limit: 5}), []job.ID{id})
}

func testRecover(h *harness) {
	var ids []job.ID
	specs := map[job.ID][]byte{}
	logs := map[job.ID][]job.Event{}
	for i, tenant := range []string{"b", "a", "c", "a", "b", "a"} {
		id, s := h.new(tenant, 10)
		if i == 1 {
			s.Spec = []byte(strings.Repeat("long spec ", 10000))
		}
		events := [][]job.Event{
			{s},
			{s, h.started()},
			{s, h.started(), job.TaskProgress{Task: 1, Done: true, Completed: 2, Items: block(8, 9), Partial: []byte("partial")}},
			{s, job.CancelRequested{At: h.now}},
			{s, h.started(), h.finished(job.Succeeded)},
			{s},
		}[i]
		h.ok(h.append(job.Batch{Entries: []job.Entry{{ID: id, Events: events[:1]}}}))
		if len(events) > 1 {
			h.events(id, events[1:]...)
		}
		if i != 4 {
			ids = append(ids, id)
		}
		specs[id], logs[id] = s.Spec, events
	}
	h.reopen()
	var got []job.ID
	h.ok(h.j.Recover(h.Context(), func(view job.Job, spec []byte, log iter.Seq2[job.LogRecord, error]) error {
		got = append(got, view.ID)
		if !bytes.Equal(spec, specs[view.ID]) {
			h.Errorf("spec is %.50q, want %.50q", spec, specs[view.ID])
		}
		h.same(view, h.apply(logs[view.ID]...))
		var records []job.LogRecord
		for r, err := range log {
			h.ok(err)
			records = append(records, r)
		}
		h.sameLog(records, logs[view.ID])
		// A log need not be read to its end.
		for _, err := range log {
			h.ok(err)
			break
		}
		return nil
	}))
	h.equal(got, ids)
	stop := errors.New("stop")
	n := 0
	h.want(h.j.Recover(h.Context(), func(job.Job, []byte, iter.Seq2[job.LogRecord, error]) error {
		n++
		return stop
	}), stop)
	h.equal(n, 1)
	// A recovered job continues and ends, and is not recovered again.
	h.events(ids[0], h.started(), h.finished(job.Succeeded))
	h.reopen()
	n = 0
	h.ok(h.j.Recover(h.Context(), func(job.Job, []byte, iter.Seq2[job.LogRecord, error]) error {
		n++
		return nil
	}))
	h.equal(n, len(ids)-1)
}

// The spec of a job is kept as long as the job.
func testSpecs(h *harness) {
	type stored struct {
		id   job.ID
		spec []byte
	}
	var all []stored
	for _, size := range []int{2, 4 << 10, 4<<10 + 1, job.MaxShownSpec, job.MaxShownSpec + 1} {
		spec := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, size-2)...), '"')
		for _, ends := range [][]job.Event{nil, {h.started(), h.finished(job.Succeeded)}, {job.CancelRequested{At: h.now}, h.finished(job.Cancelled)}} {
			for together := range 2 {
				id, s := h.new("t", 1)
				s.Spec = spec
				if together == 1 {
					h.events(id, append([]job.Event{s}, ends...)...)
				} else {
					h.events(id, s)
					for _, e := range ends {
						h.events(id, e)
					}
				}
				all = append(all, stored{id, spec})
			}
		}
	}
	check := func() {
		h.Helper()
		for _, s := range all {
			for _, limit := range []int{0, 100, job.MaxShownSpec} {
				want := s.spec
				if limit > 0 && len(want) > limit {
					want = nil
				}
				got, err := h.j.Spec(h.Context(), "t", s.id, limit)
				h.ok(err)
				if !bytes.Equal(got, want) {
					h.Fatalf("a spec of %d bytes, %d at most, has %d bytes, want %d", len(s.spec), limit, len(got), len(want))
				}
			}
			_, err := h.j.Spec(h.Context(), "other", s.id, 0)
			h.want(err, job.ErrNotFound)
		}
	}
	check()
	h.reopen()
	check()
	for _, s := range all {
		if h.get(s.id).State.Terminal() {
			h.ok(h.j.Delete(h.Context(), "t", s.id))
			_, err := h.j.Spec(h.Context(), "t", s.id, 0)
			h.want(err, job.ErrNotFound)
		}
	}
}

// The counts are those of a whole list, at every moment.
func testCounts(h *harness) {
	check := func() {
		h.Helper()
		for _, kinds := range [][]string{nil, {"squares"}, {"array_sum", "sleep_batch"}, {"none"}} {
			for _, tenant := range []string{"t", "other"} {
				var want job.Counts
				q := job.Query{Tenant: tenant, Kinds: kinds, Limit: 1000}
				jobs, _, err := h.j.List(h.Context(), q)
				h.ok(err)
				for i := range jobs {
					want[jobs[i].State]++
				}
				got, err := h.j.Count(h.Context(), tenant, kinds)
				h.ok(err)
				h.equal(got, want)
			}
		}
	}
	check()
	var ended []job.ID
	for i, kind := range []string{"squares", "array_sum", "sleep_batch", "squares", "squares"} {
		of := func(j *job.Job) { j.Kind, j.Labels = kind, map[string]string{"i": fmt.Sprint(i % 2)} }
		h.submit("other", 1, of)
		h.submit("t", 1, of)
		running := h.submit("t", 1, of)
		h.events(running, h.started())
		check()
		id, s := h.new("t", 1, of)
		h.events(id, s, h.started(), h.finished(job.Succeeded))
		stopped := h.submit("t", 1, of)
		h.events(stopped, job.CancelRequested{At: h.now})
		check()
		h.events(stopped, h.finished(job.Cancelled))
		failed := h.submit("t", 1, of)
		h.events(failed, h.started(), h.finished(job.Failed))
		ended = append(ended, id, stopped, failed)
		check()
	}
	h.reopen()
	check()
	for _, id := range ended {
		h.ok(h.j.Delete(h.Context(), "t", id))
		check()
	}
	h.reopen()
	check()
}

// testDeliveries checks the deliveries of finished jobs: made with the end, changed attempt by attempt, kept, and deleted with
// the job.
func testDeliveries(h *harness) {
	hooks := func(j *job.Job) {
		j.Webhooks = []job.Webhook{
			{URL: "https://a.example/x", Events: job.AllEvents},
			{URL: "https://b.example/y", Events: job.EventOf(job.Failed), Standing: true},
			{URL: "https://b.example/z", Events: job.EventOf(job.Succeeded), Standing: true},
		}
	}
	none := func(id job.ID) {
		h.Helper()
		_, err := h.j.Deliveries(h.Context(), "t", id)
		h.want(err, job.ErrNotFound)
		_, err = h.j.ChangeDelivery(h.Context(), "t", id, job.DeliveryChange{NextAt: h.now})
		h.want(err, job.ErrNotFound)
	}
	none(h.submit("t", 1))
	id := h.submit("t", 1, hooks)
	none(id)
	h.events(id, h.started(), h.finished(job.Succeeded))
	h.equal(h.get(id).ExpiresAt, h.get(id).FinishedAt.Add(job.DeliveryWindow))
	short, submitted := h.new("t", 1, hooks) // ends in its first write
	h.events(short, submitted, h.started(), h.finished(job.Failed))
	j := h.get(id)
	want := job.NewDeliveries(&j)
	h.equal(len(want), 2)
	check := func() {
		h.Helper()
		for range 2 {
			got, err := h.j.Deliveries(h.Context(), "t", id)
			h.ok(err)
			h.equal(string(got.AppendBinary(nil)), string(want.AppendBinary(nil)))
			got, err = h.j.Deliveries(h.Context(), "t", short)
			h.ok(err)
			h.equal([]int{len(got), got[1].Hook}, []int{2, 1})
			_, err = h.j.Deliveries(h.Context(), "other", id)
			h.want(err, job.ErrNotFound)
			h.reopen()
		}
	}
	check()
	change := func(c job.DeliveryChange) {
		h.Helper()
		got, err := h.j.ChangeDelivery(h.Context(), "t", id, c)
		h.ok(err)
		want, err = want.Apply(c)
		h.ok(err)
		h.equal(string(got.AppendBinary(nil)), string(want.AppendBinary(nil)))
		check()
	}
	failed := job.DeliveryChange{
		Hook: 2, Attempt: &job.Attempt{At: h.now, Duration: time.Second, Status: 503, Error: "HTTP 503"},
		State: job.DeliveryPending, NextAt: h.now.Add(time.Minute),
	}
	change(failed)
	_, err := h.j.ChangeDelivery(h.Context(), "t", id, failed) // it was recorded
	h.want(err, job.ErrTransition)
	change(job.DeliveryChange{Hook: 2, NextAt: h.now}) // a client does not wait
	change(job.DeliveryChange{Hook: 2, Total: 1, Attempt: &job.Attempt{At: h.now, Status: 204}, State: job.DeliveryDone})
	_, err = h.j.ChangeDelivery(h.Context(), "t", id, job.DeliveryChange{Hook: 2, Total: 2, Attempt: &job.Attempt{At: h.now}, State: job.DeliveryDone})
	h.want(err, job.ErrTransition) // it is done
	_, err = h.j.ChangeDelivery(h.Context(), "t", id, job.DeliveryChange{Hook: 1, NextAt: h.now})
	h.want(err, job.ErrTransition) // not for this end
	change(job.DeliveryChange{Hook: 2, NextAt: h.now.Add(time.Hour)})
	h.ok(h.j.Delete(h.Context(), "t", id))
	none(id)
	h.reopen()
	none(id)
}
