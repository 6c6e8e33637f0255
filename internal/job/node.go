package job

import "time"

// A Node is the record of one running server for the other nodes.
type Node struct {
	// ID changes with every start; Name is set by the operator.
	ID, Name, Version string
	StartedAt         time.Time
	// SeenAt is the time of the last heartbeat.
	SeenAt time.Time
	// Self is true for the node that answers the request.
	Self bool
	Work
	// Behind is the number of messages of the cluster's log that the node has not applied.
	Behind uint64
	// ClockSkew is how far the machine's clock is ahead of the clock that the nodes share.
	ClockSkew time.Duration
	// Draining is true when the node takes no more tasks.
	Draining bool
}

// Work is the load of an executor.
type Work struct {
	// Workers is the number of workers, Busy the number of workers that run a task.
	Workers, Busy int
	// Waiting counts the items that wait on a timer.
	Waiting int64
	// Jobs are the jobs with tasks on the node, at most 100 of them.
	Jobs []NodeJob
}

// NodeJob is a node's part in a job.
type NodeJob struct {
	ID           ID
	Tenant, Kind string
	// Running counts the tasks with a worker, Waiting the tasks that wait on a timer.
	Running, Waiting int
}
