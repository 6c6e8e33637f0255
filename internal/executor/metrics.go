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

// jobBuckets has edges where people look, from a millisecond to an hour, in seconds.
var jobBuckets = []float64{
	.001, .0025, .005, .01, .025, .05, .1, .25, .5, .75, 1, 1.5, 2.5, 3.5, 5, 7.5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600,
}

// taskBuckets are for single steps of tasks, which are milliseconds by design, in seconds.
var taskBuckets = []float64{.00001, .0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

func histogram(f promauto.Factory, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// metrics are what the executor measures as things happen; what it measures at scrape time is in collector.
type metrics struct {
	submittedTotal *prometheus.CounterVec
	rejectedTotal  *prometheus.CounterVec
	finishedTotal  *prometheus.CounterVec
	resumedTotal   *prometheus.CounterVec
	wait           *prometheus.HistogramVec
	run            *prometheus.HistogramVec
	total          *prometheus.HistogramVec
	tasksTotal     *prometheus.CounterVec
	taskSeconds    *prometheus.HistogramVec
	itemsTotal     *prometheus.CounterVec
	bytesTotal     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, e *Executor, kinds []string) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		submittedTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_submitted_total", Help: "Jobs accepted and durable.",
		}, []string{"kind", "priority"}),
		rejectedTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_rejected_total", Help: "Jobs rejected at admission, by the bound that was reached.",
		}, []string{"reason"}),
		finishedTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_finished_total", Help: "Jobs that ended, by final state; counted when the end is durable.",
		}, []string{"kind", "state"}),
		resumedTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_jobs_resumed_total", Help: "Running jobs taken up again after a restart.",
		}, []string{"kind"}),
		wait: histogram(f, "gather_job_wait_seconds",
			"Time from submission (or the asked start, if later) to the first turn of a job.", jobBuckets, "kind", "priority"),
		run: histogram(f, "gather_job_run_seconds",
			"Time from the first turn of a job to its end.", jobBuckets, "kind", "priority"),
		total: histogram(f, "gather_job_duration_seconds",
			"Time from submission (or the asked start, if later) to the durable end of a job.", jobBuckets, "kind", "priority"),
		tasksTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_tasks_finished_total", Help: "Finished tasks.",
		}, []string{"kind"}),
		taskSeconds: histogram(f, "gather_task_step_duration_seconds",
			"Time a worker was held by one step of a task.", taskBuckets, "kind"),
		itemsTotal: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_items_finished_total", Help: "Finished items; chunks for array_sum.",
		}, []string{"kind"}),
		bytesTotal: f.NewCounter(prometheus.CounterOpts{
			Name: "gather_array_summed_bytes_total", Help: "Bytes of array data summed.",
		}),
	}
	for _, k := range kinds {
		for _, p := range job.Priorities() {
			m.submittedTotal.WithLabelValues(k, p.String())
			m.wait.WithLabelValues(k, p.String())
			m.run.WithLabelValues(k, p.String())
			m.total.WithLabelValues(k, p.String())
		}
		for _, s := range job.States() {
			if s.Terminal() {
				m.finishedTotal.WithLabelValues(k, s.String())
			}
		}
		m.resumedTotal.WithLabelValues(k)
		m.tasksTotal.WithLabelValues(k)
		m.taskSeconds.WithLabelValues(k)
		m.itemsTotal.WithLabelValues(k)
	}
	for _, reason := range []string{reasonDraining, reasonJobs, reasonBytes, reasonWaiting, reasonQuota, reasonStorage} {
		m.rejectedTotal.WithLabelValues(reason)
	}
	reg.MustRegister(newCollector(e, kinds))
	return m
}

// due is when a job could have had its first turn at the earliest.
func due(j *job.Job) time.Time {
	if j.StartAfter.After(j.CreatedAt) {
		return j.StartAfter
	}
	return j.CreatedAt
}

func (m *metrics) submitted(r *run) {
	m.submittedTotal.WithLabelValues(r.job.Kind, r.job.Priority.String()).Inc()
}

func (m *metrics) rejected(reason string, jobs int) {
	m.rejectedTotal.WithLabelValues(reason).Add(float64(jobs))
}

func (m *metrics) resumed(r *run) { m.resumedTotal.WithLabelValues(r.job.Kind).Inc() }

func (m *metrics) started(r *run, now time.Time) {
	m.wait.WithLabelValues(r.job.Kind, r.job.Priority.String()).Observe(now.Sub(due(&r.job)).Seconds())
}

func (m *metrics) stepped(r *run, s *job.Step, elapsed time.Duration) {
	kind := r.job.Kind
	m.taskSeconds.WithLabelValues(kind).Observe(elapsed.Seconds())
	if s.Wake.IsZero() {
		m.tasksTotal.WithLabelValues(kind).Inc()
	}
	m.itemsTotal.WithLabelValues(kind).Add(float64(s.Completed + s.Failed))
	m.bytesTotal.Add(float64(s.Bytes))
}

// finished is called when the end of the job is durable.
func (m *metrics) finished(r *run, how job.Finished) {
	kind, priority := r.job.Kind, r.job.Priority.String()
	m.finishedTotal.WithLabelValues(kind, how.State.String()).Inc()
	m.total.WithLabelValues(kind, priority).Observe(time.Since(due(&r.job)).Seconds())
	if !r.startedAt.IsZero() {
		m.run.WithLabelValues(kind, priority).Observe(how.At.Sub(r.startedAt).Seconds())
	}
}
