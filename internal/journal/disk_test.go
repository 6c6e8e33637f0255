package journal_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestNothingUnsyncedIsSeen hangs the disk in the fsync: Pebble shows the write, and the journal does not.
func TestNothingUnsyncedIsSeen(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	old, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(old, s)))
	resume := d.hang()
	defer resume()

	id, s := submission("t")
	key := job.Key{Tenant: "t", Value: "k"}
	if _, err := j.Reserve(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	var items job.Items
	items.Add(0, []byte("0"), 0)
	done := make(chan error, 1)
	b := entry(id, s, job.Started{}, job.TaskProgress{Items: items}, job.Finished{State: job.Succeeded})
	b.Entries = append(b.Entries, job.Entry{ID: old, Events: []job.Event{job.Started{}}})
	b.Key, b.Done = &key, func(err error) { done <- err }
	changed, stop := j.Watch(id)
	defer stop()
	must(t, j.Append(t.Context(), b))
	until(t, "pebble shows the job", func() bool { return j.InEngine("t", id) })

	_, err := j.Get(t.Context(), "t", id)
	wantErr(t, err, job.ErrNotFound)
	wantErr(t, j.Delete(t.Context(), "t", id), job.ErrNotFound)
	if log, err := j.Log(t.Context(), id, 0, 10); err != nil || len(log) != 0 {
		t.Fatal(log, err)
	}
	if log, err := j.Log(t.Context(), old, 0, 10); err != nil || len(log) != 1 {
		t.Fatal(log, err)
	}
	if page, err := j.ItemsByIndex(t.Context(), id, -1, 10); err != nil || len(page) != 0 {
		t.Fatal(page, err)
	}
	jobs, _, err := j.List(t.Context(), job.Query{Tenant: "t", Limit: 10})
	if err != nil || len(jobs) != 1 || jobs[0].ID != old || jobs[0].State != job.Queued {
		t.Fatal(jobs, err)
	}
	_, err = j.Reserve(t.Context(), key)
	wantErr(t, err, job.ErrKeyInProgress)
	if len(changed) != 0 || len(done) != 0 {
		t.Fatal("the watch was signalled before the change was durable")
	}

	resume()
	must(t, <-done)
	<-changed
	v, err := j.Get(t.Context(), "t", id)
	if err != nil || v.State != job.Succeeded {
		t.Fatal(v, err)
	}
	if prior, err := j.Reserve(t.Context(), key); err != nil || len(prior) != 2 {
		t.Fatal(prior, err)
	}
	must(t, j.Close())
}

// TestEndingIsListed hangs the disk while the end of a job is forced to it: lists of unfinished jobs have the job as reads do, and lists of finished
// ones do not.
func TestEndingIsListed(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	var ids []job.ID // newest first
	for range 3 {
		id, s := submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
		ids = slices.Insert(ids, 0, id)
	}
	other, s := submission("u")
	must(t, journaltest.Append(t.Context(), j, entry(other, s, job.Started{})))
	resume := d.hang()
	defer resume()
	done := make(chan error, 1)
	b := entry(ids[1], job.Finished{State: job.Succeeded})
	b.Entries = append(b.Entries, job.Entry{ID: other, Events: []job.Event{job.Finished{State: job.Failed}}})
	b.Done = func(err error) { done <- err }
	must(t, j.Append(t.Context(), b))
	until(t, "pebble shows the end", func() bool { return j.EndedInEngine("t", ids[1]) })

	list := func(q job.Query) (listed []job.ID) {
		t.Helper()
		q.Tenant = "t"
		for {
			jobs, next, err := j.List(t.Context(), q)
			must(t, err)
			for i := range jobs {
				listed = append(listed, jobs[i].ID)
			}
			if next == (job.ID{}) {
				return listed
			}
			q.Before = next
		}
	}
	tests := []struct {
		name        string
		q           job.Query
		hung, after []job.ID
	}{
		{"running", job.Query{Limit: 10, States: []job.State{job.Running}}, ids, []job.ID{ids[0], ids[2]}},
		{"running, in pages", job.Query{Limit: 1, States: []job.State{job.Running}}, ids, []job.ID{ids[0], ids[2]}},
		{"running, older", job.Query{Limit: 10, States: []job.State{job.Running}, Before: ids[0]}, ids[1:], ids[2:]},
		{"running or succeeded", job.Query{Limit: 10, States: []job.State{job.Running, job.Succeeded}}, ids, ids},
		{"succeeded", job.Query{Limit: 10, States: []job.State{job.Succeeded}}, nil, ids[1:2]},
		{"all", job.Query{Limit: 10}, ids, ids},
	}
	for _, tt := range tests {
		if got := list(tt.q); !slices.Equal(got, tt.hung) {
			t.Errorf("%s, while the disk hangs: %v, want %v", tt.name, got, tt.hung)
		}
	}
	resume()
	must(t, <-done)
	for _, tt := range tests {
		if got := list(tt.q); !slices.Equal(got, tt.after) {
			t.Errorf("%s, afterwards: %v, want %v", tt.name, got, tt.after)
		}
	}
	must(t, j.Close())
}

