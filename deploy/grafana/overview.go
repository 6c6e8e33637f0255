package grafana

// The histograms of a job's life.
var (
	jobWait  = histogram{name: "gather_job_wait_seconds"}
	jobRun   = histogram{name: "gather_job_run_seconds"}
	jobTotal = histogram{name: "gather_job_duration_seconds"}
)

// ended are the jobs of which it was the service's part to finish them: all but the cancelled.
const ended = `state!="cancelled"`

// Overview answers: is it healthy, is it keeping up, who is hurt.
func Overview() *Dashboard {
	return newDashboard("gather-overview", "gather overview",
		"Is gather healthy, and does it keep up? The first row says so; the rows below say why not.",
		row{title: "Overview", height: 4, panels: overviewStats()},
		row{title: "Queue", height: 10, panels: overviewQueue()},
		row{title: "Latency", height: 9, panels: overviewLatency()},
		row{title: "Saturation", height: 8, panels: overviewSaturation()},
		row{title: "Failures and rejections", height: 8, panels: overviewFailures()},
		row{title: "By kind", height: 8, panels: overviewKinds()},
	)
}

func overviewStats() []*builder {
	alerts := `count(ALERTS{alertname=~"Gather.*", alertstate="firing", job=~"$job"}) or vector(0)`
	return []*builder{
		stat("Alerts", "none",
			"Alerts of gather that fire. When not 0: open the alerts of Prometheus; each has a link to its runbook.",
			alerts, base("green"), above(1, "red")),
		stat("Servers ready", "none",
			"Servers that take submissions: their journal can write, they are not stopping, and a node of a cluster reaches NATS. "+
				"When fewer than you run: look at the log of the missing one, and at /readyz, which tells the reason.",
			`count(`+metric("gather_journal_ready")+` == 1 unless on (job, instance) `+metric("gather_draining")+` == 1`+
				` unless on (job, instance) `+metric("gather_cluster_connected")+` == 0) or vector(0)`,
			base("red"), above(1, "green")),
		stat("Queue depth", "short",
			"Jobs that wait for their first turn. Short peaks are what a queue is for. When it grows and grows: see Workers busy; "+
				"if they are, give more CPUs or submit less, if not, see the runbook of GatherStalled.",
			sum(metric("gather_queue_jobs")), traffic(1000, 50000)...),
		stat("Oldest job", "s",
			"Age of the job that has waited longest for its first turn. When it grows in step with the clock, nothing is "+
				"started: see the runbook of GatherStalled.",
			highest(metric("gather_queue_oldest_age_seconds")), traffic(30, 300)...),
		stat("Workers busy", "percentunit",
			"Share of the workers' time spent on tasks. Near 100 % for long, waits grow: give more CPUs. Near 0 % while jobs "+
				"are queued: see the runbook of GatherStalled. Sleeping jobs hold no worker.",
			ratio(sum(rate("gather_worker_busy_seconds_total")), sum(metric("gather_workers"))), traffic(.8, .95)...).percent(),
		stat("Wait p99", "s",
			"99 of 100 jobs had their first turn sooner than this after they were submitted. When it is above the objective "+
				"(2.5 s): see the row Latency for whom, and the runbook of GatherWaitBudgetBurn.",
			jobWait.quantile(.99), traffic(1, 2.5)...),
		stat("Failed jobs", "percentunit",
			"Failed jobs of those that ended, without the cancelled ones. When above 1 %: see Failures by reason and by kind "+
				"below, and the runbook of GatherSuccessBudgetBurn.",
			ratio(sum(rate("gather_jobs_finished_total", `state="failed"`)), sum(rate("gather_jobs_finished_total", ended))),
			traffic(.01, .05)...),
		stat("Rejections", "ops",
			"Jobs that were refused, with 503 or 429. When not 0: see Rejections by reason below for the bound that was reached, "+
				"and the runbook of GatherRejecting.",
			sum(rate("gather_jobs_rejected_total")), traffic(.001, 10)...),
	}
}

