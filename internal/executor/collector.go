package executor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector computes metrics at scrape time, all jobs under one lock, so that the values of one scrape are consistent.
type collector struct {
	e     *Executor
	kinds []string

	queueJobs, queueOldest, running                  *prometheus.Desc
	queueCapacity, admitted, queueTasks              *prometheus.Desc
	delayed, dependent, paused                       *prometheus.Desc
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
		queueJobs:       desc("gather_queue_jobs", "Jobs that have not started (queue depth).", "kind", "priority"),
		queueOldest:     desc("gather_queue_oldest_age_seconds", "Age of the oldest job that has not started; 0 when there is none.", "kind", "priority"),
		running:         desc("gather_running_jobs", "Jobs that have started and not ended.", "kind", "priority"),
		queueCapacity:   desc("gather_queue_capacity_jobs", "Limit of admitted jobs: queued, delayed, waiting for others and running."),
		admitted:        desc("gather_admitted_jobs", "Admitted jobs: queued, delayed, waiting for others and running."),
		queueTasks:      desc("gather_queue_tasks", "Tasks that could run now and wait for a worker."),
		delayed:         desc("gather_delayed_jobs", "Jobs whose start_after is in the future."),
		dependent:       desc("gather_dependent_jobs", "Jobs that have not started because they wait for other jobs to succeed."),
		paused:          desc("gather_paused_jobs", "Jobs that have not started because a pause holds them."),
		waiting:         desc("gather_waiting_items", "Items that wait and hold no worker."),
		admittedWaiting: desc("gather_admitted_waiting_items", "Items of admitted jobs that may wait at the same time, as planned."),
		waitingCapacity: desc("gather_waiting_capacity_items", "Limit of items of admitted jobs that may wait at the same time."),
		bytes:           desc("gather_admitted_bytes", "Memory of the plans of admitted jobs, as planned."),
		bytesCapacity:   desc("gather_admitted_capacity_bytes", "Limit of the memory of plans of admitted jobs."),
		workers:         desc("gather_workers", "Workers of the pool."),
		workersBusy:     desc("gather_workers_busy", "Workers that run a task."),
		workerSeconds:   desc("gather_worker_busy_seconds_total", "Time that workers have spent on tasks, including running ones."),
		drainStatus:     desc("gather_draining", "1 while the server admits no jobs because it is stopping."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := c.e
	t := e.source.countJobs(c.kinds, e.wall())
	busy, busySeconds := e.load(time.Now())
	capacities := [...]float64{float64(e.cfg.MaxJobs), float64(e.cfg.MaxWaiting), float64(e.cfg.MaxBytes)}
	if t.follower {
		capacities = [len(capacities)]float64{} // so that the sum over the nodes is right
	}

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for k, f := range t.stats {
		gauge(c.queueJobs, float64(f.queued), k.kind, k.priority.String())
		gauge(c.queueOldest, max(0, f.oldest.Seconds()), k.kind, k.priority.String())
		gauge(c.running, float64(f.running), k.kind, k.priority.String())
	}
	gauge(c.queueCapacity, capacities[0])
	gauge(c.admitted, float64(t.admitted))
	gauge(c.queueTasks, float64(t.tasks))
	gauge(c.delayed, float64(t.delayed))
	gauge(c.dependent, float64(t.dependent))
	gauge(c.paused, float64(t.paused))
	gauge(c.waiting, float64(e.waitingItems()))
	gauge(c.admittedWaiting, float64(t.reserved))
	gauge(c.waitingCapacity, capacities[1])
	gauge(c.bytes, float64(t.bytes))
	gauge(c.bytesCapacity, capacities[2])
	gauge(c.workers, float64(len(e.workers)))
	gauge(c.workersBusy, float64(busy))
	ch <- prometheus.MustNewConstMetric(c.workerSeconds, prometheus.CounterValue, busySeconds)
	drain := 0.0
	if e.isDraining() {
		drain = 1
	}
	gauge(c.drainStatus, drain)
}
