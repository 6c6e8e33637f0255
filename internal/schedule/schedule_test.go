package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServers are servers that share a journal, with a clock that can be set.
type fakeServers struct {
	*journaltest.Volatile
	t *testing.T

	mu   sync.Mutex
	step time.Duration
	// run is how long a job runs; 0 for a job that ends at once.
	run time.Duration
	// fail is the error of submissions, failPut of the next update of a document.
	fail, failPut error
	// ticks counts the submissions that made a job.
	made int
}

func newServers(t *testing.T) *fakeServers {
	return &fakeServers{t: t, Volatile: new(journaltest.Volatile)}
}

func (f *fakeServers) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.step)
}

func (f *fakeServers) setClock(step time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step += step
}

func (f *fakeServers) PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	f.mu.Lock()
	err := f.failPut
	f.failPut = nil
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.Volatile.PutDocument(ctx, name, value, revision)
}

func (f *fakeServers) append(id job.ID, key *job.Key, events ...job.Event) error {
	var failed error
	err := f.Append(context.Background(), job.Batch{Entries: []job.Entry{{ID: id, Events: events}}, Key: key, Done: func(err error) { failed = err }})
	return errors.Join(err, failed)
}

func (f *fakeServers) Submit(_ context.Context, subs []job.Submission, key *job.Key, _ bool) ([]job.Job, error) {
	f.mu.Lock()
	fail, run := f.fail, f.run
	f.mu.Unlock()
	if fail != nil {
		f.Release(*key)
		return nil, fail
	}
	now := time.Now()
	s := subs[0]
	j := job.Job{ID: job.NewID(), Tenant: s.Tenant, Kind: s.Kind, Labels: s.Labels, Priority: s.Priority, State: job.Queued, CreatedAt: now, Retention: time.Hour}
	if err := f.append(j.ID, key, job.Submitted{Job: j, Spec: s.Spec}, job.Started{At: now}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.made++
	f.mu.Unlock()
	end := func() { _ = f.append(j.ID, nil, job.Finished{At: time.Now(), State: job.Succeeded}) }
	if run == 0 {
		end()
	} else {
		time.AfterFunc(run, end)
	}
	return []job.Job{j}, nil
}

func (f *fakeServers) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	now := time.Now()
	if err := f.append(id, nil, job.CancelRequested{At: now}, job.Finished{At: now, State: job.Cancelled}); err != nil {
		return job.Job{}, err
	}
	return f.Get(ctx, tenant, id)
}

// start starts a server.
func (f *fakeServers) start() *schedule.Scheduler { return f.startWith(f) }

