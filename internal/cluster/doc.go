// Package cluster is the durable record of several nodes, and the work that they share, on NATS JetStream.
//
// The record is one stream, the log. Every node writes proposals to it, and every node reads all of it and applies the same
// rules in the same order (table.go, fold.go), so that all come to the same state; what is not legal at its place takes no
// effect anywhere. What a node has read it keeps in a journal of its own, its view, which can be lost. The work is another
// stream, a work queue of turns (turns.go). Ordering, replication, the exclusive delivery of a turn and its redelivery are
// JetStream's; there is no consensus, membership or delivery here. What the chief does (chief.go) only tidies up.
//
// # Guarantees
//
//   - The contract of journaltest.Journal: what Append has called Done for is on a quorum of the servers, and can be read on
//     this node. On any other node it is found by Get, which reads as far as the log goes before it says that a job is not
//     there.
//   - A proposal takes effect once or not at all, whatever is lost on its way: a message is written behind the one before.
//   - The bounds of an Admission and the uses of a key hold for the whole cluster, exactly, in the order of the log.
//   - A step of a task takes effect once, whoever did it: an Advanced event says how many steps its author knew of, and that
//     of a node whose turn has moved on is refused. So a result does not depend on which nodes worked, paused or died.
//   - A job that is to end early ends when every node that worked on it has said that it stopped, or is dead.
//   - Turns are given for free workers only, weighted by priority; those of short jobs, of well under a millisecond, by the dozen.
//   - Nothing that the log has lost by trimming is missed: a view that the log was trimmed past is made anew.
//
// # Goroutines
//
// Open starts the fold, the writer, one that watches the writer's health, two for the nodes' heartbeats, the chief, one for
// delayed starts, one that pulls turns and one that keeps them alive; and requests to JetStream while they last. Close ends
// and waits for all of them. Callbacks (Done of an Append, done of a Turn's) come from the fold or from the view's writer and
// must not block.
//
// # Failure
//
// Without a connection, or when a write is not answered for some seconds, submissions are refused with job.ErrStorage, those
// that wait too; Ready says so. Everything else waits, within MaxPendingBytes, and goes on when the log does. A submission
// that was refused while its fate was unknown, and that turns out to be in the log, is cancelled. A node that finds records
// of a newer version in the log takes no part any more, and says so. Errors of the view are those of journal.Journal.
package cluster
