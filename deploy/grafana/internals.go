package grafana

var (
	commit   = histogram{name: "gather_journal_commit_seconds"}
	batch    = histogram{name: "gather_journal_batch_events"}
	taskStep = histogram{name: "gather_task_step_duration_seconds"}
	plain    = histogram{name: "gather_http_request_duration_seconds", more: []string{`mode="plain"`}}
	long     = histogram{name: "gather_http_request_duration_seconds", more: []string{`mode!="plain"`}}
	pauses   = histogram{name: "go_sched_pauses_total_gc_seconds"}
	latency  = histogram{name: "go_sched_latencies_seconds"}
)

// Internals answers: which part of the process is it.
func Internals() *Dashboard {
	return newDashboard("gather-internals", "gather internals",
		"Which part of gather is slow or full: the journal, the scheduler, HTTP, the cluster, or the Go runtime.",
		row{title: "Journal", height: 8, panels: append(internalsJournal(), internalsEngine()...)},
		row{title: "Scheduler", height: 8, panels: internalsScheduler()},
		row{title: "HTTP", height: 8, panels: internalsHTTP()},
		row{title: "Cluster", height: 8, collapsed: true, panels: internalsCluster()},
		row{title: "Go and process", height: 8, collapsed: true, panels: internalsProcess()},
	)
}

func internalsJournal() []*builder {
	return []*builder{
		series("Commit latency", "s",
			"From building a write until it is on disk; every submission waits for one. When p50 grows the disk is slow (compare "+
				"with iostat); when only p99 does, it stalls now and then. See the runbook of GatherJournalSlow.",
			commit.quantiles()...),
		series("Commits and events", "ops",
			"Writes that reached the disk, and the events in them. Many events in few commits is group commit at work. When "+
				"commits fall and Commit latency grows, the disk is the limit.",
			curve{sum(rate("gather_journal_commit_seconds_count")), "commits"},
			curve{sum(rate("gather_journal_batch_events_sum")), "events"}),
		series("Batch size", "none",
			"Events that one write makes durable. It grows with load, which is good: the cost of one disk write is shared. Around 1 "+
				"under load means that clients submit one after the other.",
			curve{batch.mean(), "mean"}, curve{batch.quantile(.5), "p50"}, curve{batch.quantile(.99), "p99"}),
		series("Journal ready", "short",
			"Whether the journal of a server accepts submissions: 1 or 0. When it is 0: read the log of the server, then the runbook of "+
				"GatherJournalFailing.",
			curve{highest(metric("gather_journal_ready"), "instance"), "{{instance}}"}).narrow(),
		series("Disk failures", "ops",
			"Disk operations that failed, retries included. Any failure: read the log and the kernel's (dmesg), then the runbook of "+
				"GatherJournalFailing.",
			curve{sum(rate("gather_journal_failures_total"), "instance"), "{{instance}}"}).upTo(1).narrow(),
		series("Waiting for the disk", "bytes",
			"Bytes that wait to be written, below the bound at which submissions are refused. When they stay, the disk is slower "+
				"than the load.",
			curve{highest(metric("gather_journal_pending_bytes")), "pending"},
			curve{highest(metric("gather_journal_pending_limit_bytes")), "limit"},
		).limit("limit").narrow(),
		series("Disk space", "bytes",
			"Space that the journal uses, free space of the fullest disk, and the margin below which no job is accepted "+
				"(--min-free-disk). When free falls towards the margin: see the runbook of GatherDiskNearlyFull.",
			curve{sum(metric("gather_journal_disk_bytes")), "journal"},
			curve{"min(" + metric("gather_journal_disk_free_bytes") + ")", "free"},
			curve{highest(metric("gather_journal_disk_min_free_bytes")), "margin"},
		).limit("margin").narrow(),
	}
}

