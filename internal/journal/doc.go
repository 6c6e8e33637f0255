// Package journal is the durable record of gather: an append-only log of each job's events and the job's state after
// them, its view, kept in one directory by Pebble. No other package imports Pebble.
//
// # Guarantees
//
//   - A batch is atomic, in every crash. When its Done is called with nil it is on disk, forced by fsync.
//   - Reads return only what is on disk: they stop at the end of the last finished fsync.
//   - Events of one job become durable in the order in which they were appended; the Seq of a job grows without a gap.
//   - A job's state changes by job.Apply alone, here as everywhere.
//   - While the disk fails or is full, submissions are rejected (job.ErrStorage) and everything else is delayed; no accepted
//     work is lost or harmed, and when the disk works again the journal continues without a restart. Package retryfs has the
//     details and the limits.
//
// # Goroutines
//
// The Journal owns three, from Open to Close. The writer puts all waiting batches into one Pebble batch, waits until it
// is on disk, makes it visible, signals watchers and calls Done; while the disk is busy the next batches queue up, so
// the number of jobs that share an fsync grows with the latency of the disk. The sweeper deletes expired jobs,
// tombstones and keys. The monitor watches the health of the disk and rejects submissions that would have to wait for a
// broken one.
//
// # Failure
//
// Append returns an error only for a batch that it did not take; Done gets the outcome of a batch that it took. Reads
// return wrapped errors of the disk. A data directory in use is ErrLocked, one of another format ErrFormat.
package journal
