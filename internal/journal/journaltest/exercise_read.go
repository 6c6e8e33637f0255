package journaltest

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"gather/internal/job"
)

func testLogPages(h *harness) {
	rng := rand.New(rand.NewPCG(1, 2))
	id, s := h.new("t", 5000)
	all := []job.Event{s, h.started()}
	next := int64(0)
	for range 60 {
		n := rng.Int64N(40)
		e := job.TaskProgress{Task: 0, Completed: n, Items: block(run(next, next+n)...)}
		if n%5 == 0 {
			e.Partial = []byte(strings.Repeat("p", int(n)))
		}
		next += n
		all = append(all, e)
	}
	all = append(all, job.Finished{At: h.now, State: job.Succeeded, Items: block(run(next, next+9)...)})
	for rest := all; len(rest) > 0; {
		n := min(1+rng.IntN(4), len(rest))
		h.events(id, rest[:n]...)
		rest = rest[n:]
	}
	for _, limit := range []int{1, 2, 7, 50, 1000, 100000} {
		h.sameLog(h.log(id, limit), all)
	}
	whole := h.log(id, 100000)
	for _, r := range whole {
		// From any cursor, also within a block, the first record is the one with the next seq.
		for after := r.Seq - job.Seqs(r.Event); after < r.Seq; after++ {
			page, err := h.j.Log(h.Context(), id, after, 1)
			h.ok(err)
			if len(page) == 0 || page[0].Seq != r.Seq {
				h.Fatalf("after %d comes %v, want seq %d", after, page, r.Seq)
			}
		}
	}
	end := whole[len(whole)-1].Seq
	for _, after := range []uint64{end, end + 1, 1 << 60, ^uint64(0)} {
		page, err := h.j.Log(h.Context(), id, after, 10)
		h.ok(err)
		h.equal(len(page), 0)
	}
}

func testItemsByIndex(h *harness) {
	rng := rand.New(rand.NewPCG(3, 4))
	shuffled := func(n int64) []int64 {
		s := run(0, n)
		rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		return s
	}
	for _, c := range []struct {
		name  string
		tasks int
		// indexes are appended in blocks of block items.
		indexes []int64
		block   int
		// per is the number of events in one append; 0 for all, the end included.
		per int
	}{
		{"one write", 1, shuffled(50), 10, 0},
		{"one write of a large job", 4, run(0, 3000), 100, 0},
		{"one task", 1, shuffled(300), 7, 3},
		{"in order", 4, run(0, 3000), 100, 1},
		{"interleaved", 4, shuffled(3000), 64, 5},
		{"reverse", 2, reversed(2000), 50, 2},
		{"no items", 2, nil, 1, 1},
	} {
		id, s := h.new("t", int64(max(len(c.indexes), 1)), func(j *job.Job) { j.Tasks = c.tasks })
		all := []job.Event{s, h.started()}
		for chunk := range slices.Chunk(c.indexes, c.block) {
			all = append(all, job.TaskProgress{Task: 0, Completed: int64(len(chunk)), Items: block(chunk...)})
		}
		all = append(all, job.Finished{At: h.now, State: job.Succeeded, Items: block(int64(len(c.indexes)))})
		if c.per == 0 {
			c.per = len(all)
		}
		for part := range slices.Chunk(all, c.per) {
			h.events(id, part...)
		}
		want := map[int64]job.Item{}
		for _, r := range h.log(id, 1000) {
			b, first := blockOf(r)
			for i, item := range b.All() {
				item.Seq = first + uint64(i)
				want[item.Index] = item
			}
		}
		for _, limit := range []int{1, 10, 999, 5000} {
			if limit == 1 && len(want) > 100 {
				continue
			}
			after, n := int64(-1), 0
			for {
				page, err := h.j.ItemsByIndex(h.Context(), id, after, limit)
				h.ok(err)
				if len(page) == 0 {
					break
				}
				if len(page) > limit {
					h.Fatalf("%s: %d items in a page of %d", c.name, len(page), limit)
				}
				for _, item := range page {
					w := want[item.Index]
					if item.Index != after+1 || item.Seq != w.Seq || !bytes.Equal(item.Value, w.Value) || item.Err != w.Err || item.Duration != w.Duration {
						h.Fatalf("%s: after index %d comes %+v, want %+v", c.name, after, item, w)
					}
					after = item.Index
				}
				n += len(page)
			}
			h.equal(n, len(want))
		}
	}
	page, err := h.j.ItemsByIndex(h.Context(), job.NewID(), -1, 10)
	h.ok(err)
	h.equal(len(page), 0)
}

