package grafana

var logAppend = histogram{name: "gather_cluster_log_append_seconds"}

// internalsCluster has what only nodes of a cluster measure; it reads 0 for a server that is alone.
func internalsCluster() []*builder {
	count := func(name string, more ...string) string { return shared(sum(rate(name, more...))) }
	// Every node reads the whole log, and so counts what any of them wrote in vain.
	dropped := func(reason string) curve {
		return curve{shared(highest(rate("gather_cluster_log_dropped_records_total", `reason="`+reason+`"`))), reason}
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
			"Nodes that say they live, as one of them counts them, and those that are connected to NATS, all but the same number. When "+
				"one is missing: see the runbook of GatherNodeLost; when connected is 0, that of GatherClusterDisconnected.",
			curve{shared(highest(metric("gather_cluster_nodes"))), "nodes"},
			curve{shared(sum(metric("gather_cluster_connected"))), "connected"}),
		series("Chief", "short",
			"The node that looks after dead nodes and lost messages, and reports the figures of the whole cluster. There is one; it "+
				"changes when that one stops. None or two for long: see the runbook of GatherNotOneChief.",
			byNode("gather_cluster_chief")...),
		series("Log append latency", "s",
			"From publishing a batch of records until a quorum of the NATS servers has it; every submission waits for one. When it "+
				"grows, the disks of the servers or the network between them are slow. See the runbook of GatherLogSlow.",
			appends...),
		series("Log records", "ops",
			"Records that the nodes append: submissions, starts, what tasks found, ends. Many records in few messages is group commit "+
				"at work. When it falls while jobs run: see Log append latency.",
			curve{count("gather_cluster_log_records_total"), "records"},
			curve{count("gather_cluster_log_append_seconds_count"), "messages"}),
		series("Log bytes", "Bps",
			"Bytes appended to the log; each of its servers writes them. When it is near what a disk or the "+
				"network takes: results are large, use shorter retention or fewer items.",
			curve{count("gather_cluster_log_bytes_total"), "bytes"}),
		series("Records dropped", "ops",
			"Records that came too late in the order of the log. transition: a node that was slow or paused; a few are normal. bound: "+
				"submissions that raced for the last places. key: the same idempotency key on two nodes.",
			dropped("transition"), dropped("bound"), dropped("key")),
		series("Behind the log", "short",
			"Messages of the log that a node has yet to read; what it answers is that old. A peak after a start is the node catching "+
				"up. When it stays: see the runbook of GatherLogBehind. The axis is logarithmic.",
			byNode("gather_cluster_log_behind_messages")...).magnitudes(),
		series("Waiting for the log", "bytes",
			"Bytes that a node has yet to append. When it stays high, NATS is slower than the load, or away: compare with Log append "+
				"latency and Nodes. At its bound submissions are refused.",
			byNode("gather_cluster_log_pending_bytes")...),
		series("Turns", "ops",
			"Tasks that nodes were given. short: whole jobs of well under a millisecond; fresh: the first task of other jobs; active: those "+
				"of jobs under way. When 0 with ready tasks and free workers: see the runbook of GatherStalled.",
			curve{count("gather_cluster_turns_total", `line="short"`), "short"},
			curve{count("gather_cluster_turns_total", `line="fresh"`), "fresh"},
			curve{count("gather_cluster_turns_total", `line="active"`), "active"}),
		series("Turns held", "short",
			"Tasks that a node has now: those its workers run, and the sleeping ones. A node that holds none while others have plenty "+
				"is draining or cut off: see Nodes.",
			byNode("gather_cluster_turns_held")...),
		series("Turns given again", "ops",
			"redelivered: tasks whose node was silent for longer than --ack-wait and which another one got. restored: messages that were "+
				"lost and made anew. Both are normal when a node dies; all the time means nodes that are paused or starved.",
			curve{count("gather_cluster_turns_redelivered_total"), "redelivered"},
			curve{count("gather_cluster_turns_restored_total"), "restored"}),
		series("Disconnects and rebuilds", "ops",
			"disconnects: lost connections to NATS, one for each node when a server of it restarts. rebuilds: views that were made "+
				"anew because the log was trimmed past them while their node was away.",
			curve{count("gather_cluster_disconnects_total"), "disconnects"},
			curve{count("gather_cluster_view_rebuilds_total"), "rebuilds"}),
	}
}
