package cluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
	"gather/internal/schedule"
)

// submitter submits jobs to a node, as its executor does. They are not short, so that any node runs them.
type submitter struct{ *node }

func (s submitter) Submit(ctx context.Context, subs []job.Submission, key *job.Key, _ bool) ([]job.Job, error) {
	j := job.Job{
		ID: job.NewID(), Tenant: subs[0].Tenant, Kind: subs[0].Kind, Labels: subs[0].Labels, Priority: subs[0].Priority, State: job.Queued,
		CreatedAt: s.Now(), Tasks: 2, Progress: job.Progress{Total: 5000}, Retention: time.Hour,
	}
	done := make(chan error, 1)
	err := s.Append(ctx, job.Batch{
		Entries: []job.Entry{{ID: j.ID, Events: []job.Event{job.Submitted{Job: j, Spec: subs[0].Spec}}}}, Key: key, Done: func(err error) { done <- err },
	})
	if err == nil {
		err = <-done
	}
	return []job.Job{j}, err
}

func (s submitter) schedules() *schedule.Scheduler {
	s.f.Helper()
	set, err := schedule.Open(s.f.Context(), schedule.Config{
		Documents: s.Cluster, Jobs: s.Cluster, Executor: s, Wall: s.Now, KeyRetention: time.Hour, Logger: logger(), Registerer: prometheus.NewRegistry(),
	})
	s.f.ok(err)
	return set
}

// TestSchedule tests that nodes that all take themselves for the leader submit one job for each tick, also after the death of one.
func TestSchedule(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	first, second := submitter{a}.schedules(), submitter{b}.schedules()
	defer second.Close()
	timing, err := schedule.NewInterval(time.Second)
	f.ok(err)
	_, _, err = first.Put(t.Context(), "acme", "s", schedule.Definition{
		Timing: timing, Overlap: schedule.Queue, CatchUp: schedule.CatchUp{Runs: 100, Within: time.Hour},
		Template: schedule.Template{Kind: "toy", Priority: job.Normal, Spec: []byte("{}")},
	})
	f.ok(err)
	b.work(2, nil)
	runs := func() []schedule.Run {
		one, err := second.Get(t.Context(), "acme", "s")
		f.ok(err)
		return one.Runs
	}
	f.eventually("five runs", func() bool { return len(runs()) >= 5 })
	first.Close()
	a.die()
	before := len(runs())
	f.eventually("five runs more", func() bool { return len(runs()) >= before+5 })
	second.Close()
	jobs, ticks := make(map[job.ID]bool), make(map[time.Time]bool)
	list := runs()
	for i, r := range list {
		if r.Outcome != schedule.Submitted || ticks[r.Tick] || jobs[r.Job] {
			t.Errorf("got run %+v, want one submitted run for each tick, with a job of its own", r)
		}
		ticks[r.Tick], jobs[r.Job] = true, true
		if i > 0 && list[i-1].Tick.Sub(r.Tick) != time.Second {
			t.Errorf("got ticks %s and %s in succession, want a second between them", r.Tick, list[i-1].Tick)
		}
	}
	f.catchUp(b)
	all, _, err := b.List(t.Context(), job.Query{Tenant: "acme", Limit: 1000})
	f.ok(err)
	if len(all) != len(list) {
		t.Errorf("got %d jobs for %d runs, want one for each", len(all), len(list))
	}
}
