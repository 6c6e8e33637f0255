package grafana

// The histograms of a job's life.
var (
	jobWait  = histogram{name: "gather_job_wait_seconds"}
	jobRun   = histogram{name: "gather_job_run_seconds"}
	jobTotal = histogram{name: "gather_job_duration_seconds"}
)

// ended are the jobs of which it was the service's part to finish them: all but the cancelled.
const ended = `state!="cancelled"`

// admission are the bounds at which requests are refused, each with the metric of its use.
var admission = []struct{ name, value, bound string }{
	{"jobs", "gather_admitted_jobs", "gather_queue_capacity_jobs"},
	{"memory", "gather_admitted_bytes", "gather_admitted_capacity_bytes"},
	{"waiting items", "gather_admitted_waiting_items", "gather_waiting_capacity_items"},
	{"streams", "gather_http_streams_open", "gather_http_streams_limit"},
	{"journal", "gather_journal_pending_bytes", "gather_journal_pending_limit_bytes"},
}

// objective selects the jobs that the objective of waiting and its alerts count.
const objective = `priority!="low"`

// Overview answers: is it healthy, is it keeping up, who is hurt.
func Overview() *Dashboard {
	return newDashboard("gather-overview", "gather overview",
		"Is gather healthy, and does it keep up? The tiles answer that; the rows below show why not.",
		row{title: "Overview", height: 4, panels: append(overviewHealth(), overviewService()...)},
		row{title: "Alerts and servers", height: 6, panels: overviewTables()},
		row{title: "Queue", height: 9, panels: overviewQueue()},
		row{title: "Latency", height: 9, panels: overviewLatency()},
		row{title: "Objectives", height: 8, panels: overviewObjectives()},
		row{title: "Saturation", height: 8, panels: overviewSaturation()},
		row{title: "Failures and rejections", height: 8, panels: overviewFailures()},
		row{title: "By kind", height: 8, panels: overviewKinds()},
	)
}

// overviewHealth are the tiles about the servers and their backlog.
func overviewHealth() []*builder {
	unfinished := sum(metric("gather_admitted_jobs"))
	return []*builder{
		stat("Alerts", "none",
			"Firing alerts of gather. When it is not 0: the table below lists them, each with a link to its runbook.",
			`count(ALERTS{alertname=~"Gather.*", alertstate="firing", job=~"$job"}) or vector(0)`, base("green"), above(1, "red")),
		stat("Servers ready", "percentunit",
			"Servers that accept submissions, of those that Prometheus scrapes: their journal can write, they are not stopping, and a "+
				"node of a cluster is connected to NATS. Below 100 %: see Servers for which one, its log, and its /readyz for the reason.",
			`(count(`+metric("gather_journal_ready")+` == 1 unless on (job, instance) `+metric("gather_draining")+` == 1`+
				` unless on (job, instance) `+metric("gather_cluster_connected")+` == 0) or 0 * count(`+metric("up")+`)) / count(`+metric("up")+`)`,
			base("red"), above(1, "green")),
		stat("Unfinished jobs", "short",
			"Jobs that were accepted and have not ended: queued, running, and those that start later. When it grows and grows, the "+
				"service is slower than its clients: see Time to drain and Busiest server.",
			unfinished, base("blue")),
		stat("Time to drain", "s",
			"How long the unfinished jobs will take at the rate at which jobs end now; 0 while no task waits for a worker. When it grows: "+
				"give more CPUs, or submit less; see Saturation.",
			"("+unfinished+" - "+sum(metric("gather_delayed_jobs"))+")\n/\nclamp_min("+sum(rate("gather_jobs_finished_total"))+
				", 1e-3)\n* (sum("+metric("gather_queue_tasks")+") > bool 0)",
			traffic(300, 3600)...),
		stat("Queue depth", "short",
			"Jobs that wait for their first task to start. Short peaks are normal. When it grows and grows: see Busiest "+
				"server; if workers are idle, see the runbook of GatherStalled.",
			sum(metric("gather_queue_jobs")), traffic(1000, 50000)...),
		stat("Oldest job", "s",
			"Age of the job of priority normal or high that has waited longest for its first task to start. When it grows in step with the "+
				"clock, no job is started: see the runbook of GatherStalled.",
			highest(metric("gather_queue_oldest_age_seconds", objective)), traffic(30, 300)...),
	}
}