func internalsEngine() []*builder {
	return []*builder{
		series("Bytes written", "Bps",
			"Bytes to the write-ahead log, and from memory to tables. When the log runs far above what jobs need, results are "+
				"large: shorter retention or fewer items help the disk.",
			curve{sum(rate("gather_journal_log_written_bytes_total")), "log"},
			curve{sum(rate("gather_journal_flushed_bytes_total")), "flushed"}),
		series("Compactions", "ops",
			"Compactions that ended. A steady few are housekeeping. When they stop while Compaction debt grows, or never stop, the "+
				"disk is too slow for the load.",
			curve{sum(rate("gather_journal_compactions_total")), "compactions"}),
		series("Compaction debt", "bytes",
			"Bytes still to be compacted, as estimated. It may rise in a burst and must fall after it. When it only rises, reads "+
				"become slower and the disk fills: lower the load or use a faster disk.",
			curve{sum(metric("gather_journal_compaction_debt_bytes")), "debt"}),
		series("Journal memory", "bytes",
			"Memory that the storage engine holds. Both have a bound; when the process is larger than this and the plans of "+
				"jobs together, see Memory.",
			curve{sum(metric("gather_journal_cache_bytes")), "block cache"},
			curve{sum(metric("gather_journal_memtable_bytes")), "memtables"}).stacked().narrow(),
		series("Cache hits", "percentunit",
			"Blocks found in memory when old jobs are read; 0 without such reads. When low and reads are slow, clients page "+
				"through more history than fits in the cache.",
			curve{ratio(sum(rate("gather_journal_cache_hits_total")),
				"("+sum(rate("gather_journal_cache_hits_total"))+" + "+sum(rate("gather_journal_cache_misses_total"))+")"), "hits"},
		).percent().narrow(),
		series("Active jobs", "short",
			"Jobs in the journal's memory, which have not ended. When it stays above Unfinished jobs of gather overview, "+
				"please report it.",
			curve{sum(metric("gather_journal_active_jobs")), "active"}).narrow(),
		series("Jobs removed", "ops",
			"Jobs removed because their retention had passed. When it stays 0 for longer than the retention while jobs end, look for "+
				"errors of the sweep in the log.",
			curve{sum(rate("gather_journal_jobs_swept_total")), "removed"}).upTo(1).narrow(),
	}
}

func internalsScheduler() []*builder {
	return []*builder{
		series("Tasks finished", "ops",
			"Tasks by kind. When 0 while Ready tasks is not: see the runbook of GatherStalled.",
			curve{sum(rate("gather_tasks_finished_total"), "kind"), "{{kind}}"}),
		series("Task step p99", "s",
			"How long a step holds a worker. It should be milliseconds, because a small job "+
				"waits as long behind a big one. When it grows, the machine is overcommitted: see CPU.",
			curve{taskStep.quantile(.99, "kind"), "{{kind}}"}),
		heatmap("Task step heatmap", "s",
			"How long single steps hold a worker. Below 50 ms is as planned. A band above: one kind's tasks are cut too large, or "+
				"the CPUs are shared with others.",
			taskStep),
		series("Ready tasks by server", "short",
			"Tasks that could run now. When one server has many and another none, clients do not spread their submissions.",
			curve{sum(metric("gather_queue_tasks"), "instance"), "{{instance}}"}),
		series("Workers busy by server", "percentunit",
			"Share of the workers' time on tasks. When one stays at 0 % with ready tasks: see the runbook of GatherStalled.",
			curve{ratio(sum(rate("gather_worker_busy_seconds_total"), "instance"), sum(metric("gather_workers"), "instance")), "{{instance}}"},
		).percent(),
		series("Workers running now", "short",
			"Workers on a task at the moment of the scrape, and the workers there are. It jumps by nature; compare with Workers "+
				"busy by server, which is the average.",
			curve{sum(metric("gather_workers_busy")), "running"}, curve{sum(metric("gather_workers")), "workers"},
		).limit("workers"),
		series("Memory of admitted jobs", "bytes",
			"Memory of the plans of admitted jobs, and its bound (--queue-bytes). When near: few jobs with very long lists; see the "+
				"runbook of GatherNearCapacity.",
			curve{highest(metric("gather_admitted_bytes")), "fullest server"}, curve{sum(metric("gather_admitted_bytes")), "all servers"},
			curve{highest(metric("gather_admitted_capacity_bytes")), "capacity of a server"},
		).limit("capacity of a server").narrow(),
		series("Array data summed", "Bps",
			"Bytes of array data that went through the sum kernels. When low with busy workers: generating the data costs more than "+
				"summing it, or memory bandwidth is shared.",
			curve{sum(rate("gather_array_summed_bytes_total")), "summed"}).narrow(),
		series("Resumed jobs", "short",
			"Running jobs that each server took up again at its last start. It is a count, for it is done before the first scrape, and a "+
				"rate would be 0. Resumed jobs without a restart of yours: the process crashed; see the runbook of GatherRestarting.",
			curve{sum(metric("gather_jobs_resumed_total"), "instance"), "{{instance}}"}).narrow(),
		series("Draining", "short",
			"Servers that are stopping: 1 while a server finishes running tasks and accepts no jobs. When it stays 1 for longer than "+
				"--drain-timeout, look at the log of that server.",
			curve{highest(metric("gather_draining"), "instance"), "{{instance}}"}).narrow(),
	}
}

