// Package journal stores jobs durably in one directory, using Pebble: for each job an append-only log of its events, and its
// view, the state after them. No other package imports Pebble.
//
// # Guarantees
//
//   - A batch is atomic, also in a crash. It is on disk, after an fsync, before its Done is called with nil.
//   - Reads return only durable data: they stop at the end of the last finished fsync.
//   - Events of one job become durable in the order in which they were appended; the Seq of a job has no gaps.
//   - Only job.Apply changes a job's state, as in the rest of gather.
//   - While the disk fails or is full, submissions are rejected (job.ErrStorage) and everything else is delayed. No accepted
//     work is lost, and the journal continues without a restart when the disk works again. Package retryfs has the details
//     and the limits.
//
// # Goroutines
//
// The Journal owns four, from Open to Close. The writer combines all waiting batches into one Pebble batch, waits until it
// is on disk, makes it visible, signals watchers and calls Done; while the disk is busy the next batches queue up, so the
// number of jobs that share an fsync grows with the latency of the disk. Large results are written in pieces between the other writes; see
// bulk.go. The sweeper deletes expired jobs, tombstones and
// keys. The monitor checks the disk, and rejects submissions that would have to wait for a broken one. The last one syncs the
// mark of the last durable write and maintains the ballast.
//
// # Failure
//
// Append returns an error only for a batch that it did not queue; Done receives the outcome of a queued batch. Reads return
// wrapped errors of the disk. Open returns ErrLocked for a data directory in use, and ErrFormat for another format.
package journal