// overviewService are the tiles about what clients get.
func overviewService() []*builder {
	// Without a label of their own, "or" would take only the first.
	spent := func(objective string) string {
		return `label_replace(` + recorded("job:"+objective+":ratio_30d") + `, "objective", "` + objective + `", "", "")`
	}
	return []*builder{
		stat("Wait p99", "s",
			"99 of 100 jobs of priority normal and high started sooner than this after their submission. When it is above the objective "+
				"(2.5 s): see Latency, and the runbook of GatherWaitBudgetBurn.",
			jobWait.with(objective).quantile(.99), traffic(1, 2.5)...),
		stat("Success ratio", "percentunit",
			"Jobs that succeeded, of those that ended and were not cancelled. Below the objective of 99 %: see Failures by reason "+
				"and Kinds, and the runbook of GatherSuccessBudgetBurn.",
			"1 - "+ratio(sum(rate("gather_jobs_finished_total", `state="failed"`)), sum(rate("gather_jobs_finished_total", ended))),
			base("red"), above(.95, "orange"), above(.99, "green")),
		stat("Error budget left", "percentunit",
			"How much of the failures and long waits that the objectives allow in 30 days is left, of the objective that has less. "+
				"Below 0 an objective is missed: see Burn rate, and stop risky changes.",
			"1 - max("+spent("gather_jobs_failed")+" or "+spent("gather_job_wait_slow")+") / 0.01",
			base("red"), above(0, "orange"), above(.25, "green")),
		stat("Rejections", "ops",
			"Refused jobs and requests per second, with 503 or 429. When it is not 0: see Rejections by reason for the bound that "+
				"was reached, and the runbook of GatherRejecting.",
			sum(rate("gather_jobs_rejected_total"))+" + "+sum(rate("gather_http_requests_rejected_total")), traffic(.001, 10)...),
		stat("Busiest server", "percentunit",
			"Share of the workers' time spent on tasks, on the server that is busiest. Near 100 % for long, waits grow: give more CPUs, or "+
				"spread the submissions; see Workers busy. Sleeping jobs occupy no worker.",
			highest(busyShare("job", "instance")), traffic(.8, .95)...),
		stat("Capacity used", "percentunit",
			"The bound of admission that is nearest to its limit, on the server where it is. At 100 % that server refuses submissions "+
				"with 503: see Capacity of the fullest server, and the runbook of GatherNearCapacity.",
			highest(metric("instance:gather_capacity:ratio")), traffic(.6, .8)...),
	}
}

// busyShare is the share of the workers' time that is spent on tasks.
func busyShare(by ...string) string {
	return ratio(sum(rate("gather_worker_busy_seconds_total"), by...), sum(metric("gather_workers"), by...))
}

func overviewTables() []*builder {
	row := func(expr string) string { return sum(expr, "instance") }
	const firing = `ALERTS{alertname=~"Gather.*", alertstate="firing", job=~"$job"}`
	return []*builder{
		table("Firing alerts",
			"Alerts of gather that fire now. The name of an alert links to its runbook, below the address in the variable Runbooks; "+
				"Prometheus serves them when it is started with --web.user-assets.",
			[]string{"alertname", "severity", "instance", "bound", "reason"},
			column{"", "none", "max by (alertname, severity, instance, bound, reason) (" + firing + ")"},
			column{"firing for", "s", `time() - max by (alertname, severity, instance, bound, reason) (ALERTS_FOR_STATE{alertname=~"Gather.*", job=~"$job"})` +
				" and on (alertname, severity, instance, bound, reason) " + firing},
		).link("alertname", "Runbook", "${runbooks}/${__value.text}.md").message("No alert fires."),
		table("Servers",
			"The servers that Prometheus scrapes. A server whose up is 0 cannot be scraped: see the runbook of GatherDown. When versions "+
				"differ outside of an upgrade, a server was forgotten.",
			[]string{"instance", "version"},
			column{"up", "none", highest(metric("up"), "instance")},
			column{"", "none", highest(metric("gather_build_info"), "instance", "version")},
			column{"ready", "none", highest(metric("gather_journal_ready"), "instance")},
			column{"uptime", "s", "time() - " + highest(metric("process_start_time_seconds"), "instance")},
			column{"busy", "percentunit", busyShare("instance")},
			column{"queued", "short", row(metric("gather_queue_jobs"))},
			column{"unfinished", "short", row(metric("gather_admitted_jobs"))},
			column{"memory", "bytes", row(metric("process_resident_memory_bytes"))},
			column{"capacity used", "percentunit", highest(metric("instance:gather_capacity:ratio"), "instance")},
		),
		table("Kinds",
			"The kinds of jobs over the chosen time: how many ended and how, how many end per second now, and how long they took from "+
				"submission to end. When a kind stands out: list its failed jobs with GET /v1/jobs?state=failed&kind=...",
			[]string{"kind"},
			column{"succeeded", "short", over("gather_jobs_finished_total", `state="succeeded"`)},
			column{"failed", "short", over("gather_jobs_finished_total", `state="failed"`)},
			column{"cancelled", "short", over("gather_jobs_finished_total", `state="cancelled"`)},
			column{"finished per second", "ops", sum(rate("gather_jobs_finished_total"), "kind")},
			column{"p50", "s", jobTotal.quantile(.5, "kind")},
			column{"p95", "s", jobTotal.quantile(.95, "kind")},
		),
	}
}

