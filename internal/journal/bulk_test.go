package journal_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// bulk returns an event with a hundred items in 50 KB.
func bulk(first int64) job.TaskProgress {
	var items job.Items
	for i := range int64(100) {
		items.Add(first+i, fmt.Append(nil, strings.Repeat("7", 500), i), 0)
	}
	return job.TaskProgress{Completed: 100, Items: items}
}

// TestBulkLeavesRoom tests that a small job is written behind one piece of the results of a huge one at most, whatever was queued before,
// and that an end is written behind all results.
func TestBulkLeavesRoom(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	giant, s := submission("t")
	s.Job.Progress.Total, s.Job.Tasks = 2000, 21
	must(t, journaltest.Append(t.Context(), j, entry(giant, s, job.Started{})))
	resume := d.hang()
	defer resume()

	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	add := func(name string, b job.Batch) {
		t.Helper()
		all.Add(1)
		b.Done = func(err error) {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			order = append(order, name)
		}
		must(t, j.Append(t.Context(), b))
	}
	want := []string{"bulk 0", "small"}
	for i := range int64(20) {
		add(fmt.Sprint("bulk ", i), entry(giant, bulk(100*i)))
		if i > 0 {
			want = append(want, fmt.Sprint("bulk ", i))
		}
	}
	add("end", entry(giant, job.Finished{State: job.Succeeded}))
	small, s := submission("t")
	add("small", entry(small, append([]job.Event{s}, smallEnd(time.Now().UTC())...)...))
	resume()
	all.Wait()
	if want = append(want, "end"); !slices.Equal(order, want) {
		t.Errorf("got %q written in this order, want %q", order, want)
	}
	if n := j.BulkJobs(); n != 0 {
		t.Errorf("got %d jobs with bulk results after the end, want 0", n)
	}
	v, err := j.Get(t.Context(), "t", giant)
	if err != nil || v.State != job.Succeeded || v.Progress.Completed != 2000 {
		t.Errorf("got %v with %d items, %v; want succeeded with 2000", v.State, v.Progress.Completed, err)
	}
	must(t, j.Close())
}

// TestBulkOrder tests that the events of each job are written in the order in which they were appended, also when the
// submission waits for other writes, and that a restart finds them.
func TestBulkOrder(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	var all, clients sync.WaitGroup
	var mu sync.Mutex
	events := map[job.ID][]job.Event{}
	for c := range 8 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			for range 5 {
				id, s := submission("t")
				s.Job.Progress.Total = 5000
				batches := [][]job.Event{{s}, {job.Started{At: time.Unix(1, 0).UTC()}}}
				for n := range 1 + rng.IntN(20) {
					ev := job.TaskProgress{Completed: 1, Partial: fmt.Append(nil, n)}
					if rng.IntN(2) == 0 {
						ev = bulk(int64(100 * n))
					}
					batches = append(batches, []job.Event{ev})
				}
				batches = append(batches, []job.Event{job.Finished{State: job.Succeeded, At: time.Unix(2, 0).UTC()}})
				done := 0
				for i, evs := range batches {
					b := entry(id, evs...)
					b.Delay = time.Duration(rng.IntN(2)) * time.Duration(rng.IntN(3000)) * time.Microsecond
					all.Add(1)
					b.Done = func(err error) {
						defer all.Done()
						mu.Lock()
						defer mu.Unlock()
						if err != nil || done != i {
							t.Errorf("batch %d was written after %d others: %v", i, done, err)
						}
						done++
					}
					if err := j.Append(t.Context(), b); err != nil {
						t.Error(err)
						all.Done()
					}
					mu.Lock()
					events[id] = append(events[id], evs...)
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	all.Wait()
	must(t, j.Close())
	j = open(t, journal.Config{Dir: "j", FS: d})
	for id, want := range events {
		var got []job.Event
		after := uint64(0)
		for {
			page, err := j.Log(t.Context(), id, after, 1000)
			must(t, err)
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				got, after = append(got, r.Event), r.Seq
			}
		}
		if len(got) != len(want) {
			t.Errorf("job %s: got %d events, want %d", id, len(got), len(want))
			continue
		}
		for i := 1; i < len(want); i++ { // the submission has no spec in the log
			if g, w := job.AppendEvent(nil, got[i]), job.AppendEvent(nil, want[i]); !reflect.DeepEqual(g, w) {
				t.Errorf("job %s: event %d differs", id, i)
			}
		}
	}
	must(t, j.Close())
}

// Bulk results pause for twice the time of a piece, if other requests were written recently.
func TestBulkPause(t *testing.T) {
	for _, tt := range []struct{ took, since, want time.Duration }{
		{time.Millisecond, 0, 2 * time.Millisecond},
		{7 * time.Millisecond, 20 * time.Millisecond, 14 * time.Millisecond},
		{7 * time.Millisecond, 21 * time.Millisecond, 0},
	} {
		if got := journal.BulkPause(tt.took, tt.since); got != tt.want {
			t.Errorf("after a piece of %s, %s after another request: a pause of %s, want %s", tt.took, tt.since, got, tt.want)
		}
	}
}

// TestBulkPauses tests that the writer keeps the pause after a piece, and writes other requests in it.
func TestBulkPauses(t *testing.T) {
	c := &clock{now: time.Now()}
	d := newDisk()
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, SweepInterval: time.Hour},
		journal.Hooks{Now: c.Now, After: c.After})
	must(t, err)
	giant, s := submission("t")
	s.Job.Progress.Total, s.Job.Tasks = 200, 3
	must(t, journaltest.Append(t.Context(), j, entry(giant, s, job.Started{})))
	until(t, "the submission is written", func() bool { return !j.Writing() })
	add := func(first int64) <-chan error {
		b, done := entry(giant, bulk(first)), make(chan error, 1)
		b.Done = func(err error) { done <- err }
		must(t, j.Append(t.Context(), b))
		return done
	}

	resume := d.hang()
	defer resume()
	piece := add(0)
	until(t, "a piece is being written", j.Writing)
	c.add(7 * time.Millisecond)
	resume()
	must(t, <-piece)

	piece = add(100)
	until(t, "the writer pauses", func() bool { return len(piece) > 0 || c.armed(14*time.Millisecond) })
	small, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(small, s)))
	until(t, "the writer pauses again", func() bool { return len(piece) > 0 || c.armed(14*time.Millisecond) })
	c.add(13 * time.Millisecond)
	if len(piece) > 0 {
		t.Error("got a piece written within the pause, want it after the pause")
	}
	c.add(time.Millisecond)
	must(t, <-piece)
	must(t, j.Close())
}