// TestFull checks the bound of bytes that wait for the disk: submissions are rejected, and there is no room for results.
func TestFull(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d, MaxPendingBytes: 4096})
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
	resume := d.hang()
	defer resume()
	results := make(chan error, 3)
	step := entry(id, job.TaskProgress{Completed: 1, Partial: []byte(strings.Repeat("x", 3000))})
	step.Done = func(err error) { results <- err }
	must(t, j.Append(t.Context(), step))

	if j.Room() != nil {
		t.Fatal("no room with 3000 of 4096 bytes")
	}
	must(t, j.Append(t.Context(), step)) // an append that had room before does not block
	room := j.Room()
	if room == nil {
		t.Fatal("room with 6000 of 4096 bytes")
	}
	other, s2 := submission("t")
	var r *job.Rejection
	if err := j.Append(t.Context(), entry(other, s2)); !errors.As(err, &r) || !errors.Is(err, job.ErrStorage) || r.Reason == "" {
		t.Fatal(err)
	}
	resume()
	<-room
	must(t, <-results)
	must(t, <-results)
	if j.Room() != nil {
		t.Fatal("no room after the disk has resumed")
	}
	v, err := j.Get(t.Context(), "t", id)
	if err != nil || v.Progress.Completed != 2 {
		t.Fatal(v, err)
	}
	must(t, j.Close())
}

// TestShortEndsAhead tests that there is no room for results while the ends of many short jobs wait for the disk.
func TestShortEndsAhead(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	resume := d.hang()
	defer resume()
	const jobs = 10_000
	ended := make(chan error, jobs)
	n := 0
	for ; n < jobs && j.Room() == nil; n++ {
		id, s := submission("t")
		must(t, j.Append(t.Context(), entry(id, s)))
		end := entry(id, smallEnd(time.Now().UTC())...)
		end.Done = func(err error) { ended <- err }
		must(t, j.Append(t.Context(), end))
	}
	if n == jobs {
		t.Fatalf("got room beside %d ended jobs that wait for the disk, want none", n)
	}
	if n < 1000 {
		t.Errorf("got no room beside %d ended jobs, want room for more: they share a write", n)
	}
	room := j.Room()
	other, s := submission("t")
	must(t, j.Append(t.Context(), entry(other, s))) // submissions do not wait
	resume()
	<-room
	for range n {
		must(t, <-ended)
	}
	if j.Room() != nil {
		t.Error("got no room when all is on disk, want room")
	}
	must(t, j.Close())
}

