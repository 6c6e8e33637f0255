package cluster_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// skewed sets the clock of a node's machine ahead.
func skewed(ahead time.Duration) func(*cluster.Config) {
	return func(c *cluster.Config) {
		c.Wall = func() time.Time { return time.Now().Round(0).Add(ahead) }
	}
}

// A node whose machine's clock is wrong uses the log's clock, and reports the skew.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a", skewed(40*time.Second)), f.open("b", skewed(-time.Hour))
	for n, want := range map[*node]float64{a: 40, b: -3600} {
		if got := n.metric("clock_skew_seconds"); math.Abs(got-want) > 5 {
			t.Errorf("the clock is ahead by %vs, want about %vs", got, want)
		}
		if d := time.Since(n.Now()).Abs(); d > 5*time.Second {
			t.Errorf("the node's time is %s from the log's", d)
		}
	}
	f.eventually("each node shows how far the clocks of both are ahead", func() bool {
		nodes, err := a.Nodes(t.Context())
		f.ok(err)
		return len(nodes) == 2 && nodes[0].ClockSkew > 35*time.Second && nodes[1].ClockSkew < -3500*time.Second
	})
}

// Timeouts and delays start when the log accepted the event that begins them, whatever the clock of its author showed.
func TestAuthorsClock(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a", skewed(2*time.Hour)), f.open("b")
	past := time.Now().UTC().Add(-time.Hour)
	slow := func(j *job.Job) { j.CreatedAt, j.Timeout = past, 30*time.Minute }
	runs := b.submit(2, slow)
	f.ok(b.events(runs, job.Started{At: past}))
	waits := b.submit(2, func(j *job.Job) {
		j.CreatedAt, j.Delay = past, 35*time.Minute
		j.StartAfter = past.Add(j.Delay)
	})
	// By the clock of node a's machine this instant has passed.
	instant := b.submit(2, func(j *job.Job) { j.StartAfter = time.Now().Add(time.Hour) })
	f.catchUp(a)
	a.ReapDeadNodes()
	if got := a.get(runs); got.State != job.Running || a.Ending(runs) {
		t.Errorf("the job is %v, ending: %t; want it running", got.State, a.Ending(runs))
	}
	for what, id := range map[string]job.ID{"with a delay": waits, "with an instant": instant} {
		if _, _, due := a.Position(id); due {
			t.Errorf("the job %s is due", what)
		}
	}
	lease := a.lease()
	defer lease.End()
	if d := time.Since(lease.Started); lease.Job.ID != runs || d > 20*time.Minute || d < 0 {
		t.Errorf("the lease of job %s, started %s ago; want one of job %s that has just started", lease.Job.ID, d, runs)
	}
}

// After a restart running times and delays continue by the log's clock.
func TestElapsedAfterRestart(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a := f.open("a")
	ago := a.Now().Add(-time.Hour)
	late := a.submit(2, func(j *job.Job) { j.CreatedAt, j.Timeout = ago, time.Minute })
	f.ok(a.events(late, job.Started{At: ago}))
	waits := a.submit(2, func(j *job.Job) {
		j.CreatedAt, j.Delay = ago, 2*time.Hour
		j.StartAfter = ago.Add(j.Delay)
	})
	over := a.submit(2, func(j *job.Job) {
		j.CreatedAt, j.Delay = ago, 30*time.Minute
		j.StartAfter = ago.Add(j.Delay)
	})
	f.catchUp(a)
	a.close()
	a = f.open("a", skewed(-2*time.Hour))
	if _, _, due := a.Position(waits); due {
		t.Error("the delayed job is due")
	}
	if _, _, due := a.Position(over); !due {
		t.Error("the job whose delay is over is not due")
	}
	a.ReapDeadNodes()
	f.eventually("the late job is ending", func() bool { return a.Ending(late) || a.get(late).State == job.Failed })
}