func (f *fakeServers) startWith(e schedule.Executor) *schedule.Scheduler {
	f.t.Helper()
	s, err := schedule.Open(f.t.Context(), schedule.Config{
		Documents: f, Jobs: f, Executor: e, Wall: f.now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		KeyRetention: 24 * time.Hour,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func every(t *testing.T, d time.Duration) schedule.Definition {
	t.Helper()
	timing, err := schedule.NewInterval(d)
	if err != nil {
		t.Fatal(err)
	}
	return schedule.Definition{
		Timing: timing, Overlap: schedule.Skip, CatchUp: schedule.CatchUp{Runs: 1, Within: time.Hour},
		Template: schedule.Template{Kind: "squares", Priority: job.Normal, Labels: map[string]string{"team": "a"}, Spec: []byte(`{"numbers":[1]}`)},
	}
}

func (f *fakeServers) put(s *schedule.Scheduler, d schedule.Definition) {
	f.t.Helper()
	if _, _, err := s.Put(f.t.Context(), "acme", "nightly", d); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeServers) get(s *schedule.Scheduler) *schedule.Schedule {
	f.t.Helper()
	one, err := s.Get(f.t.Context(), "acme", "nightly")
	if err != nil {
		f.t.Fatal(err)
	}
	return one
}

// outcomes returns the outcomes of a schedule, oldest first, as "submitted 2, missed 1".
func (f *fakeServers) outcomes(s *schedule.Scheduler) string {
	f.t.Helper()
	var list []string
	last, n := schedule.Outcome(""), 0
	flush := func() {
		if n > 0 {
			list = append(list, fmt.Sprint(last, " ", n))
		}
	}
	for _, r := range slices.Backward(f.get(s).Runs) {
		if r.Outcome != last {
			flush()
			last, n = r.Outcome, 0
		}
		n++
	}
	flush()
	return strings.Join(list, ", ")
}

// check fails the test unless the outcomes are the wanted ones, and each submitted run has a job of its own, and no tick two.
func (f *fakeServers) check(s *schedule.Scheduler, want string, made int) {
	f.t.Helper()
	if got := f.outcomes(s); got != want {
		f.t.Errorf("got outcomes %q, want %q", got, want)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made != made {
		f.t.Errorf("got %d jobs, want %d", f.made, made)
	}
	jobs, ticks := make(map[job.ID]bool), make(map[time.Time]bool)
	one, err := s.Get(f.t.Context(), "acme", "nightly")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, r := range one.Runs {
		if ticks[r.Tick] || r.Outcome == schedule.Submitted && jobs[r.Job] {
			f.t.Errorf("got two runs for tick %s, or of job %s", r.Tick, r.Job)
		}
		ticks[r.Tick] = true
		if r.Outcome == schedule.Submitted {
			jobs[r.Job] = true
		}
	}
}

// pass lets time pass, until all is idle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestOnePerTick tests that two servers that both take themselves for the leader submit one job for each tick, also when an update of the
// state fails after the submission, and when servers restart.
func TestOnePerTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServers(t)
		a, b := f.start(), f.start()
		f.put(a, every(t, time.Minute))
		pass(3*time.Minute + time.Second)
		f.check(a, "submitted 3", 3)
		f.mu.Lock()
		f.failPut = job.ErrStorage
		f.mu.Unlock()
		pass(2 * time.Minute)
		f.check(b, "submitted 5", 5)
		a.Close()
		b.Close()
		c := f.start()
		pass(time.Minute)
		f.check(c, "submitted 6", 6)
		jobs, _, err := f.List(t.Context(), job.Query{Tenant: "acme", Labels: map[string]string{"schedule": "nightly", "team": "a"}, Limit: 10})
		if err != nil || len(jobs) != 6 {
			t.Errorf("got %d jobs with the schedule's label, %v, want 6", len(jobs), err)
		}
		c.Close()
	})
}

// TestClock tests that a clock that is set back repeats no tick, and one that is set forward is caught up as after an outage.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServers(t)
		s := f.start()
		f.put(s, every(t, time.Minute))
		pass(2*time.Minute + time.Second)
		f.check(s, "submitted 2", 2)
		f.setClock(-10 * time.Minute)
		pass(9 * time.Minute)
		f.check(s, "submitted 2", 2)
		pass(3 * time.Minute)
		f.check(s, "submitted 4", 4)
		f.setClock(30 * time.Minute)
		pass(2 * time.Second)
		// Ticks up to a minute late are on time; of the others the last one is caught up.
		f.check(s, "submitted 4, missed 1, submitted 2", 6)
		f.setClock(-30 * time.Minute)
		pass(29 * time.Minute)
		f.check(s, "submitted 4, missed 1, submitted 2", 6)
		s.Close()
	})
}

// TestCatchUp tests what is submitted after an outage.
func TestCatchUp(t *testing.T) {
	for name, c := range map[string]struct {
		catchUp schedule.CatchUp
		outage  time.Duration
		want    string
		made    int
	}{
		"short outage":          {schedule.CatchUp{}, 50 * time.Second, "submitted 1", 1},
		"none":                  {schedule.CatchUp{Runs: 0, Within: time.Hour}, 55 * time.Minute, "missed 1", 0},
		"one":                   {schedule.CatchUp{Runs: 1, Within: time.Hour}, 55 * time.Minute, "missed 1, submitted 1", 1},
		"three":                 {schedule.CatchUp{Runs: 3, Within: time.Hour}, 55 * time.Minute, "missed 1, submitted 3", 3},
		"all":                   {schedule.CatchUp{Runs: 100, Within: time.Hour}, 55 * time.Minute, "submitted 6", 6},
		"too old":               {schedule.CatchUp{Runs: 100, Within: 15 * time.Minute}, 55 * time.Minute, "missed 1, submitted 2", 2},
		"longer than keys live": {schedule.CatchUp{Runs: 100, Within: 48 * time.Hour}, 100 * 24 * time.Hour, "missed 1, submitted 100", 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newServers(t)
				s := f.start()
				d := every(t, 10*time.Minute)
				d.CatchUp = c.catchUp
				f.put(s, d)
				pass(9*time.Minute + 15*time.Second)
				s.Close()
				pass(c.outage)
				s = f.start()
				pass(2 * time.Second)
				if name == "longer than keys live" { // the history is full
					if f.made != c.made {
						t.Errorf("got %d jobs, want %d", f.made, c.made)
					}
				} else {
					f.check(s, c.want, c.made)
				}
				s.Close()
			})
		})
	}
}

