package grafana

var logAppend = histogram{name: "gather_cluster_log_append_seconds"}

// internalsCluster has what only nodes of a cluster measure; it reads 0 for a server that is alone.
func internalsCluster() []*builder {
	count := func(name string, more ...string) string { return shared(sum(rate(name, more...))) }
	// Every node reads the whole log, and so counts what any of them wrote in vain.
	dropped := func(reason string) curve {
		return curve{shared(highest(rate("gather_cluster_log_rejected_proposals_total", `reason="`+reason+`"`))), reason}
	}
	byNode := func(name string) []curve {
		return []curve{{shared(sum(metric(name), "instance"), "instance"), "{{instance}}"}}
	}
	appends := logAppend.quantiles()
	for i := range appends {
		appends[i].expr = shared(appends[i].expr)
	}
	return []*builder{
		series("Nodes", "short",
			"Live nodes, by their heartbeats, and nodes that are connected to NATS, usually the same number. When "+
				"one is missing: see the runbook of GatherNodeLost; when connected is 0, that of GatherClusterDisconnected.",
			curve{shared(highest(metric("gather_cluster_nodes"))), "nodes"},
			curve{shared(sum(metric("gather_cluster_connected"))), "connected"}),
		series("Leader", "short",
			"The node that handles dead nodes and lost messages, and reports the metrics of the whole cluster. There is one; another "+
				"node takes over when it stops. None or two for long: see the runbook of GatherLeaderCount.",
			byNode("gather_cluster_leader")...),
		series("Log append latency", "s",
			"From publishing a batch of records until a quorum of the NATS servers has it; every submission waits for one. When it "+
				"grows, the disks of the servers or the network between them are slow. See the runbook of GatherLogSlow.",
			appends...),
		series("Log records", "ops",
			"Records that the nodes append: submissions, starts, progress of tasks, ends. Many records in few messages show group "+
				"commit. When it falls while jobs run: see Log append latency.",
			curve{count("gather_cluster_log_records_total"), "records"},
			curve{count("gather_cluster_log_append_seconds_count"), "messages"}),
		series("Log bytes", "Bps",
			"Bytes appended to the log; each of its servers writes them. When it is near what a disk or the "+
				"network takes: results are large, use shorter retention or fewer items.",
			curve{count("gather_cluster_log_bytes_total"), "bytes"}),
		series("Proposals rejected", "ops",
			"Proposals that were too late in the order of the log. transition: a node that was slow or paused; a few are normal. bound: "+
				"submissions that raced for the last places. key: the same idempotency key on two nodes.",
			dropped("transition"), dropped("bound"), dropped("key")),
		series("Log lag", "short",
			"Messages of the log that a node has not applied yet; its reads are that stale. A peak after a start is the node catching "+
				"up. When it stays: see the runbook of GatherLogLag. The axis is logarithmic.",
			byNode("gather_cluster_log_lag_messages")...).magnitudes(),
		series("Waiting for the log", "bytes",
			"Bytes that a node has yet to append. When it stays high, NATS is slower than the load, or away: compare with Log append "+
				"latency and Nodes. At its bound submissions are refused.",
			byNode("gather_cluster_log_pending_bytes")...),
		series("Leases", "ops",
			"Leases of tasks that nodes were given. short: whole jobs of well under a millisecond; new: the first task of other jobs; "+
				"running: tasks of running jobs. When 0 with ready tasks and free workers: see the runbook of GatherStalled.",
			curve{count("gather_cluster_leases_total", `queue="short"`), "short"},
			curve{count("gather_cluster_leases_total", `queue="new"`), "new"},
			curve{count("gather_cluster_leases_total", `queue="running"`), "running"}),
		series("Leases held", "short",
			"Leases that a node has: of tasks that its workers run, or that wait on a timer. A node without any while others have plenty "+
				"is draining or cut off: see Nodes.",
			byNode("gather_cluster_leases_held")...),
		series("Tasks redelivered", "ops",
			"redelivered: tasks whose node sent no heartbeat for --node-timeout, and which another node got. requeued: messages of tasks "+
				"that were lost and published again. Both are normal when a node dies; all the time means nodes that are paused or starved.",
			curve{count("gather_cluster_leases_redelivered_total"), "redelivered"},
			curve{count("gather_cluster_leases_requeued_total"), "requeued"}),
		series("Disconnects and rebuilds", "ops",
			"disconnects: lost connections to NATS, one for each node when a server of it restarts. rebuilds: replicas that "+
				"were rebuilt because the log was trimmed past them while their node was away.",
			curve{count("gather_cluster_disconnects_total"), "disconnects"},
			curve{count("gather_cluster_replica_rebuilds_total"), "rebuilds"}),
	}
}