// TestStall rejects submissions while the disk hangs, also submissions that wait already.
func TestStall(t *testing.T) {
	d := newDisk()
	c := &clock{now: time.Now()}
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, RetryInterval: time.Hour},
		journal.Hooks{Now: c.Now, Stall: time.Minute})
	must(t, err)
	key := job.Key{Tenant: "t", Value: "k"}
	if _, err := j.Reserve(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	old, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(old, s)))
	resume := d.hang()
	defer resume()
	id, s := submission("t")
	b := entry(id, s, job.Started{}, job.TaskProgress{Partial: []byte("partial")})
	done := make(chan error, 1)
	b.Key, b.Done = &key, func(err error) { done <- err }
	must(t, j.Append(t.Context(), b))
	ended := make(chan error, 3)
	end := entry(id, job.Finished{State: job.Succeeded})
	end.Done = func(err error) { ended <- err }
	must(t, j.Append(t.Context(), end))
	kept := entry(old, job.TaskProgress{Completed: 2})
	kept.Done = func(err error) { ended <- err }
	until(t, "pebble shows the job", func() bool { return j.InEngine("t", id) })
	// A batch that also advances another job is not split: it waits for the disk.
	both, s2 := submission("t")
	mixed := entry(both, s2)
	mixed.Entries = append(mixed.Entries, job.Entry{ID: old, Events: []job.Event{job.TaskProgress{Completed: 1}}})
	mixedDone := make(chan error, 1)
	mixed.Done = func(err error) { mixedDone <- err }
	started := entry(old, job.Started{})
	started.Done = func(err error) { ended <- err }
	must(t, j.Append(t.Context(), started))
	must(t, j.Append(t.Context(), mixed))
	c.add(2 * time.Minute)
	j.Inspect()
	wantErr(t, <-done, job.ErrStorage)
	wantErr(t, j.Ready(), job.ErrStorage)
	other, s := submission("t")
	wantErr(t, j.Append(t.Context(), entry(other, s)), job.ErrStorage)
	must(t, j.Append(t.Context(), kept))
	// The key stays in use until the rejected job is deleted, because the disk may have the job.
	_, err = j.Reserve(t.Context(), key)
	wantErr(t, err, job.ErrKeyInProgress)

	resume()
	until(t, "the journal is ready", func() bool { j.Inspect(); return j.Ready() == nil })
	must(t, <-mixedDone)
	for range 3 {
		if err := <-ended; err != nil && !errors.Is(err, job.ErrStorage) {
			t.Fatal(err)
		}
	}
	until(t, "the key is free", func() bool { _, err := j.Reserve(t.Context(), key); return err == nil })
	if _, n := j.Results("t", id); n != 0 {
		t.Errorf("results of rejected jobs count %d bytes, want 0", n)
	}
	j.Release(key)
	_, err = j.Get(t.Context(), "t", id)
	wantErr(t, err, job.ErrNotFound)
	v, err := j.Get(t.Context(), "t", old)
	if err != nil || v.State != job.Running || v.Progress.Completed != 3 {
		t.Fatal(v, err)
	}
	must(t, j.Close())
	j = open(t, journal.Config{Dir: "j", FS: d})
	_, err = j.Get(t.Context(), "t", id)
	wantErr(t, err, job.ErrNotFound)
	if log, err := j.Log(t.Context(), id, 0, 10); err != nil || len(log) != 0 {
		t.Fatal(log, err)
	}
	must(t, j.Close())
}

// TestSpace checks that submissions leave a margin of free space.
func TestSpace(t *testing.T) {
	d := newDisk()
	d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	j := open(t, journal.Config{Dir: "j", FS: d, MinFreeBytes: 1 << 20, RetryInterval: time.Hour})
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s)))
	d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1<<20 - 1})
	j.Inspect()
	wantErr(t, j.Ready(), job.ErrStorage)
	other, s := submission("t")
	wantErr(t, journaltest.Append(t.Context(), j, entry(other, s)), job.ErrStorage)
	must(t, journaltest.Append(t.Context(), j, entry(id, job.Started{})))
	d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	j.Inspect()
	must(t, j.Ready())
	must(t, journaltest.Append(t.Context(), j, entry(other, s)))
	must(t, j.Close())
}

// TestEngineFailure checks that a journal whose engine has failed is not ready, and stays readable.
func TestEngineFailure(t *testing.T) {
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem()})
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s)))
	j.Crash(errDisk)
	wantErr(t, j.Ready(), errDisk)
	wantErr(t, journaltest.Append(t.Context(), j, entry(id, job.Started{})), job.ErrStorage)
	other, s := submission("t")
	wantErr(t, journaltest.Append(t.Context(), j, entry(other, s)), job.ErrStorage)
	if v, err := j.Get(t.Context(), "t", id); err != nil || v.State != job.Queued {
		t.Fatal(v, err)
	}
	must(t, j.Close())
}