func overviewQueue() []*builder {
	return []*builder{
		series("Queue depth and capacity", "short",
			"Admitted jobs by what they are doing, below the number at which submissions are refused (--queue-jobs). The axis is "+
				"logarithmic. When admitted comes near capacity: the service is slower than its clients; see Saturation.",
			curve{sum(metric("gather_queue_jobs")), "queued"},
			curve{sum(metric("gather_running_jobs")), "running"},
			curve{sum(metric("gather_delayed_jobs")), "start later"},
			curve{sum(metric("gather_admitted_jobs")), "admitted"},
			curve{sum(metric("gather_queue_capacity_jobs")), "capacity"},
		).magnitudes().limit("capacity").paint("queued", "green"),
		series("Oldest job age", "s",
			"Age of the oldest job that waits for its first turn, by priority. When one priority alone grows: more important jobs "+
				"take the workers. When all grow in step with the clock: see the runbook of GatherStalled.",
			curve{highest(metric("gather_queue_oldest_age_seconds"), "priority"), "{{priority}}"}),
		series("Capacity used", "percentunit",
			"How much of each bound of admission is used. At 100 % submissions are refused with 503. When one comes near: see the "+
				"runbook of GatherNearCapacity for what each bound protects and how to raise it.",
			curve{ratio(sum(metric("gather_admitted_jobs")), sum(metric("gather_queue_capacity_jobs"))), "jobs"},
			curve{ratio(sum(metric("gather_admitted_bytes")), sum(metric("gather_admitted_capacity_bytes"))), "memory"},
			curve{ratio(sum(metric("gather_admitted_waiting_items")), sum(metric("gather_waiting_capacity_items"))), "waiting items"},
			curve{ratio(sum(metric("gather_http_streams_open")), sum(metric("gather_http_streams_limit"))), "streams"},
			curve{ratio(sum(metric("gather_journal_pending_bytes")), sum(metric("gather_journal_pending_limit_bytes"))), "journal"},
		).percent(),
	}
}

func overviewLatency() []*builder {
	return []*builder{
		series("Job wait", "s",
			"From submission, or the start that was asked for, to the first turn. When it grows: jobs queue up; see Saturation.",
			jobWait.quantiles()...).exemplars(),
		series("Job run", "s",
			"From the first turn to the end. When it grows while the jobs are the same: workers are shared by more jobs, or the "+
				"machine is slower; see By kind, and Go and process in gather internals.",
			jobRun.quantiles()...).exemplars(),
		series("End to end", "s",
			"From submission to the durable end: what a client waits for. When it grows, wait or run did; if neither, the disk did: "+
				"see Journal in gather internals.",
			jobTotal.quantiles()...).exemplars(),
		heatmap("Job wait heatmap", "s",
			"How many jobs waited how long. Two bands are two sorts of clients, for one the wait is long: see Oldest job age by "+
				"priority. A band that climbs is a queue that grows.",
			jobWait).wide().exemplars(),
		heatmap("End to end heatmap", "s",
			"How many jobs took how long, from submission to the durable end. A band that leaves its place says which sort of "+
				"job changed; compare with By kind.",
			jobTotal).wide().exemplars(),
	}
}

func overviewSaturation() []*builder {
	return []*builder{
		series("Submitted and finished", "ops",
			"Jobs accepted, and jobs ended by how. When submitted stays above the sum of the others the queue grows; when "+
				"finished falls to 0 with jobs admitted: see the runbook of GatherStalled.",
			curve{sum(rate("gather_jobs_submitted_total")), "submitted"},
			curve{sum(rate("gather_jobs_finished_total"), "state"), "{{state}}"},
		).paint("succeeded", "green").paint("failed", "red").paint("cancelled", "orange").paint("submitted", "blue"),
		series("Workers", "short",
			"Workers on tasks, on average, against the size of the pool, and the tasks ready to run. When busy is at the pool's "+
				"size and ready tasks grow, CPUs are what is missing. The axis is logarithmic.",
			curve{sum(rate("gather_worker_busy_seconds_total")), "busy"},
			curve{sum(metric("gather_queue_tasks")), "ready tasks"},
			curve{sum(metric("gather_workers")), "workers"},
		).magnitudes().limit("workers"),
		series("Waiting items", "short",
			"Items on a timer, which hold no worker, those that admission counts with, and their bound (--waiting-items). When "+
				"counted comes near the bound, sleep jobs are refused. The axis is logarithmic.",
			curve{sum(metric("gather_waiting_items")), "on a timer"},
			curve{sum(metric("gather_admitted_waiting_items")), "counted"},
			curve{sum(metric("gather_waiting_capacity_items")), "capacity"},
		).magnitudes().limit("capacity"),
	}
}

