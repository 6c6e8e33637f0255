package journal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// twoClocks are a monotonic clock and a wall clock that can be set. Time passes on both.
type twoClocks struct {
	clock
	ahead time.Duration
}

func (c *twoClocks) wall() time.Time { return c.Now().Add(c.ahead) }

func (c *twoClocks) open(t *testing.T, cfg journal.Config) *journal.Journal {
	t.Helper()
	cfg.Dir, cfg.Logger, cfg.SweepInterval = "j", quiet, time.Hour
	j, err := journal.OpenWithHooks(t.Context(), cfg, journal.Hooks{Now: c.Now, After: c.After, Wall: c.wall})
	must(t, err)
	return j
}

// Records keep their retention when the wall clock is set back or forward, in one run or between two runs; except that a wall
// clock that is set forward while the server is down counts as a longer downtime.
func TestRetentionAcrossClockSteps(t *testing.T) {
	const retention = time.Hour
	for name, c := range map[string]struct {
		before, during, after, down time.Duration
		// early is how much earlier the job may expire.
		early time.Duration
	}{
		"no step":          {},
		"ahead before":     {before: 10 * time.Hour},
		"back before":      {before: -10 * time.Hour},
		"back at the end":  {during: -10 * time.Hour},
		"ahead after":      {after: 10 * time.Hour},
		"back after":       {after: -10 * time.Hour},
		"back and forth":   {before: -3 * time.Hour, after: 3 * time.Hour},
		"back while down":  {down: -10 * time.Hour},
		"ahead while down": {down: 30 * time.Minute, early: 30 * time.Minute},
	} {
		for _, restart := range []bool{false, true} {
			if !restart && c.down != 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				clocks := &twoClocks{clock: clock{now: time.Now().Round(0)}}
				cfg := journal.Config{FS: vfs.NewMem(), KeyRetention: retention}
				j := clocks.open(t, cfg)
				clocks.add(time.Minute)
				clocks.ahead += c.before
				id, s := submission("t")
				s.Job.Retention = retention
				b := entry(id, s, job.Started{At: clocks.wall()}, job.Finished{State: job.Succeeded, At: clocks.wall()})
				key := job.Key{Tenant: "t", Value: "k"}
				_, err := j.Reserve(t.Context(), key)
				must(t, err)
				b.Key = &key
				clocks.ahead += c.during
				must(t, journaltest.Append(t.Context(), j, b))
				clocks.ahead += c.after
				must(t, j.Sweep(t.Context()))
				clocks.add(time.Minute)
				other, s := submission("t")
				must(t, journaltest.Append(t.Context(), j, entry(other, s)))
				if restart {
					must(t, j.Close())
					clocks.ahead += c.down
					j = clocks.open(t, cfg)
				}
				check := func(left time.Duration, want error) {
					t.Helper()
					must(t, j.Sweep(t.Context()))
					if _, err := j.Get(t.Context(), "t", id); !errors.Is(err, want) {
						t.Errorf("%s before its expiry Get returns %v, want %v", left, err, want)
					}
					prior, err := j.Reserve(t.Context(), key)
					must(t, err)
					if len(prior) == 0 {
						j.Release(key)
					}
					if got := len(prior) == 0; got != (want != nil) {
						t.Errorf("%s before its expiry the key is free: %t, want %t", left, got, want != nil)
					}
				}
				clocks.add(retention - time.Minute - c.early - 2*time.Second)
				check(2*time.Second, nil)
				clocks.add(4 * time.Second)
				check(-2*time.Second, job.ErrExpired)
				must(t, j.Close())
			})
		}
	}
}

// Elapsed does not depend on changes of the wall clock, in this run or a later one.
func TestElapsed(t *testing.T) {
	for name, steps := range map[string][]time.Duration{
		"no step": {0, 0}, "ahead": {time.Hour, 0}, "back": {-time.Hour, 0}, "both": {-time.Hour, 2 * time.Hour}, "back twice": {-time.Hour, -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			clocks := &twoClocks{clock: clock{now: time.Now().Round(0)}}
			cfg := journal.Config{FS: vfs.NewMem()}
			j := clocks.open(t, cfg)
			var passed time.Duration
			pass := func(d time.Duration) {
				clocks.add(d)
				passed += d
				_, s := submission("t")
				must(t, journaltest.Append(t.Context(), j, entry(s.Job.ID, s)))
			}
			pass(time.Minute)
			started := clocks.wall()
			passed = 0
			for _, step := range steps {
				pass(90 * time.Second)
				clocks.ahead += step
				pass(90 * time.Second)
				if got := j.Elapsed(started); got != passed {
					t.Errorf("elapsed %s, want %s", got, passed)
				}
				must(t, j.Close())
				clocks.add(20 * time.Second)
				passed += 20 * time.Second
				j = clocks.open(t, cfg)
				if got := j.Elapsed(started); got != passed {
					t.Errorf("elapsed %s after a restart, want %s", got, passed)
				}
			}
			// The wall clock goes back between two runs: no time has passed since the last write.
			must(t, j.Close())
			clocks.add(time.Minute)
			clocks.ahead -= 24 * time.Hour
			j = clocks.open(t, cfg)
			if got := j.Elapsed(started); got > passed || got < passed-time.Minute {
				t.Errorf("elapsed %s after the clock went back while the server was down, want at most %s", got, passed)
			}
			if got := j.Elapsed(clocks.wall().Add(48 * time.Hour)); got != 0 {
				t.Errorf("a future instant was %s ago", got)
			}
			must(t, j.Close())
		})
	}
}

// TestExportAcrossClockSteps checks that exported expiries are times of the wall clock as it is set now.
func TestExportAcrossClockSteps(t *testing.T) {
	const retention = time.Hour
	for name, step := range map[string]time.Duration{"no step": 0, "ahead": 10 * time.Hour, "back": -10 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			clocks := &twoClocks{clock: clock{now: time.Now().Round(0)}}
			j := clocks.open(t, journal.Config{FS: vfs.NewMem(), KeyRetention: retention, TombstoneRetention: retention})
			id, s := submission("t")
			b := entry(id, s, job.Started{At: clocks.wall()}, job.Finished{State: job.Succeeded, At: clocks.wall()})
			b.Key = &job.Key{Tenant: "t", Value: "k"}
			_, err := j.Reserve(t.Context(), *b.Key)
			must(t, err)
			must(t, journaltest.Append(t.Context(), j, b))
			must(t, j.Delete(t.Context(), "t", id))
			clocks.ahead += step
			x := exportOf(t, j)
			must(t, j.Close())
			want := clocks.wall().Add(retention)
			for _, got := range []time.Time{x.keys[0].Expires, x.tombstones[0].Expires} {
				if got.Sub(want).Abs() > time.Second {
					t.Errorf("got an expiry at %s, want %s", got, want)
				}
			}
		})
	}
}

// A journal whose stored clock is damaged does not open.
func TestDamagedClock(t *testing.T) {
	disk := vfs.NewCrashableMem()
	c := &twoClocks{}
	j := c.open(t, journal.Config{FS: disk})
	must(t, j.Close())
	j = c.open(t, journal.Config{FS: disk})
	must(t, j.DamageClock())
	must(t, j.Close())
	_, err := journal.Open(t.Context(), journal.Config{Dir: "j", FS: disk, Logger: quiet})
	wantErr(t, err, job.ErrCorrupt)
}