// TestReserve checks that below half the margin there is no room for results, while a job can still be cancelled, deleted and
// swept.
func TestReserve(t *testing.T) {
	const margin = 1 << 30
	d := newDisk()
	free := func(bytes uint64) { d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes}) }
	free(margin)
	c := &clock{now: time.Now()}
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, MinFreeBytes: margin, RetryInterval: time.Hour},
		journal.Hooks{Now: c.Now})
	must(t, err)
	ids := make([]job.ID, 3)
	for i := range ids {
		var s job.Submitted
		ids[i], s = submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(ids[i], s, job.Started{})))
	}
	end := job.Finished{State: job.Succeeded, At: c.Now()}
	must(t, journaltest.Append(t.Context(), j, entry(ids[0], end)))
	must(t, journaltest.Append(t.Context(), j, entry(ids[1], end)))

	free(margin/2 + 1)
	j.Inspect()
	wantErr(t, j.Ready(), job.ErrStorage)
	if j.Room() != nil {
		t.Fatal("no room above the reserve")
	}
	free(margin/2 - 1)
	// The writer detects low space without the monitor.
	for range 5 {
		must(t, journaltest.Append(t.Context(), j, entry(ids[2], job.TaskProgress{Partial: make([]byte, 1<<20)})))
	}
	room := j.Room()
	if room == nil {
		t.Fatal("room below the reserve")
	}
	must(t, journaltest.Append(t.Context(), j, entry(ids[2], job.CancelRequested{}, job.Finished{State: job.Cancelled, At: c.Now()})))
	must(t, j.Delete(t.Context(), "t", ids[0]))
	c.add(2 * time.Hour)
	must(t, j.Sweep(t.Context()))
	for _, id := range ids {
		_, err := j.Get(t.Context(), "t", id)
		wantErr(t, err, job.ErrExpired)
	}
	free(margin)
	j.Inspect()
	<-room
	if j.Room() != nil || j.Ready() != nil {
		t.Fatalf("with space again: room %v, ready %v; want none to wait for, nil", j.Room(), j.Ready())
	}
	must(t, j.Close())
}

// TestPrompt checks that deletes and prompt batches return while the disk fails, and take effect later.
func TestPrompt(t *testing.T) {
	for _, first := range []string{"request", "fault"} {
		t.Run(first+" first", func(t *testing.T) {
			d := newDisk()
			j := open(t, journal.Config{Dir: "j", FS: d, RetryInterval: time.Millisecond})
			id, s := submission("t")
			gone, s2 := submission("t")
			must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
			must(t, journaltest.Append(t.Context(), j, entry(gone, s2, job.Started{}, job.Finished{State: job.Succeeded})))
			results := make(chan error, 2)
			ask := func() {
				b := entry(id, job.CancelRequested{})
				b.Prompt, b.Done = true, func(err error) { results <- err }
				must(t, j.Append(t.Context(), b))
				go func() { results <- j.Delete(t.Context(), "t", gone) }() // its result is received below
			}
			resume := d.hang()
			if first == "request" {
				ask()
			}
			d.fail(writes)
			if first == "fault" {
				must(t, j.Append(t.Context(), entry(id, job.TaskProgress{Completed: 1})))
				resume()
				until(t, "the journal is not ready", func() bool { return j.Ready() != nil })
				ask()
			}
			resume()
			wantErr(t, <-results, job.ErrStorage)
			wantErr(t, <-results, job.ErrStorage)
			d.fail(nil)
			until(t, "one job is cancelling and the other is deleted", func() bool {
				v, err := j.Get(t.Context(), "t", id)
				_, goneErr := j.Get(t.Context(), "t", gone)
				return err == nil && v.State == job.Cancelling && errors.Is(goneErr, job.ErrExpired)
			})
			must(t, j.Close())
		})
	}
}

// TestPromptOnKnownFault checks that a delete and a prompt batch return immediately when the journal has already detected that
// the disk fails.
func TestPromptOnKnownFault(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d, RetryInterval: time.Hour})
	id, s := submission("t")
	gone, s2 := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
	must(t, journaltest.Append(t.Context(), j, entry(gone, s2, job.Started{}, job.Finished{State: job.Succeeded})))
	d.fail(writes)
	must(t, j.Append(t.Context(), entry(id, job.TaskProgress{Completed: 1})))
	until(t, "the journal is not ready", func() bool { return j.Ready() != nil })
	result := make(chan error, 1)
	b := entry(id, job.CancelRequested{})
	b.Prompt, b.Done = true, func(err error) { result <- err }
	must(t, j.Append(t.Context(), b))
	wantErr(t, <-result, job.ErrStorage)
	wantErr(t, j.Delete(t.Context(), "t", gone), job.ErrStorage)
	d.fail(nil)
	_ = j.Close() // may return the fault
	select {
	case err := <-result:
		t.Errorf("Done is called again, with %v", err)
	default:
	}
}
