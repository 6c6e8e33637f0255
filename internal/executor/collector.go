package executor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

// collector measures the state of the executor at scrape time, all of it under one lock, so that the figures of one
// scrape agree with each other.
type collector struct {
	e     *Executor
	kinds []string

	queueJobs, queueOldest, running                  *prometheus.Desc
	queueCapacity, admitted, queueTasks, delayed     *prometheus.Desc
	waiting, admittedWaiting, waitingCapacity        *prometheus.Desc
	bytes, bytesCapacity                             *prometheus.Desc
	workers, workersBusy, workerSeconds, drainStatus *prometheus.Desc
}

func newCollector(e *Executor, kinds []string) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &collector{
		e: e, kinds: kinds,
		queueJobs:       desc("gather_queue_jobs", "Jobs that wait for their first turn (queue depth).", "kind", "priority"),
		queueOldest:     desc("gather_queue_oldest_age_seconds", "Age of the oldest job that waits for its first turn; 0 when none does.", "kind", "priority"),
		running:         desc("gather_running_jobs", "Jobs that had their first turn and have not ended.", "kind", "priority"),
		queueCapacity:   desc("gather_queue_capacity_jobs", "How many jobs may be admitted at the same time: queued, delayed and running."),
		admitted:        desc("gather_admitted_jobs", "Jobs that are admitted: queued, delayed and running."),
		queueTasks:      desc("gather_queue_tasks", "Tasks that could run now and wait for a worker."),
		delayed:         desc("gather_delayed_jobs", "Jobs whose start_after has not come."),
		waiting:         desc("gather_waiting_items", "Items that wait on a timer and hold no worker."),
		admittedWaiting: desc("gather_admitted_waiting_items", "Items of admitted jobs that may wait at the same time, as planned."),
		waitingCapacity: desc("gather_waiting_capacity_items", "How many items of admitted jobs may wait at the same time."),
		bytes:           desc("gather_admitted_bytes", "Memory held by the plans of admitted jobs, as planned."),
		bytesCapacity:   desc("gather_admitted_capacity_bytes", "How much memory the plans of admitted jobs may hold."),
		workers:         desc("gather_workers", "Workers of the pool."),
		workersBusy:     desc("gather_workers_busy", "Workers that run a task."),
		workerSeconds:   desc("gather_worker_busy_seconds_total", "Time that workers have spent on tasks, those under way included."),
		drainStatus:     desc("gather_draining", "1 while the server admits no jobs because it is stopping."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

type queueKey struct {
	kind     string
	priority job.Priority
}

type queueFigures struct {
	queued, running int
	oldest          time.Duration
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := c.e
	now := time.Now()
	figures := make(map[queueKey]*queueFigures)
	for _, k := range c.kinds {
		for _, p := range job.Priorities() {
			figures[queueKey{k, p}] = &queueFigures{}
		}
	}
	var tasks, delayed int
	var started []*run

	e.mu.Lock()
	for _, r := range e.runs {
		f := figures[queueKey{r.job.Kind, r.job.Priority}]
		switch {
		case f == nil:
		case r.fresh:
			f.queued++
			f.oldest = max(f.oldest, now.Sub(due(&r.job)))
			tasks += max(1, r.size.Tasks-r.nextTask)
		case r.nextTask == 0 && r.job.StartAfter.After(now):
			delayed++
		default:
			f.running++
			tasks += max(0, r.size.Tasks-r.nextTask)
			if r.size.Waiting > 0 {
				started = append(started, r)
			}
		}
	}
	admitted, bytes, reserved, draining := len(e.runs), e.bytes, e.waiting, e.draining
	for p := range e.queue.classes {
		tasks += e.queue.classes[p].woken.n
	}
	e.mu.Unlock()

	var waiting int64
	for _, r := range started {
		r.mu.Lock()
		if len(r.parked) > 0 {
			waiting += max(0, min(r.size.Waiting, r.size.Units-r.completed))
		}
		r.mu.Unlock()
	}
	var busy int
	var busySeconds float64
	for _, w := range e.workers {
		ns := w.busy.Load()
		if since := w.since.Load(); since != 0 {
			busy++
			ns += max(0, now.UnixNano()-since)
		}
		busySeconds += float64(ns) / 1e9
	}

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for k, f := range figures {
		gauge(c.queueJobs, float64(f.queued), k.kind, k.priority.String())
		gauge(c.queueOldest, max(0, f.oldest.Seconds()), k.kind, k.priority.String())
		gauge(c.running, float64(f.running), k.kind, k.priority.String())
	}
	gauge(c.queueCapacity, float64(e.cfg.MaxJobs))
	gauge(c.admitted, float64(admitted))
	gauge(c.queueTasks, float64(tasks))
	gauge(c.delayed, float64(delayed))
	gauge(c.waiting, float64(waiting))
	gauge(c.admittedWaiting, float64(reserved))
	gauge(c.waitingCapacity, float64(e.cfg.MaxWaiting))
	gauge(c.bytes, float64(bytes))
	gauge(c.bytesCapacity, float64(e.cfg.MaxBytes))
	gauge(c.workers, float64(len(e.workers)))
	gauge(c.workersBusy, float64(busy))
	ch <- prometheus.MustNewConstMetric(c.workerSeconds, prometheus.CounterValue, busySeconds)
	drain := 0.0
	if draining {
		drain = 1
	}
	gauge(c.drainStatus, drain)
}
