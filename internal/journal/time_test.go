package journal_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// A clock is a fake clock with timers.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
}

type timer struct {
	at time.Time
	f  func()
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		// stop is called with the journal's lock held, so it only marks the timer.
		c.mu.Lock()
		defer c.mu.Unlock()
		t.f = nil
		return true
	}
}

// armed reports whether a timer is to fire in d.
func (c *clock) armed(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.timers, func(t *timer) bool { return t.f != nil && t.at.Equal(c.now.Add(d)) })
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for _, t := range c.timers {
		if t.f != nil && !t.at.After(c.now) {
			due = append(due, t.f)
			t.f = nil
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

func openAt(t *testing.T, c *clock, cfg journal.Config) *journal.Journal {
	t.Helper()
	cfg.Dir, cfg.Logger, cfg.SweepInterval = "j", quiet, time.Hour
	j, err := journal.OpenWithHooks(t.Context(), cfg, journal.Hooks{Now: c.Now, After: c.After})
	must(t, err)
	return j
}

// TestDelay checks that a batch with a Delay waits, and is written together with a batch without one.
func TestDelay(t *testing.T) {
	c := &clock{now: time.Now()}
	j := openAt(t, c, journal.Config{FS: vfs.NewMem()})
	results := make(chan string, 4)
	submit := func(name string, delay time.Duration) {
		id, s := submission("t")
		b := entry(id, s)
		b.Delay, b.Done = delay, func(error) { results <- name }
		must(t, j.Append(t.Context(), b))
	}
	quietNow := func() {
		t.Helper()
		// An operation of the journal does not wait, so its write would include a batch that does not wait.
		if len(results) > 0 {
			t.Fatalf("%s did not wait", <-results)
		}
	}
	submit("a", time.Minute)
	quietNow()
	c.add(59 * time.Second)
	quietNow()
	submit("b", time.Hour)
	quietNow()
	c.add(time.Second)
	if a, b := <-results, <-results; a != "a" || b != "b" {
		t.Fatal(a, b)
	}
	submit("c", time.Hour)
	submit("d", time.Minute) // is sooner
	quietNow()
	c.add(time.Minute)
	<-results
	<-results
	submit("e", time.Hour)
	submit("f", 0)
	if a, b := <-results, <-results; a != "e" || b != "f" {
		t.Fatal(a, b)
	}
	must(t, j.Close())
}

// TestRetention checks that a job expires, leaves a tombstone and is then unknown, and that keys expire.
func TestRetention(t *testing.T) {
	c := &clock{now: time.Now()}
	fs := vfs.NewMem()
	cfg := journal.Config{FS: fs, TombstoneRetention: 2 * time.Hour, KeyRetention: 30 * time.Minute}
	j := openAt(t, c, cfg)
	key := job.Key{Tenant: "t", Value: "k"}
	reserve := func() int {
		t.Helper()
		prior, err := j.Reserve(t.Context(), key)
		must(t, err)
		return len(prior)
	}
	reserve()
	var items job.Items
	items.Add(0, []byte("0"), 0)
	ended, s := submission("t")
	b := entry(ended, s, job.Started{}, job.TaskProgress{Items: items}, job.Finished{State: job.Succeeded, At: c.Now()})
	b.Key = &key
	must(t, journaltest.Append(t.Context(), j, b))
	lives, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(lives, s)))
	deleted, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(deleted, s, job.Started{}, job.Finished{State: job.Succeeded, At: c.Now()})))
	must(t, j.Delete(t.Context(), "t", deleted))
	sweep := func(d time.Duration) {
		t.Helper()
		c.add(d)
		must(t, j.Sweep(t.Context()))
		must(t, j.Close())
		j = openAt(t, c, cfg)
	}
	get := func(id job.ID) error {
		_, err := j.Get(t.Context(), "t", id)
		return err
	}
	sweep(29 * time.Minute)
	must(t, get(ended))
	wantErr(t, get(deleted), job.ErrExpired)
	if reserve() != 1 {
		t.Fatal("the key is lost")
	}
	// An expired key can be used again before it is swept, and then has its own expiry.
	c.add(2 * time.Minute)
	if reserve() != 0 {
		t.Fatal("the key has not expired")
	}
	again, s := submission("t")
	b = entry(again, s)
	b.Key = &key
	must(t, journaltest.Append(t.Context(), j, b))
	sweep(10 * time.Minute)
	if reserve() != 1 {
		t.Fatal("the key that was used again is lost")
	}
	must(t, get(ended))
	sweep(20 * time.Minute) // 61 minutes
	wantErr(t, get(ended), job.ErrExpired)
	if log, err := j.Log(t.Context(), ended, 0, 10); err != nil || len(log) != 0 {
		t.Fatal(log, err)
	}
	if reserve() != 0 {
		t.Fatal("the key lives on")
	}
	j.Release(key)
	sweep(time.Hour) // 121 minutes
	wantErr(t, get(deleted), job.ErrNotFound)
	wantErr(t, get(ended), job.ErrExpired)
	sweep(2 * time.Hour)
	wantErr(t, get(ended), job.ErrNotFound)
	must(t, get(lives))

	// Only the unfinished jobs, the version and the number of the last write remain.
	n, err := j.Keys()
	must(t, err)
	if len(n) != 2 || n["a"] != 2 || n["m"] != 3 {
		t.Fatal(n)
	}
	must(t, j.Close())
}

// TestSweepMany sweeps more records than one write removes.
func TestSweepMany(t *testing.T) {
	c := &clock{now: time.Now()}
	j := openAt(t, c, journal.Config{FS: vfs.NewMem()})
	for range 3 {
		var b job.Batch
		for range 700 {
			id, s := submission("t")
			b.Entries = append(b.Entries, job.Entry{ID: id, Events: []job.Event{s, job.Started{}, job.Finished{State: job.Succeeded, At: c.Now()}}})
		}
		must(t, journaltest.Append(t.Context(), j, b))
		c.add(2 * time.Second)
	}
	c.add(2 * time.Hour)
	must(t, j.Sweep(t.Context()))
	n, err := j.Keys()
	must(t, err)
	if n["j"] != 0 || n["l"] != 0 || n["d"] != 2100 {
		t.Fatal(n)
	}
	must(t, j.Close())
}

// A replica keeps a key that has expired until no proposal can use it: the node may lag, and the other nodes decided with the
// key about what it has not applied.
func TestSweepKeepsKeysOfLog(t *testing.T) {
	c := &clock{now: time.Now()}
	applied := c.Now()
	j := openAt(t, c, journal.Config{
		FS: vfs.NewMem(), Replica: true, KeyRetention: time.Hour, Now: c.Now, KeyTime: func() time.Time { return applied },
	})
	defer func() { must(t, j.Close()) }()
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Expires: c.Now().Add(time.Hour)}
	id, s := submission("t")
	b := entry(id, s)
	b.Key = &key
	must(t, j.ApplyReplicated(t.Context(), b))
	must(t, j.Flush(t.Context()))
	used := func() int {
		t.Helper()
		must(t, j.Sweep(t.Context()))
		ids, _, err := j.KeyUsed(t.Context(), key, applied)
		must(t, err)
		return len(ids)
	}
	c.add(2 * time.Hour)
	if got := used(); got != 1 {
		t.Errorf("a key that expired after the time of the log is used by %d jobs, want 1", got)
	}
	applied = c.Now()
	if got := used(); got != 0 {
		t.Errorf("an expired key is used by %d jobs, want 0", got)
	}
	if keys, err := j.Keys(); err != nil || keys["i"] != 0 {
		t.Errorf("%d keys are stored (%v), want 0", keys["i"], err)
	}
}
