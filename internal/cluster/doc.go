// Package cluster is the durable record of several nodes, and the task queue that they share, on NATS JetStream.
//
// The record is one stream, the log. Nodes write proposals to it, and every node applies all of it by the same rules in
// the same order (state.go, apply.go), so all nodes reach the same state; a proposal that is not legal at its place is
// rejected by all. A node applies the log to a journal of its own, its replica, which can be lost. The queue is another
// stream: a work queue of tasks, whose messages are leases (leasequeue.go). JetStream orders and replicates the log, and
// delivers and redelivers leases; there is no consensus, membership or delivery in this package. The leader (leader.go)
// only maintains the cluster.
//
// # Guarantees
//
//   - The contract of journaltest.Journal: when Append has called Done, the batch is on a quorum of the servers, and can be
//     read on this node. On any other node Get finds it: it applies the log up to its end before it returns job.ErrNotFound.
//   - A proposal takes effect once or not at all, also when messages are lost: each message is written behind a given one.
//   - The bounds of an Admission and the uses of a key hold for the whole cluster, exactly, in the order of the log.
//   - A step of a task takes effect once: an Advanced event has the number of the steps before it, and the event of a node
//     whose lease has moved on is rejected. So a result does not depend on which nodes worked, paused or died.
//   - A job that is ending ends when every participant has recorded that it stopped, or is dead.
//   - Leases are given for free workers only, weighted by priority; those of short jobs, of well under a millisecond, in
//     larger numbers.
//   - A replica that the log was trimmed past is rebuilt.
//
// # Goroutines
//
// Open starts the apply loop, the writer, one goroutine that watches the writer's health, two for heartbeats, the
// leader's loop, one for delayed starts, one that pulls leases and one that extends them; and requests to JetStream
// while they last. Close ends and waits for all of them. Callbacks (done of an Append or of a lease) are called by the
// apply loop or by the replica's writer, and must not block.
//
// # Failure
//
// Without a connection, or when a write is not answered for some seconds, submissions, also waiting ones, are rejected
// with job.ErrStorage, and Ready returns that error. Everything else waits, within MaxPendingBytes, and continues when
// the log does. A submission that was rejected while its outcome was unknown, and that is in the log after all, is
// cancelled. A node that reads a record of a later version stops participating. Errors of the replica are as in
// journal.Journal.
package cluster