// testLargeItems checks that pages of large items are bounded in bytes, and join to the whole.
func testLargeItems(h *harness) {
	const items, size = 24, 200 << 10
	rng := rand.New(rand.NewPCG(5, 6))
	for _, total := range []int64{items, 2000} { // a journal may index the items of large jobs only
		id, s := h.new("t", total)
		h.events(id, s, h.started())
		order := run(0, items)
		rng.Shuffle(items, func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, index := range order {
			var b job.Items
			b.Add(index, bytes.Repeat([]byte{byte('1' + index%9)}, size), time.Second)
			h.events(id, job.TaskProgress{Completed: 1, Items: b})
		}
		h.events(id, job.Finished{At: h.now, State: job.Succeeded})
		records, after := 0, uint64(0)
		for {
			page, err := h.j.Log(h.Context(), id, after, 1000)
			h.ok(err)
			if len(page) == 0 {
				break
			}
			bytes := 0
			for _, r := range page[:len(page)-1] {
				bytes += job.EventBytes(r.Event)
			}
			if bytes >= job.PageBytes {
				h.Fatalf("a page of the log has %d bytes before its last event, want less than %d", bytes, job.PageBytes)
			}
			records, after = records+len(page), page[len(page)-1].Seq
		}
		h.equal(records, items+3)
		for want := int64(0); want < items; {
			page, err := h.j.ItemsByIndex(h.Context(), id, want-1, 1000)
			h.ok(err)
			bytes := 0
			for i, item := range page {
				if item.Index != want || len(item.Value) != size || item.Value[size-1] != byte('1'+want%9) {
					h.Fatalf("item %d of a page is %d with %d bytes, want index %d", i, item.Index, len(item.Value), want)
				}
				if bytes >= job.PageBytes {
					h.Fatalf("a page by index has %d bytes before its last item, want less than %d", bytes, job.PageBytes)
				}
				bytes += item.Bytes()
				want++
			}
			if bytes < job.PageBytes && want < items {
				h.Fatalf("a page by index ends at %d bytes, before item %d", bytes, want)
			}
		}
	}
}

func reversed(n int64) []int64 {
	s := run(0, n)
	slices.Reverse(s)
	return s
}

// list reads a whole list in pages.
func (h *harness) list(q job.Query) (ids []job.ID) {
	h.Helper()
	for {
		jobs, next, err := h.j.List(h.Context(), q)
		h.ok(err)
		if len(jobs) > q.Limit {
			h.Fatalf("%d jobs in a page of %d", len(jobs), q.Limit)
		}
		for _, j := range jobs {
			ids = append(ids, j.ID)
		}
		if next == (job.ID{}) {
			return ids
		}
		q.Before = next
	}
}

func testListFilters(h *harness) {
	states := job.States()
	var ids []job.ID
	views := map[job.ID]job.Job{}
	for i := range 60 {
		id := h.submit("t", 1, func(j *job.Job) {
			j.Kind = []string{"squares", "array_sum"}[i%2]
			j.Priority = job.Priorities()[i/2%3]
			j.Labels = map[string]string{"n": []string{"a", "b", "c"}[i%3], "all": ""}
		})
		switch states[i%len(states)] {
		case job.Running:
			h.events(id, h.started())
		case job.Cancelling:
			h.events(id, job.CancelRequested{At: h.now})
		case job.Succeeded:
			h.events(id, h.started(), h.finished(job.Succeeded))
		case job.Failed:
			h.events(id, h.finished(job.Failed))
		case job.Cancelled:
			h.events(id, job.CancelRequested{At: h.now}, h.finished(job.Cancelled))
		}
		ids = append(ids, id)
		views[id] = h.get(id)
	}
	slices.Reverse(ids)
	for _, q := range []job.Query{
		{},
		{Kinds: []string{"squares"}},
		{Kinds: []string{"none"}},
		{Priorities: []job.Priority{job.High}},
		{Priorities: []job.Priority{job.Low, job.Normal}, States: []job.State{job.Queued, job.Failed}, Labels: map[string]string{"n": "a"}},
		{States: []job.State{job.Queued}},
		{States: []job.State{job.Succeeded, job.Running}},
		{States: states[3:]},
		{Labels: map[string]string{"n": "b"}},
		{Labels: map[string]string{"n": "b", "all": ""}},
		{Labels: map[string]string{"x": ""}},
		{Prefixes: map[string]string{"n": ""}},
		{Prefixes: map[string]string{"n": "b", "all": ""}},
		{Prefixes: map[string]string{"n": "bb"}},
		{Prefixes: map[string]string{"n": ""}, States: []job.State{job.Succeeded}, Kinds: []string{"squares", "array_sum"}},
		{FinishedAfter: h.now},
		{FinishedAfter: h.now.Add(2 * time.Second)},
		{CreatedAfter: h.now},
		{CreatedAfter: h.now.Add(-1)},
		{CreatedBefore: h.now},
		{CreatedBefore: h.now.Add(1)},
		{Kinds: []string{"array_sum", "none"}, States: []job.State{job.Failed, job.Cancelling}, Labels: map[string]string{"n": "c"}},
	} {
		q.Tenant = "t"
		var want []job.ID
		for _, id := range ids {
			if v := views[id]; q.Matches(&v) {
				want = append(want, id)
			}
		}
		for _, q.Limit = range []int{1, 7, 100} {
			h.equal(h.list(q), want)
		}
	}
}

// testListChurn pages through a list while jobs are added, changed and deleted: jobs that stay are listed once, in order.
func testListChurn(h *harness) {
	var stay, ended []job.ID
	for i := range 120 {
		id := h.submit("t", 1)
		if i%3 != 0 {
			stay = append(stay, id)
			continue
		}
		h.events(id, h.started(), h.finished(job.Succeeded))
		ended = append(ended, id)
	}
	slices.Reverse(stay)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for _, id := range ended {
			h.ok(h.j.Delete(h.Context(), "t", id))
		}
	})
	wg.Go(func() {
		// Half of the jobs that stay change state while they are listed.
		for i, id := range stay {
			if i%2 == 0 {
				h.events(id, h.started())
				h.events(id, h.finished(job.Succeeded))
			}
		}
	})
	wg.Go(func() {
		for range 300 {
			select {
			case <-stop:
				return
			default:
				h.submit("t", 1)
			}
		}
	})
	for round := range 20 {
		ids := h.list(job.Query{Tenant: "t", Limit: 1 + round})
		if !slices.IsSortedFunc(ids, func(a, b job.ID) int { return bytes.Compare(b[:], a[:]) }) {
			h.Error("a listing is out of order")
		}
		if len(slices.Compact(slices.Clone(ids))) != len(ids) {
			h.Error("a listing has a job twice")
		}
		at := 0
		for _, id := range ids {
			if at < len(stay) && id == stay[at] {
				at++
			}
		}
		if at != len(stay) {
			h.Errorf("a listing has %d of %d jobs that stay", at, len(stay))
		}
	}
	close(stop)
	wg.Wait()
}

