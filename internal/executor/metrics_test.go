package executor_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather/internal/executor"
	"gather/internal/job"
)

// A job that is cancelled before its start must not shrink the sum of durations, which is a counter.
func TestMetricsOfDelayedCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		reg := prometheus.NewPedanticRegistry()
		e := start(t, l, func(c *executor.Config) { c.Registerer = reg })
		id := submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) })
		if _, err := e.Cancel(t.Context(), "acme", id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		ended := uint64(0)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if h := m.GetHistogram(); h.GetSampleSum() < 0 {
					t.Errorf("%s: the sum is %v", f.GetName(), h.GetSampleSum())
				} else if f.GetName() == "gather_job_duration_seconds" {
					ended += h.GetSampleCount()
				}
			}
		}
		if ended != 1 {
			t.Errorf("%d jobs have ended", ended)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		reg := prometheus.NewPedanticRegistry()
		e := start(t, l, func(c *executor.Config) { c.Registerer, c.Workers = reg, 1 })
		submit(t, e, fakePlan{Tasks: 2})
		submit(t, e, fakePlan{Tasks: 1, Error: "out of luck"})
		time.Sleep(time.Second)
		submit(t, e, fakePlan{Tasks: 3, Park: time.Hour, Waiting: 3})
		synctest.Wait()
		submit(t, e, fakePlan{Tasks: 1, Block: true})
		synctest.Wait()
		submit(t, e, fakePlan{Tasks: 4})
		time.Sleep(10 * time.Second)
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
		err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP gather_queue_jobs Jobs that have not started (queue depth).
# TYPE gather_queue_jobs gauge
gather_queue_jobs{kind="toy",priority="high"} 0
gather_queue_jobs{kind="toy",priority="low"} 0
gather_queue_jobs{kind="toy",priority="normal"} 1
# HELP gather_queue_oldest_age_seconds Age of the oldest job that has not started; 0 when there is none.
# TYPE gather_queue_oldest_age_seconds gauge
gather_queue_oldest_age_seconds{kind="toy",priority="high"} 0
gather_queue_oldest_age_seconds{kind="toy",priority="low"} 0
gather_queue_oldest_age_seconds{kind="toy",priority="normal"} 10
# HELP gather_queue_tasks Tasks that could run now and wait for a worker.
# TYPE gather_queue_tasks gauge
gather_queue_tasks 4
# HELP gather_waiting_items Items that wait and hold no worker.
# TYPE gather_waiting_items gauge
gather_waiting_items 3
# HELP gather_admitted_waiting_items Items of admitted jobs that may wait at the same time, as planned.
# TYPE gather_admitted_waiting_items gauge
gather_admitted_waiting_items 3
# HELP gather_workers_busy Workers that run a task.
# TYPE gather_workers_busy gauge
gather_workers_busy 1
# HELP gather_worker_busy_seconds_total Time that workers have spent on tasks, including running ones.
# TYPE gather_worker_busy_seconds_total counter
gather_worker_busy_seconds_total 10
# HELP gather_jobs_finished_total Jobs that ended, by final state; counted when the end is durable.
# TYPE gather_jobs_finished_total counter
gather_jobs_finished_total{kind="toy",state="cancelled"} 0
gather_jobs_finished_total{kind="toy",state="failed"} 1
gather_jobs_finished_total{kind="toy",state="succeeded"} 1
# HELP gather_jobs_failed_total Jobs that failed, by reason; counted when the end is durable.
# TYPE gather_jobs_failed_total counter
gather_jobs_failed_total{kind="toy",reason="job-failed"} 1
gather_jobs_failed_total{kind="toy",reason="job-panicked"} 0
gather_jobs_failed_total{kind="toy",reason="job-timeout"} 0
gather_jobs_failed_total{kind="toy",reason="result-too-large"} 0
gather_jobs_failed_total{kind="toy",reason="source-changed"} 0
gather_jobs_failed_total{kind="toy",reason="source-corrupt"} 0
`), "gather_queue_jobs", "gather_queue_oldest_age_seconds", "gather_queue_tasks", "gather_waiting_items",
			"gather_admitted_waiting_items", "gather_workers_busy", "gather_worker_busy_seconds_total",
			"gather_jobs_finished_total", "gather_jobs_failed_total")
		if err != nil {
			t.Error(err)
		}
	})
}

// TestRecoveredJobsAreAdmitted tests that gather_admitted_jobs has the recovered jobs from the start on. It falls when the end of a job is
// appended, while the journal shows the job as unfinished until the end is on disk.
func TestRecoveredJobsAreAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		submit(t, e, fakePlan{Tasks: 10, Work: time.Hour})
		synctest.Wait()
		for range 4 {
			submit(t, e, fakePlan{Tasks: 1, Work: time.Hour})
		}
		none, cancel := context.WithCancel(t.Context())
		cancel()
		_ = e.Stop(none) // as after a kill, none has ended
		reg := prometheus.NewPedanticRegistry()
		start(t, l, func(c *executor.Config) { c.Registerer, c.Workers = reg, 1 })
		admitted := func() float64 {
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "gather_admitted_jobs" {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			t.Fatal("there is no gather_admitted_jobs")
			return 0
		}
		if got := admitted(); got != 5 {
			t.Errorf("got %g admitted jobs after the recovery, want 5", got)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := admitted(); got != 0 {
			t.Errorf("got %g admitted jobs when all have ended, want 0", got)
		}
	})
}