func internalsHTTP() []*builder {
	return []*builder{
		series("Requests by route", "reqps",
			"Requests answered. A route that grows alone is usually a client that polls: it can wait with Prefer: wait, or follow "+
				"the events.",
			curve{sum(rate("gather_http_requests_total"), "method", "route"), "{{method}} {{route}}"}).many(),
		series("Latency p99 by route", "s",
			"99 of 100 answers came sooner, without waits, streams and uploads, which clients may keep open. POST waits for the disk: "+
				"compare with Commit latency. When all grow, see CPU.",
			curve{plain.quantile(.99, "method", "route"), "{{method}} {{route}}"}).many(),
		series("Waits, streams and uploads p99", "s",
			"How long requests last whose length the client decides: Prefer: wait, followed events, downloads and uploads. When uploads "+
				"grow, the disk or the client's network is slow.",
			curve{long.quantile(.99, "method", "route", "mode"), "{{method}} {{route}} {{mode}}"}).many().message("No waits, streams or uploads."),
		series("Answers by status", "reqps",
			"Answers by status code. 499: the client disconnected before the response; many of them are clients with a timeout that is too "+
				"short. 5xx: see HTTP errors in gather overview.",
			curve{sum(rate("gather_http_requests_total"), "code"), "{{code}}"}).stacked().wide(),
		series("Waits and streams", "short",
			"Requests that wait for a job or follow one, all requests under way, and the bound of the former (--max-streams). At "+
				"the bound further ones are refused. The axis is logarithmic.",
			curve{sum(metric("gather_http_streams_open")), "open"},
			curve{sum(metric("gather_http_requests_in_flight")), "in flight"},
			curve{sum(metric("gather_http_streams_limit")), "limit"},
		).magnitudes().limit("limit"),
		series("Request bodies", "bytes",
			"Bytes of bodies being read and accepted. When it stays high: slow clients send large submissions; lower --max-body or "+
				"put a buffering proxy in front.",
			curve{sum(metric("gather_http_body_bytes_in_flight")), "in flight"}),
		series("Refused requests", "reqps",
			"Requests refused before anything was planned. rate: a tenant's --rate, its clients must slow down. bodies: too many bytes "+
				"of concurrent bodies. streams: --max-streams are open; see Waits and streams.",
			curve{sum(rate("gather_http_requests_rejected_total"), "reason"), "{{reason}}"}),
		series("Uploaded arrays", "short",
			"Uploaded arrays of all tenants. On a cluster every node reports all of them, so the curves lie on each other. When it only "+
				"grows, clients forget to delete what they no longer sum.",
			curve{sum(metric("gather_arrays"), "instance"), "{{instance}}"}).wide(),
		series("Bytes of uploaded arrays", "bytes",
			"Space of the uploaded arrays, on the disk of the server or in the store of the cluster. When it only grows, delete what "+
				"is no longer summed, before the disk is full.",
			curve{sum(metric("gather_array_bytes"), "instance"), "{{instance}}"}).wide(),
	}
}