func testTenants(h *harness) {
	// Some names are prefixes of others.
	tenants := []string{"", "a", "ab", "b", "a\x00", strings.Repeat("long", 100)}
	ids := map[string]job.ID{}
	for _, tenant := range tenants {
		ids[tenant] = h.submit(tenant, 1)
		done := h.submit(tenant, 1)
		h.events(done, h.started(), h.finished(job.Succeeded))
	}
	for _, a := range tenants {
		h.equal(len(h.list(job.Query{Tenant: a, Limit: 10})), 2)
		for _, b := range tenants {
			_, err := h.j.Get(h.Context(), a, ids[b])
			if a != b {
				h.want(err, job.ErrNotFound)
				h.want(h.j.Delete(h.Context(), a, ids[b]), job.ErrNotFound)
			} else {
				h.ok(err)
				h.want(h.j.Delete(h.Context(), a, ids[b]), job.ErrNotFinished)
			}
		}
	}
}

// testStats checks that the counts of jobs are of one tenant, and that unfinished jobs are counted again after a restart.
func testStats(h *harness) {
	stats := func(tenant string) job.Stats {
		h.Helper()
		s, err := h.j.Stats(h.Context(), tenant)
		h.ok(err)
		if s.Since.IsZero() || time.Since(s.Since) < 0 {
			h.Errorf("since: got %v, want the time of the opening", s.Since)
		}
		s.Since = time.Time{}
		return s
	}
	h.equal(stats("a"), job.Stats{})
	running, ended := h.submit("a", 1), h.submit("a", 1)
	h.submit("a", 1)
	h.submit("a", 1, func(j *job.Job) { j.StartAfter = h.now.Add(time.Hour) })
	h.submit("b", 1)
	h.events(running, h.started())
	h.events(ended, h.started(), h.finished(job.Failed))
	unfinished := job.Stats{Queued: 1, Delayed: 1, Running: 1}
	all := unfinished
	all.Accepted, all.Failed = 4, 1
	got := stats("a")
	if got.Wait.Count != 2 || got.Wait.P50 != time.Second || got.Duration.Count != 1 || got.Duration.P95 < time.Second {
		h.Errorf("wait and duration: got %+v and %+v, want 2 waits of 1 s and 1 duration", got.Wait, got.Duration)
	}
	got.Wait, got.Duration = job.Latency{}, job.Latency{}
	h.equal(got, all)
	h.equal(stats("b"), job.Stats{Queued: 1, Accepted: 1})
	h.reopen()
	got = stats("a")
	h.equal(job.Stats{Queued: got.Queued, Delayed: got.Delayed, Running: got.Running}, unfinished)
}
