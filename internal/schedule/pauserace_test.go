package schedule_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/job"
	"gather/internal/schedule"
)

// pausing pauses the schedule, or changes it in another way, right after the job of the first tick has been submitted.
type pausing struct {
	*fakeServers
	pause func()
}

func (p *pausing) Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error) {
	jobs, err := p.fakeServers.Submit(ctx, subs, key, wait)
	if f := p.pause; f != nil {
		p.pause = nil
		f()
	}
	return jobs, err
}

// A schedule that is paused between the submission of a tick's job and its record has the outcome of the tick.
func TestPauseAfterSubmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServers(t)
		p := &pausing{fakeServers: f}
		s := f.startWith(p)
		defer s.Close()
		p.pause = func() {
			if _, err := s.SetPaused(context.Background(), "acme", "nightly", true); err != nil {
				t.Error(err)
			}
		}
		f.put(s, every(t, time.Minute))
		pass(90 * time.Second)
		one := f.get(s)
		if f.made != 1 || len(one.Runs) != 1 || one.Runs[0].Outcome != schedule.Submitted {
			t.Errorf("paused: %d jobs, runs %+v; want one of each", f.made, one.Runs)
		}
		if _, err := s.SetPaused(context.Background(), "acme", "nightly", false); err != nil {
			t.Fatal(err)
		}
		pass(60 * time.Second)
		if one = f.get(s); f.made != len(one.Runs) || f.made < 2 {
			t.Errorf("resumed: %d jobs, runs %+v; want two of each at least", f.made, one.Runs)
		}
	})
}

// A schedule that is run by a client between the submission of a tick's job and its record has the outcome of the tick, whatever its
// overlap, although the job of the client has not ended.
func TestRunAfterSubmission(t *testing.T) {
	for _, overlap := range []schedule.Overlap{schedule.Skip, schedule.Queue, schedule.Replace} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newServers(t)
				p := &pausing{fakeServers: f}
				s := f.startWith(p)
				defer s.Close()
				f.run = 10 * time.Second
				var manual job.ID
				p.pause = func() {
					var err error
					if manual, err = s.Run(context.Background(), "acme", "nightly", "k"); err != nil {
						t.Error(err)
					}
				}
				d := every(t, time.Minute)
				d.Overlap = overlap
				f.put(s, d)
				pass(90 * time.Second)
				runs := f.get(s).Runs
				outcomes := make(map[bool]schedule.Outcome)
				for _, r := range runs {
					outcomes[r.Manual] = r.Outcome
				}
				if f.made != 2 || len(runs) != 2 || outcomes[true] != schedule.Submitted || outcomes[false] != schedule.Submitted {
					t.Errorf("got %d jobs, runs %+v; want the job of the tick and that of the client", f.made, runs)
				}
				if j, err := f.Get(t.Context(), "acme", manual); err != nil || j.State != job.Succeeded {
					t.Errorf("the job of the client is %s (%v), want succeeded", j.State, err)
				}
			})
		})
	}
}