// over is the increase of a counter by kind over the time that the dashboard shows.
func over(name string, more ...string) string {
	return sum("increase("+metric(name, more...)+"[$__range])", "kind")
}

func overviewQueue() []*builder {
	var fullest, average []curve
	for _, b := range admission {
		fullest = append(fullest, curve{highest(used(b.value, b.bound)), b.name})
		average = append(average, curve{mean(used(b.value, b.bound)), b.name})
	}
	return []*builder{
		series("Queue depth and capacity", "short",
			"Admitted jobs by state, below the number at which submissions are refused (--queue-jobs). The axis is logarithmic. When "+
				"admitted comes near capacity: the service is slower than its clients; see Saturation.",
			curve{sum(metric("gather_queue_jobs")), "queued"},
			curve{sum(metric("gather_running_jobs")), "running"},
			curve{sum(metric("gather_delayed_jobs")), "start later"},
			curve{sum(metric("gather_admitted_jobs")), "admitted"},
			curve{sum(metric("gather_queue_capacity_jobs")), "capacity"},
		).magnitudes().limit("capacity").paint("queued", "green").narrow(),
		series("Oldest job age", "s",
			"Age of the oldest job that waits for its first task to start, by priority; the line is the threshold of GatherOldestTooOld, "+
				"which leaves low out. When one priority alone grows, more important jobs take the workers.",
			curve{highest(metric("gather_queue_oldest_age_seconds"), "priority"), "{{priority}}"}).mark(300).upTo(1).narrow(),
		series("Capacity of the fullest server", "percentunit",
			"How much of each bound of admission is used on the server where it is used most. At 100 % that server refuses submissions "+
				"with 503. When one comes near: see the runbook of GatherNearCapacity for how to raise it.",
			fullest...).percent().narrow(),
		series("Capacity, mean of servers", "percentunit",
			"How much of each bound is used on average. When it is far below the fullest server, clients do not spread their "+
				"submissions: put a load balancer in front.",
			average...).percent().narrow(),
	}
}

func overviewLatency() []*builder {
	return []*builder{
		series("Job wait", "s",
			"From submission, or the requested start, to the start of the first task; the line is the objective, 2.5 s for priority normal "+
				"and high. When it grows: jobs queue up; see Saturation. Choose priorities above.",
			jobWait.quantiles()...).exemplars().mark(2.5),
		series("Job run", "s",
			"From the first task's start to the end. When it grows while the jobs are the same: workers are shared by more jobs, or the "+
				"machine is slower; see By kind, and Go and process in gather internals.",
			jobRun.quantiles()...).exemplars(),
		series("End to end", "s",
			"From submission to the durable end: the latency that clients see. When it grows, wait or run did; if neither, the disk did: "+
				"see Journal in gather internals.",
			jobTotal.quantiles()...).exemplars(),
		heatmap("Job wait heatmap", "s",
			"How many jobs waited how long. Two bands are two sorts of clients, for one the wait is long: see Oldest job age by "+
				"priority. A band that climbs is a queue that grows.",
			jobWait).wide().exemplars(),
		heatmap("End to end heatmap", "s",
			"How many jobs took how long, from submission to the durable end. A band that leaves its place shows which sort of "+
				"job changed; compare with By kind.",
			jobTotal).wide().exemplars(),
	}
}

// recorded selects a recorded series, which is of all servers of a job.
func recorded(name string) string { return name + `{job=~"$job"}` }

func overviewObjectives() []*builder {
	burn := func(name, legend string) curve {
		return curve{highest(recorded(name)) + " / 0.01", legend}
	}
	left := func(name, legend string) curve { return curve{"min(1 - " + recorded(name) + " / 0.01)", legend} }
	return []*builder{
		series("Burn rate, 1 hour", "none",
			"How many times faster than allowed failures and long waits use up the error budget of 30 days. Above the lines, with the last "+
				"5 minutes too, GatherSuccessBudgetBurn and GatherWaitBudgetBurn page: see their runbooks.",
			burn("job:gather_jobs_failed:ratio_rate1h", "failures"), burn("job:gather_job_wait_slow:ratio_rate1h", "long waits")).mark(6, 14.4).upTo(1),
		series("Burn rate, 6 hours", "none",
			"The same over 6 hours: what goes on for long. Above the lower line the budget lasts 5 days: see the runbooks of "+
				"GatherSuccessBudgetBurn and GatherWaitBudgetBurn.",
			burn("job:gather_jobs_failed:ratio_rate6h", "failures"), burn("job:gather_job_wait_slow:ratio_rate6h", "long waits")).mark(6, 14.4).upTo(1),
		series("Error budget", "percentunit",
			"The rest of the failures and long waits that the objectives allow in 30 days (1 % of the jobs each). When it falls "+
				"steadily: see Burn rate. It needs 30 days of data to be exact.",
			left("job:gather_jobs_failed:ratio_30d", "failures"), left("job:gather_job_wait_slow:ratio_30d", "long waits")).upTo(1),
	}
}