func overviewFailures() []*builder {
	return []*builder{
		series("Failures by reason", "ops",
			"Failed jobs. job-timeout: the job's own timeout was too short, or the workers too busy. job-failed: the work cannot be "+
				"done, its error says why. job-panicked: a bug; the log has the stack, please report it.",
			curve{sum(rate("gather_jobs_failed_total"), "reason"), "{{reason}}"}),
		series("Rejections by reason", "ops",
			"Refused jobs by the bound that was reached: jobs, bytes and waiting are the bounds of admission, quota a tenant's, "+
				"storage the disk, draining a server that stops. See the runbook of GatherRejecting.",
			curve{sum(rate("gather_jobs_rejected_total"), "reason"), "{{reason}}"}),
		series("HTTP errors", "reqps",
			"Answers by class that are not a success. 5xx without 503 is a bug: the log has the request_id. 503 and 429 are "+
				"backpressure. A rise of other 4xx is a client that does something wrong.",
			curve{sum(rate("gather_http_requests_total", `code=~"5..", code!="503"`)), "5xx"},
			curve{sum(rate("gather_http_requests_total", `code=~"503|429"`)), "503 and 429"},
			curve{sum(rate("gather_http_requests_total", `code=~"4..", code!="429"`)), "other 4xx"},
		).paint("5xx", "red").paint("503 and 429", "orange"),
	}
}

func overviewKinds() []*builder {
	return []*builder{
		series("Finished jobs by kind", "ops",
			"Jobs that ended, however, by kind. When a kind goes missing its clients have stopped, or its jobs do not end: see "+
				"Running jobs by kind.",
			curve{sum(rate("gather_jobs_finished_total"), "kind"), "{{kind}}"}),
		series("Failed jobs by kind", "percentunit",
			"Failed jobs of those that ended, without the cancelled ones. When one kind stands out: list its failed jobs with "+
				"GET /v1/jobs?state=failed&kind=... and read their errors.",
			curve{ratio(sum(rate("gather_jobs_finished_total", `state="failed"`), "kind"),
				sum(rate("gather_jobs_finished_total", ended), "kind")), "{{kind}}"}),
		series("Run p99 by kind", "s",
			"99 of 100 jobs of the kind ran shorter than this. When one kind grows: its jobs became larger, see Items, or it shares "+
				"the workers with more jobs.",
			curve{jobRun.quantile(.99, "kind"), "{{kind}}"}),
		series("Queued jobs by kind", "short",
			"Jobs that wait for their first turn. When one kind fills the queue, its clients can use priority low, and the others "+
				"pass.",
			curve{sum(metric("gather_queue_jobs"), "kind"), "{{kind}}"}).stacked(),
		series("Running jobs by kind", "short",
			"Jobs that had their first turn and have not ended. When it grows and grows for a kind other than sleep_batch, the "+
				"workers are too few for it.",
			curve{sum(metric("gather_running_jobs"), "kind"), "{{kind}}"}).stacked(),
		series("Items by kind", "ops",
			"Finished items: sleeps, numbers, chunks. This is the work that is done; when it falls while Workers busy stays, the "+
				"items became larger, or the machine slower.",
			curve{sum(rate("gather_items_finished_total"), "kind"), "{{kind}}"}),
	}
}
