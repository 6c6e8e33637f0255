package job

import "time"

// A Node is one running server, as it describes itself to the others.
type Node struct {
	// ID is another one after every start; Name is the operator's.
	ID, Name, Version string
	StartedAt         time.Time
	// SeenAt is when the node last said that it lives.
	SeenAt time.Time
	// Self tells that it is the node that was asked.
	Self bool
	Work
	// Behind is how many messages of the cluster's log it has yet to read.
	Behind uint64
	// ClockSkew is how far its machine's clock is ahead of the clock that the nodes share.
	ClockSkew time.Duration
	// Draining tells that it takes no more work.
	Draining bool
}

// Work is what the executor of a node is busy with.
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
	// Running and Parked count the tasks that hold a worker, and those that wait on a timer.
	Running, Parked int
}
