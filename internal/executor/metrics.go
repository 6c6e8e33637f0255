package executor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"gather/internal/job"
)

// The reasons of a rejection, a closed set.
const (
	reasonDraining = "draining"
	reasonJobs     = "jobs"
	reasonBytes    = "bytes"
	reasonWaiting  = "waiting"
	reasonQuota    = "quota"
	reasonStorage  = "storage"
)

// jobBuckets are for jobs, from a millisecond to an hour, in seconds; objectives of latency use its round edges.
var jobBuckets = []float64{
	.001, .0025, .005, .01, .025, .05, .1, .25, .5, .75, 1, 1.5, 2.5, 3.5, 5, 7.5, 10, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600,
}

// taskBuckets are for steps of tasks, which take milliseconds by design, in seconds.
var taskBuckets = []float64{.00001, .0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

func histogram(f promauto.Factory, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// metrics are updated as jobs and tasks change state; collector has the metrics that are computed at scrape time.
type metrics struct {
	rejectedTotal *prometheus.CounterVec
	bytesTotal    prometheus.Counter
	series        map[queueKey]*series
}

// series are the metrics of one kind and priority, looked up once per job.
type series struct {
	submitted, resumed, tasks, retries, items prometheus.Counter
	wait, run, total, step                    prometheus.Observer
	finished                                  map[job.State]prometheus.Counter
	failed                                    map[job.FailureReason]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, e *Executor, kinds []string) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		series: make(map[queueKey]*series),
		rejectedTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_rejected_total", Help: "Jobs rejected at admission, by the bound that was reached.",
		}, []string{"reason"}),
		bytesTotal: f.NewCounter(prometheus.CounterOpts{
			Name: "gather_array_summed_bytes_total", Help: "Bytes of array data summed.",
		}),
	}
	var (
		submitted = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_submitted_total", Help: "Jobs accepted and durable.",
		}, []string{"kind", "priority"})
		finished = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_finished_total", Help: "Jobs that ended, by final state; counted when the end is durable.",
		}, []string{"kind", "state"})
		failed = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_failed_total", Help: "Jobs that failed, by reason; counted when the end is durable.",
		}, []string{"kind", "reason"})
		resumed = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_resumed_total", Help: "Running jobs resumed after a restart.",
		}, []string{"kind"})
		wait = histogram(f, "gather_job_wait_seconds",
			"Time from submission (or the requested start, if later) to the start of a job.", jobBuckets, "kind", "priority")
		run = histogram(f, "gather_job_run_seconds",
			"Time from the start of a job to its end.", jobBuckets, "kind", "priority")
		total = histogram(f, "gather_job_duration_seconds",
			"Time from submission (or the requested start, if later) to the durable end of a job.", jobBuckets, "kind", "priority")
		tasks = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_tasks_finished_total", Help: "Finished tasks.",
		}, []string{"kind"})
		retries = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_task_retries_total", Help: "Attempts of tasks that failed because of a source and are repeated.",
		}, []string{"kind"})
		step = histogram(f, "gather_task_step_duration_seconds",
			"Time a worker was held by one step of a task.", taskBuckets, "kind")
		items = f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_items_finished_total", Help: "Finished items; chunks for array_sum.",
		}, []string{"kind"})
	)
	for _, k := range kinds {
		for _, p := range job.Priorities() {
			one := &series{
				submitted: submitted.WithLabelValues(k, p.String()),
				resumed:   resumed.WithLabelValues(k),
				tasks:     tasks.WithLabelValues(k),
				retries:   retries.WithLabelValues(k),
				items:     items.WithLabelValues(k),
				wait:      wait.WithLabelValues(k, p.String()),
				run:       run.WithLabelValues(k, p.String()),
				total:     total.WithLabelValues(k, p.String()),
				step:      step.WithLabelValues(k),
				finished:  make(map[job.State]prometheus.Counter),
				failed:    make(map[job.FailureReason]prometheus.Counter),
			}
			for _, reason := range job.FailureReasons() {
				if reason == job.FailedDependency { // of cancelled jobs
					continue
				}
				one.failed[reason] = failed.WithLabelValues(k, reason.String())
			}
			for _, s := range job.States() {
				if s.Terminal() {
					one.finished[s] = finished.WithLabelValues(k, s.String())
				}
			}
			m.series[queueKey{k, p}] = one
		}
	}
	for _, reason := range []string{reasonDraining, reasonJobs, reasonBytes, reasonWaiting, reasonQuota, reasonStorage} {
		m.rejectedTotal.WithLabelValues(reason)
	}
	reg.MustRegister(newCollector(e, kinds))
	return m
}

// of returns the metrics of a job's kind and priority; nil for a kind that is unknown to this version, which a job
// from the journal may have.
func (m *metrics) of(j *job.Job) *series { return m.series[queueKey{j.Kind, j.Priority}] }

func (m *metrics) rejected(reason string, jobs int) {
	m.rejectedTotal.WithLabelValues(reason).Add(float64(jobs))
}

func (m *metrics) stepped(p *plannedJob, s *job.Step, err error, elapsed time.Duration) {
	if p.series == nil {
		return
	}
	p.series.step.Observe(elapsed.Seconds())
	if err == nil && !s.Waits() && p.size.Tasks > 0 {
		p.series.tasks.Inc()
	}
	if s.Retry != nil {
		p.series.retries.Inc()
	}
	if n := s.Completed + s.Failed; n > 0 {
		p.series.items.Add(float64(n))
	}
	if s.Bytes > 0 {
		m.bytesTotal.Add(float64(s.Bytes))
	}
}

func (s *series) accepted() {
	if s != nil {
		s.submitted.Inc()
	}
}

func (s *series) resume() {
	if s != nil {
		s.resumed.Inc()
	}
}

func (s *series) started(p *plannedJob, now time.Time) {
	if s != nil {
		observe(s.wait, max(0, now.Sub(p.job.Due()).Seconds()), p.traced.exemplar)
	}
}

// ended is called when the end of the job is durable.
func (s *series) ended(p *plannedJob, how *job.Finished) {
	if s == nil {
		return
	}
	s.finished[how.State].Inc()
	if how.State == job.Failed {
		s.failed[how.Failure.Reason].Inc()
	}
	// A job that is cancelled before its start has come has taken no time.
	observe(s.total, max(0, p.e.wall().Sub(p.job.Due()).Seconds()), p.traced.exemplar)
	if !p.startedAt.IsZero() {
		observe(s.run, max(0, how.At.Sub(p.startedAt).Seconds()), p.traced.exemplar)
	}
	if how.Completed > 0 {
		s.items.Add(float64(how.Completed))
	}
}