func internalsProcess() []*builder {
	return []*builder{
		series("Memory", "bytes",
			"Resident memory by server, and the memory that a server may use: GOMEMLIMIT, the limit of its cgroup or the machine's memory. "+
				"When a server comes near it: see Live heap and Journal memory.",
			curve{sum(metric("process_resident_memory_bytes"), "instance"), "{{instance}}"},
			curve{"min(" + metric("gather_memory_limit_bytes") + ")", "limit"}).limit("limit").narrow(),
		series("Live heap", "bytes",
			"Live heap after the last garbage collection, by server. When it grows without end, take a profile from /debug/pprof/heap and "+
				"report it.",
			curve{sum(metric("go_gc_heap_live_bytes"), "instance"), "{{instance}}"}).narrow(),
		series("CPU", "short",
			"CPUs in use by server, and the CPUs that a server may use (affinity and cgroup quota). At the limit, everything slows down "+
				"together: give more, or lower the load.",
			curve{sum(rate("process_cpu_seconds_total"), "instance"), "{{instance}}"},
			curve{"min(" + metric("gather_cpus") + ")", "limit of a server"}).limit("limit of a server").narrow(),
		series("CPU throttled", "percentunit",
			"Share of the time for which the kernel stopped a server because its CPU quota was used up. Above a few percent latency "+
				"suffers although CPU looks below its limit: raise the quota.",
			curve{sum(rate("gather_cpu_throttled_seconds_total"), "instance"), "{{instance}}"}).upTo(.1).narrow(),
		series("GC cycles", "ops",
			"Garbage collections. A few per second are fine. Many with a small live heap: set GOGC higher, or GOMEMLIMIT to the "+
				"memory there is.",
			curve{sum(rate("go_gc_cycles_total_gc_cycles_total"), "instance"), "{{instance}}"}),
		series("GC pauses", "s",
			"How long a collection stops the world. Below a millisecond is normal. When longer, the machine has fewer CPUs than the "+
				"process uses: set GOMAXPROCS.",
			curve{pauses.quantile(.5), "p50"}, curve{pauses.quantile(.99), "p99"}),
		series("Scheduling latency", "s",
			"How long a goroutine that could run waits for a CPU. When p99 is above 10 ms, the process is short of CPUs, or other "+
				"processes take them.",
			curve{latency.quantile(.5), "p50"}, curve{latency.quantile(.99), "p99"}),
		series("Goroutines", "short",
			"Goroutines by server. It follows open requests; jobs need none of their own. When it grows without end and Waits and "+
				"streams does not, take a profile from /debug/pprof/goroutine and report it.",
			curve{sum(metric("go_goroutines"), "instance"), "{{instance}}"}),
		series("Open files", "short",
			"File descriptors of the server that has most open, and the limit. At the limit connections are refused: raise it (LimitNOFILE, "+
				"ulimit -n). The axis is logarithmic.",
			curve{highest(metric("process_open_fds")), "open"}, curve{"min(" + metric("process_max_fds") + ")", "limit"},
		).magnitudes().limit("limit"),
		series("Network of host or container", "Bps",
			"Bytes received and sent in the network namespace of the servers: in a container its own, otherwise the whole host's. When sent "+
				"is high: clients read large results again and again; the parameter after reads only what is new.",
			curve{sum(rate("process_network_receive_bytes_total")), "received"},
			curve{sum(rate("process_network_transmit_bytes_total")), "sent"}),
		table("Builds",
			"The build of each server. When they differ outside of an upgrade, a server was forgotten: see also Servers in gather overview.",
			[]string{"instance", "version", "goversion", "goarch"},
			column{"", "none", highest(metric("gather_build_info"), "instance", "version", "goversion", "goarch")}),
	}
}
