// Package journal is the durable record of gather: an append-only log of each job's events and the view that is their
// fold, kept in one directory by Pebble. No other package sees Pebble.
//
// # Guarantees
//
//   - A batch is all or nothing, in every crash. When its Done is called with nil it is on disk, forced by fsync.
//   - Nothing that is not on disk is ever shown: every read stops at what the last finished fsync covers.
//   - Events of one job become durable in the order in which they were appended; the Seq of a job grows without a gap.
//   - A job's state changes by job.Apply alone, here as everywhere.
//   - A disk that fails or fills up refuses submissions (job.ErrStorage) and delays everything else; nothing that was
//     accepted is lost or harmed, and when the disk works again so does the journal, without a restart. See package retryfs for
//     how, and for what cannot be survived.
//
// # Goroutines
//
// The Journal owns three, from Open to Close. The writer folds all waiting batches into one Pebble batch, waits until it
// is on disk, makes it visible, signals watchers and calls Done; while the disk is busy the next batches gather, so that
// the number of jobs that share an fsync follows the latency of the disk. The sweeper deletes what has expired. The
// monitor watches the health of the disk and refuses submissions that would have to wait for a broken one.
//
// # Failure
//
// Append returns an error only for a batch it did not take; the fate of a batch it took is told by Done. Reads return
// wrapped errors of the disk. A data directory in use is ErrLocked, one of another format ErrFormat.
package journal