// A write of several messages is complete although the log's clock steps between two of them. The write of an author that
// has ended is dropped after some minutes.
func TestPartsAcrossClockSteps(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, step := range []time.Duration{-24 * time.Hour, 10 * time.Minute, 24 * time.Hour} {
		var p cluster.Parts
		p.Add("a", true, false, 1, start, "one ")
		p.Add("a", false, false, 2, start.Add(step), "two ")
		p.Add("b", true, false, 3, start, "")
		if got, _ := p.Add("a", false, true, 4, start.Add(step), "three"); got != "one two three" {
			t.Errorf("step of %s: the write is %q, want %q", step, got, "one two three")
		}
	}
	var p cluster.Parts
	p.Add("dead", true, false, 7, start, "one")
	for i := range 7 {
		at := start.Add(time.Duration(i+1) * time.Minute)
		want := uint64(6)
		if i >= 5 {
			want = uint64(10 + i)
		}
		if _, from := p.Add("b", false, false, uint64(10+i), at, ""); from != want {
			t.Errorf("after %d minutes the log is needed behind %d, want %d", i+1, from, want)
		}
	}
}

// The estimate of the log's clock uses readings that are exact enough, follows that clock when it is set or drifts, and
// does not jitter within the uncertainty of a reading.
func TestLogClock(t *testing.T) {
	t.Parallel()
	const ahead = time.Hour // of the server's clock
	for _, tt := range []struct {
		name string
		// took is how long the second reading takes, off what its timestamp is from the middle of it.
		took, off time.Duration
		want      time.Duration // the change of the clock
	}{
		{"the same", 200 * time.Millisecond, 0, 0},
		{"within the reading, later", 200 * time.Millisecond, 90 * time.Millisecond, 0},
		{"within the reading, earlier", 200 * time.Millisecond, -90 * time.Millisecond, 0},
		{"set forward", 200 * time.Millisecond, 40 * time.Second, 40 * time.Second},
		{"set back", 200 * time.Millisecond, -40 * time.Second, -40 * time.Second},
		{"drifted", 200 * time.Millisecond, 150 * time.Millisecond, 150 * time.Millisecond},
		{"a slow answer", 2 * time.Second, 40 * time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // time is the subject
				l := cluster.NewLogClock(time.Now)
				if got := l.Now(); !got.Equal(time.Now()) {
					t.Errorf("without a reading: got %s, want the machine's time %s", got, time.Now())
				}
				read := func(took, off time.Duration) {
					sent := time.Now()
					time.Sleep(took)
					l.Read(sent, time.Now(), sent.Add(took/2+ahead+off).Round(0))
				}
				read(3*time.Second, 0) // the first is used however long it took
				check := func(when string, off time.Duration) {
					t.Helper()
					// The timestamp is taken for the middle of the reading, so the estimate lags by half a reading.
					if got := time.Until(l.Now()); (got - ahead - off).Abs() > tt.took {
						t.Errorf("%s: the clock is ahead by %s, want about %s", when, got, ahead+off)
					}
					if got, want := l.Skew(), time.Since(l.Now()); got != want {
						t.Errorf("%s: the machine's clock is ahead by %s, want %s", when, got, want)
					}
				}
				check("after the first reading", 0)
				before := l.Now()
				time.Sleep(time.Minute)
				if got := l.Now().Sub(before); got != time.Minute {
					t.Errorf("%s passed in a minute", got)
				}
				offset := time.Until(l.Now())
				read(tt.took, tt.off)
				if got := time.Until(l.Now()) - offset; got != tt.want {
					t.Errorf("the clock was moved by %s, want %s", got, tt.want)
				}
				check("after the second reading", tt.want)
			})
		})
	}
}

// ago returns now for a time in the future, and the zero time for the zero time.
func TestAgo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := cluster.NewLogClock(time.Now)
		l.Read(time.Now(), time.Now(), time.Now().Add(time.Hour))
		for _, tt := range []struct {
			name string
			at   time.Time
			want time.Time
		}{
			{"a minute ago", l.Now().Add(-time.Minute), time.Now().Add(-time.Minute)},
			{"now", l.Now(), time.Now()},
			{"in a minute", l.Now().Add(time.Minute), time.Now()},
			{"never", time.Time{}, time.Time{}},
		} {
			if got := l.Ago(tt.at); !got.Equal(tt.want) {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
		}
	})
}
