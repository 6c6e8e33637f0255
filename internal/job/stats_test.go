package job_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/job"
)

// TestMeter: the counts of a tenant follow the durable changes of its jobs.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m job.Meter
		start := time.Now()
		check := func(what string, want job.Stats) {
			t.Helper()
			want.Since = start
			if got := m.Stats("a", time.Now()); got != want {
				t.Errorf("%s: got %+v, want %+v", what, got, want)
			}
		}
		check("nothing", job.Stats{})

		restored := job.Job{ID: job.NewID(), Tenant: "a", State: job.Running, CreatedAt: start.Add(-time.Hour), StartedAt: start.Add(-time.Minute)}
		m.Restore(&restored)
		queued := job.Job{ID: job.NewID(), Tenant: "a", State: job.Queued, CreatedAt: start}
		delayed := job.Job{ID: job.NewID(), Tenant: "a", State: job.Queued, CreatedAt: start, StartAfter: start.Add(time.Minute)}
		other := job.Job{ID: job.NewID(), Tenant: "b", State: job.Queued, CreatedAt: start}
		for _, j := range []*job.Job{&queued, &delayed, &other} {
			m.Observe(nil, j)
		}
		check("submitted", job.Stats{Queued: 1, Delayed: 1, Running: 1, Accepted: 2})

		time.Sleep(2 * time.Second)
		running := queued
		running.State, running.StartedAt = job.Running, time.Now()
		m.Observe(&queued, &running)
		wait := job.Latency{Count: 1, P50: 2 * time.Second, P95: 2 * time.Second}
		check("started", job.Stats{Delayed: 1, Running: 2, Accepted: 2, Wait: wait})

		cancelling := running
		cancelling.State = job.Cancelling
		m.Observe(&running, &cancelling)
		time.Sleep(time.Second)
		ended := cancelling
		ended.State, ended.FinishedAt = job.Cancelled, time.Now()
		m.Observe(&cancelling, &ended)
		duration := job.Latency{Count: 1, P50: 3 * time.Second, P95: 3 * time.Second}
		check("cancelled", job.Stats{Delayed: 1, Running: 1, Accepted: 2, Cancelled: 1, Wait: wait, Duration: duration})

		time.Sleep(time.Minute)
		succeeded := delayed // started and ended in one write
		succeeded.State, succeeded.StartedAt, succeeded.FinishedAt = job.Succeeded, start.Add(time.Minute), start.Add(time.Minute)
		m.Observe(&delayed, &succeeded)
		failed := restored
		failed.State, failed.FinishedAt = job.Failed, start.Add(-time.Hour+time.Second)
		m.Observe(&restored, &failed)
		check("ended", job.Stats{
			Accepted: 2, Succeeded: 1, Failed: 1, Cancelled: 1,
			Wait:     job.Latency{Count: 2, P50: 0, P95: 0},
			Duration: job.Latency{Count: 3, P50: time.Second, P95: time.Second},
		})

		time.Sleep(4*time.Minute + 30*time.Second) // the first samples leave the window
		check("later", job.Stats{
			Accepted: 2, Succeeded: 1, Failed: 1, Cancelled: 1,
			Wait: job.Latency{Count: 1}, Duration: job.Latency{Count: 2, P50: 0, P95: 0},
		})
		m.Restore(&queued)
		m.Reset()
		check("reset", job.Stats{
			Accepted: 2, Succeeded: 1, Failed: 1, Cancelled: 1,
			Wait: job.Latency{Count: 1}, Duration: job.Latency{Count: 2, P50: 0, P95: 0},
		})
	})
}

// TestMeterSamples: the quantiles are of the last 1024 durations.
func TestMeterSamples(t *testing.T) {
	var m job.Meter
	for i := range 3000 {
		at := time.Unix(1e9, 0)
		m.Observe(nil, &job.Job{ID: job.NewID(), Tenant: "a", State: job.Succeeded, CreatedAt: at, StartedAt: at, FinishedAt: at.Add(time.Duration(i) * time.Second)})
	}
	got := m.Stats("a", time.Now()).Duration
	if want := (job.Latency{Count: 1024, P50: 2487 * time.Second, P95: 2947 * time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
