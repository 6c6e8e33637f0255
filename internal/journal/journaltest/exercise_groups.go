package journaltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"gather/internal/job"
)

// testGroups checks counts, ends and lists of groups through the life of their jobs, after each step also after a restart.
func testGroups(h *harness) {
	in := func(name string) func(*job.Job) { return func(j *job.Job) { j.Group = name } }
	want := func(name string, jobs map[job.State]int64, p job.Progress) {
		h.Helper()
		for range 2 {
			g, err := h.j.Group(h.Context(), "t", name)
			h.ok(err)
			var counts job.Counts
			for s, n := range jobs {
				counts[s] = n
			}
			h.equal(g.Name, name)
			h.equal(g.Jobs, counts)
			h.equal(g.Progress, p)
			h.equal(g.CreatedAt.Equal(h.now), true)
			h.reopen()
		}
	}
	var none []string
	names := func(after string, limit int) (names []string) {
		h.Helper()
		page, err := h.j.Groups(h.Context(), "t", after, limit)
		h.ok(err)
		for _, g := range page {
			names = append(names, g.Name)
		}
		return names
	}
	ends := func(name string, after uint64, limit int) (ids []job.ID) {
		h.Helper()
		page, err := h.j.GroupEnds(h.Context(), "t", name, after, limit)
		h.ok(err)
		for _, e := range page {
			if e.Seq <= after {
				h.Fatalf("an end with seq %d after %d", e.Seq, after)
			}
			after = e.Seq
			ids = append(ids, e.ID)
		}
		return ids
	}
	_, err := h.j.Group(h.Context(), "t", "a")
	h.want(err, job.ErrGroupNotFound)
	h.equal(names("", 10), none)

	changed, stop := h.j.Watch(job.GroupID("t", "a"))
	a1 := h.submit("t", 10, in("a"))
	<-changed
	stop()
	h.submit("other", 10, in("a"))
	h.submit("t", 10)
	want("a", map[job.State]int64{job.Queued: 1}, job.Progress{Total: 10})
	h.events(a1, h.started(), job.TaskProgress{Task: 0, Completed: 2, Failed: 1, Items: block(0, 1, 3)})
	want("a", map[job.State]int64{job.Running: 1}, job.Progress{Total: 10, Completed: 2, Failed: 1})
	a2 := h.submit("t", 5, in("a"))
	// Submission and end in one write.
	a3, s := h.new("t", 7, in("a"))
	h.events(a3, s, h.started(), job.TaskProgress{Task: 0, Completed: 7}, h.finished(job.Failed))
	want("a", map[job.State]int64{job.Running: 1, job.Queued: 1, job.Failed: 1}, job.Progress{Total: 22, Completed: 9, Failed: 1})
	h.equal(ends("a", 0, 10), []job.ID{a3})
	h.events(a2, job.CancelRequested{At: h.now})
	want("a", map[job.State]int64{job.Running: 1, job.Cancelling: 1, job.Failed: 1}, job.Progress{Total: 22, Completed: 9, Failed: 1})
	h.events(a2, h.finished(job.Cancelled))
	h.events(a1, h.finished(job.Succeeded))
	want("a", map[job.State]int64{job.Succeeded: 1, job.Failed: 1, job.Cancelled: 1}, job.Progress{Total: 22, Completed: 9, Failed: 1})
	for range 2 {
		h.equal(ends("a", 0, 10), []job.ID{a3, a2, a1})
		h.equal(ends("a", 0, 2), []job.ID{a3, a2})
		page, err := h.j.GroupEnds(h.Context(), "t", "a", 0, 10)
		h.ok(err)
		h.equal(ends("a", page[0].Seq, 10), []job.ID{a2, a1})
		g, err := h.j.Group(h.Context(), "t", "a")
		h.ok(err)
		h.equal(g.Seq, page[2].Seq)
		h.equal(ends("a", g.Seq, 10) == nil, true)
		h.equal(ends("a", ^uint64(0), 10) == nil, true)
		h.equal(g.FinishedAt.IsZero(), false)
		h.reopen()
	}

	// Lists of groups and of the jobs of one.
	aa, b1, b2 := h.submit("t", 1, in("aa")), h.submit("t", 1, in("b")), h.submit("t", 1, in("b"))
	h.events(b1, h.started(), h.finished(job.Succeeded))
	for range 2 {
		h.equal(names("", 10), []string{"a", "aa", "b"})
		h.equal(names("", 2), []string{"a", "aa"})
		h.equal(names("a", 10), []string{"aa", "b"})
		h.equal(names("aa", 1), []string{"b"})
		h.equal(names("b", 1), none)
		h.equal(h.list(job.Query{Tenant: "t", Group: "b", Limit: 2}), []job.ID{b2, b1})
		h.equal(h.list(job.Query{Tenant: "t", Group: "a", Limit: 2}), []job.ID{a3, a2, a1})
		h.equal(h.list(job.Query{Tenant: "t", Group: "a", States: []job.State{job.Failed}, Limit: 2}), []job.ID{a3})
		h.equal(h.list(job.Query{Tenant: "t", Group: "none", Limit: 2}) == nil, true)
		h.reopen()
	}

	// A deleted job is no longer counted; with the last the group is gone.
	h.ok(h.j.Delete(h.Context(), "t", a2))
	want("a", map[job.State]int64{job.Succeeded: 1, job.Failed: 1}, job.Progress{Total: 17, Completed: 9, Failed: 1})
	h.equal(ends("a", 0, 10), []job.ID{a3, a1})
	h.ok(h.j.Delete(h.Context(), "t", a1))
	h.ok(h.j.Delete(h.Context(), "t", a3))
	for range 2 {
		_, err = h.j.Group(h.Context(), "t", "a")
		h.want(err, job.ErrGroupNotFound)
		h.equal(names("", 10), []string{"aa", "b"})
		h.equal(len(ends("a", 0, 10)), 0)
		h.reopen()
	}
	_, err = h.j.Group(h.Context(), "t", "b")
	h.ok(err)
	_ = aa
}