func overviewSaturation() []*builder {
	return []*builder{
		series("Submitted and finished", "ops",
			"Jobs accepted, and jobs ended by state. When submitted stays above the sum of the others the queue grows; when "+
				"finished falls to 0 with jobs admitted: see the runbook of GatherStalled.",
			curve{sum(rate("gather_jobs_submitted_total")), "submitted"},
			curve{sum(rate("gather_jobs_finished_total"), "state"), "{{state}}"},
		).paint("succeeded", "green").paint("failed", "red").paint("cancelled", "orange").paint("submitted", "blue").narrow(),
		series("Workers busy", "percentunit",
			"Share of the workers' time spent on tasks, on the busiest server and on average. When the busiest stays at 100 % and the mean "+
				"does not, clients do not spread their submissions.",
			curve{highest(busyShare("job", "instance")), "busiest"},
			curve{mean(busyShare("job", "instance")), "mean"},
		).percent().narrow(),
		series("Workers", "short",
			"Workers on tasks, on average, against the size of the pool, and the tasks ready to run. When busy is at the pool's "+
				"size and ready tasks grow, add CPUs. The axis is logarithmic.",
			curve{sum(rate("gather_worker_busy_seconds_total")), "busy"},
			curve{sum(metric("gather_queue_tasks")), "ready tasks"},
			curve{sum(metric("gather_workers")), "workers"},
		).magnitudes().limit("workers").narrow(),
		series("Waiting items", "short",
			"Items on a timer, which occupy no worker, those that admission counts with, and their bound (--waiting-items). When "+
				"counted comes near the bound, sleep jobs are refused. The axis is logarithmic.",
			curve{sum(metric("gather_waiting_items")), "on a timer"},
			curve{sum(metric("gather_admitted_waiting_items")), "counted"},
			curve{sum(metric("gather_waiting_capacity_items")), "capacity"},
		).magnitudes().limit("capacity").narrow(),
	}
}

func overviewFailures() []*builder {
	return []*builder{
		series("Failures by reason", "ops",
			"Failed jobs. job-timeout: the job's own timeout was too short, or the workers too busy. job-failed: the work cannot be "+
				"done, its error has the reason. job-panicked: a bug; the log has the stack, please report it.",
			curve{sum(rate("gather_jobs_failed_total"), "reason"), "{{reason}}"}),
		series("Rejections by reason", "ops",
			"Refused jobs and requests by reason: jobs, bytes and waiting are the bounds of admission, quota and rate a tenant's, storage "+
				"the disk, draining a server that stops, bodies and streams bounds of HTTP. See the runbook of GatherRejecting.",
			curve{sum(rate("gather_jobs_rejected_total"), "reason"), "{{reason}}"},
			curve{sum(rate("gather_http_requests_rejected_total"), "reason"), "{{reason}}"}),
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
				sum(rate("gather_jobs_finished_total", ended), "kind")), "{{kind}}"}).upTo(.05),
		series("Run p99 by kind", "s",
			"99 of 100 jobs of the kind ran shorter than this. When one kind grows: its jobs became larger, see Items, or it shares "+
				"the workers with more jobs.",
			curve{jobRun.quantile(.99, "kind"), "{{kind}}"}),
		series("Queued jobs by kind", "short",
			"Jobs that wait to start. When one kind fills the queue, its clients can use priority low, and the others "+
				"pass.",
			curve{sum(metric("gather_queue_jobs"), "kind"), "{{kind}}"}).stacked(),
		series("Running jobs by kind", "short",
			"Jobs that have started and not ended. When it grows and grows for a kind other than sleep_batch, the "+
				"workers are too few for it.",
			curve{sum(metric("gather_running_jobs"), "kind"), "{{kind}}"}).stacked(),
		series("Items by kind", "ops",
			"Finished items: sleeps, numbers, chunks. This is the work that is done; when it falls while Workers busy stays, the "+
				"items became larger, or the machine slower.",
			curve{sum(rate("gather_items_finished_total"), "kind"), "{{kind}}"}),
	}
}
