// Package cluster stores jobs and distributes tasks across nodes, using NATS JetStream.
//
// Jobs live in one replicated stream, the log. Nodes append proposals, and every node applies them in log order with the
// same deterministic rules (state.go, apply.go), so all nodes reach the same state; a proposal that is invalid at its place
// in the log is rejected by every node. A node applies the log to a journal of its own, its replica, which can be rebuilt
// from the log. Tasks are leased through a second stream, a work queue whose messages are leases (leasequeue.go). JetStream
// orders and replicates the log, and delivers and redelivers leases; this package implements no consensus, membership or
// delivery. The leader (leader.go) only maintains the cluster.
//
// # Guarantees
//
//   - The contract of journaltest.Journal: when Append has called Done, the batch is on a quorum of the servers, and can be
//     read on this node. Get finds it on any other node, because it applies the log up to its end before it returns
//     job.ErrNotFound.
//   - A proposal takes effect once or not at all, also when messages are lost, because each message carries the expected
//     sequence number of the message before it.
//   - The bounds of an Admission and the uses of a key hold exactly and for the whole cluster, in the order of the log.
//   - Each step of a task is applied exactly once. A TaskProgress event carries the number of steps before it, and is rejected
//     if another node has advanced the task since; a node sends one after the outcome of the one before. Results therefore do
//     not depend on which nodes ran, paused or failed.
//   - A job that is ending ends when every participant has recorded that it stopped, or is dead.
//   - Leases are given for free workers only, weighted by priority; leases of short jobs, of well under a millisecond, are
//     given in larger numbers.
//   - A replica that the log was trimmed past is rebuilt.
//
// # Goroutines
//
// Open starts the apply loop, the writer, one goroutine each for the writer's health, the state of the log and the
// configuration of the streams, one that watches documents and one that copies them, two for heartbeats, the leader's loop,
// one for delayed starts, one that pulls leases and one that extends them; and requests to JetStream while they last. Close
// ends and waits for all of them. Callbacks (done of an Append or of a lease) are called by the apply loop or by the
// replica's writer, and must not block.
//
// # Failure
//
// Without a connection, or when a write is not acknowledged for some seconds, submissions, also waiting ones, are rejected
// with job.ErrStorage, and Ready returns that error. Everything else waits, within MaxPendingBytes, and continues when the
// log does. A submission that was rejected while its outcome was unknown is cancelled if it is in the log after all. A node
// that reads a record of a later version stops participating. Errors of the replica are as in journal.Journal.
package cluster