// testGroupsRace ends and deletes jobs of groups concurrently, and compares the counts with the lists.
func testGroupsRace(h *harness) {
	const workers, jobs, groups = 8, 30, 3
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range jobs {
				id, s := h.new("t", 4, func(j *job.Job) { j.Group = fmt.Sprint("g", rng.IntN(groups)) })
				steps := [][]job.Event{{s}, {h.started()}, {job.TaskProgress{Task: 0, Completed: 3, Failed: 1}}, {h.finished(job.Succeeded)}}
				if rng.IntN(2) == 0 {
					steps = [][]job.Event{slices.Concat(steps...)}
				}
				for _, events := range steps[:1+rng.IntN(len(steps))] {
					if err := h.append(job.Batch{Entries: []job.Entry{{ID: id, Events: events}}}); err != nil {
						h.Error(err)
					}
				}
				if rng.IntN(3) == 0 {
					_ = h.j.Delete(h.Context(), "t", id) // fails for a job that has not ended
				}
			}
		})
	}
	wg.Wait()
	for range 2 {
		for i := range groups {
			name := fmt.Sprint("g", i)
			var counts job.Counts
			var progress job.Progress
			ended := 0
			jobs, _, err := h.j.List(h.Context(), job.Query{Tenant: "t", Group: name, Limit: 1000})
			h.ok(err)
			for i := range jobs {
				counts[jobs[i].State]++
				progress.Add(jobs[i].Progress)
				if jobs[i].State.Terminal() {
					ended++
				}
			}
			g, err := h.j.Group(h.Context(), "t", name)
			h.ok(err)
			h.equal(g.Jobs, counts)
			h.equal(g.Progress, progress)
			ends, err := h.j.GroupEnds(h.Context(), "t", name, 0, 1000)
			h.ok(err)
			h.equal(len(ends), ended)
		}
		h.reopen()
	}
}
