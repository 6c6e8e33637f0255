package job

import "time"

// A Node is one running server, as it describes itself to the others.
type Node struct {
	// ID is another one after every start; Name is the operator's.
	ID, Name, Version string
	StartedAt         time.Time
	// SeenAt is the time of the last heartbeat.
	SeenAt time.Time
	// Self is true for the node that answers.
	Self bool
	Work
	// Behind is how many messages of the cluster's log it has yet to read.
	Behind uint64
	// ClockSkew is how far its machine's clock is ahead of the clock that the nodes share.
	ClockSkew time.Duration
	// Draining is true when it takes no more tasks.
	Draining bool
}

// Work is the load of an executor.
type Work struct {
	// Workers is the size of the pool, Busy how many of it run a task.
	Workers, Busy int
	// Waiting counts the items that wait on a timer.
	Waiting int64
	// Jobs are the jobs that the node has tasks of, at most 100 of them.
	Jobs []NodeJob
}

// NodeJob is a node's part in a job.
type NodeJob struct {
	ID           ID
	Tenant, Kind string
	// Running counts the tasks with a worker, Parked those that wait on a timer.
	Running, Parked int
}