// TestOverlap tests what happens while the job of the last run has not ended.
func TestOverlap(t *testing.T) {
	for overlap, c := range map[schedule.Overlap]struct {
		want            string
		made, cancelled int
	}{
		schedule.Skip:    {"submitted 1, skipped 2, submitted 1, skipped 1", 2, 0},
		schedule.Queue:   {"submitted 2", 2, 0},
		schedule.Replace: {"submitted 5", 5, 4},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newServers(t)
				f.run = 150 * time.Second
				s := f.start()
				d := every(t, time.Minute)
				d.Overlap = overlap
				f.put(s, d)
				pass(5*time.Minute + 50*time.Second)
				f.check(s, c.want, c.made)
				n, err := f.Count(t.Context(), "acme", nil)
				if err != nil || int(n[job.Cancelled]) != c.cancelled {
					t.Errorf("got %d cancelled jobs, %v, want %d", n[job.Cancelled], err, c.cancelled)
				}
				if one := f.get(s); overlap == schedule.Queue && len(one.Waiting) != 3 {
					t.Errorf("got %d waiting ticks, want 3", len(one.Waiting))
				}
				s.Close()
				pass(time.Hour) // the timers of the jobs
			})
		})
	}
}

// TestRejections tests that a full queue is tried again, and an invalid submission is not.
func TestRejections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServers(t)
		s := f.start()
		f.put(s, every(t, time.Minute))
		f.mu.Lock()
		f.fail = &job.Rejection{Err: job.ErrQueueFull, Reason: "jobs", RetryAfter: 5 * time.Second}
		f.mu.Unlock()
		pass(time.Minute + 20*time.Second)
		f.check(s, "", 0)
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		pass(10 * time.Second)
		f.check(s, "submitted 1", 1)
		f.mu.Lock()
		f.fail = fields.Invalidf("/array", "there is no such array")
		f.mu.Unlock()
		pass(time.Minute)
		f.check(s, "submitted 1, rejected 1", 1)
		if d := f.get(s).Runs[0].Detail; !strings.Contains(d, "/array: there is no such array") {
			t.Errorf("got the detail %q, want the error", d)
		}
		s.Close()
	})
}

// TestChanges tests pauses, runs by request, changes of the definition and deletion.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServers(t)
		s := f.start()
		d := every(t, time.Minute)
		f.put(s, d)
		pass(61 * time.Second)
		if one, err := s.SetPaused(t.Context(), "acme", "nightly", true); err != nil || !one.Paused {
			t.Errorf("pause: got %+v, %v", one, err)
		}
		pass(5 * time.Minute)
		f.check(s, "submitted 1", 1)
		for range 2 {
			if id, err := s.Run(t.Context(), "acme", "nightly", "mine"); err != nil || id == (job.ID{}) {
				t.Errorf("run: got %s, %v", id, err)
			}
		}
		if r := f.get(s).Runs[0]; !r.Manual || f.made != 2 {
			t.Errorf("got run %+v and %d jobs, want a manual run and 2 jobs", r, f.made)
		}
		if _, err := s.SetPaused(t.Context(), "acme", "nightly", false); err != nil {
			t.Error(err)
		}
		pass(time.Minute)
		f.check(s, "submitted 3", 3)
		before := f.get(s)
		f.put(s, d) // the same
		if after := f.get(s); after.Generation != before.Generation || !after.Cursor.Equal(before.Cursor) {
			t.Error("an equal definition begins anew")
		}
		d.Template.Spec = []byte(`{"numbers":[2]}`)
		f.put(s, d)
		pass(61 * time.Second)
		f.check(s, "submitted 4", 4)
		if after := f.get(s); after.Generation == before.Generation || !after.CreatedAt.Equal(before.CreatedAt) {
			t.Error("a changed definition keeps its generation, or loses its creation")
		}
		if err := s.Delete(t.Context(), "acme", "nightly"); err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), "acme", "nightly"); !errors.Is(err, schedule.ErrNotFound) {
			t.Errorf("a second deletion: got %v, want %v", err, schedule.ErrNotFound)
		}
		pass(5 * time.Minute)
		if f.made != 4 || len(s.List("acme")) != 0 {
			t.Errorf("after the deletion: got %d jobs, %d schedules, want 4, 0", f.made, len(s.List("acme")))
		}
		s.Close()
	})
}
