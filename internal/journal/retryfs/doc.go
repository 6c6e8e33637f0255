// Package retryfs is a file system for Pebble that retries failed writes instead of returning their errors.
//
// Pebble ends the process when a write of its log or its manifest fails: a failed write panics while the commit pipeline
// is locked, and a failed sync during a log rotation ends in "unlock of unlocked mutex", which cannot be recovered. FS
// stands between Pebble and the disk, so that a broken disk looks like a slow one.
//
// Why not exit and restart: on a full disk or a read-only remount a restart fails as well, until an operator frees space. With
// retries the server meanwhile serves reads, cancels and deletes (which free space), keeps the progress of running jobs in
// memory in order, rejects submissions, and continues within RetryInterval when the disk works.
//
// Invariants:
//
//   - A write or sync of a log, the manifest, a marker or the directory returns nil only after the disk has confirmed it,
//     or when the file system is off.
//   - After a failed fsync the kernel may have dropped dirty pages, and the next fsync may succeed without them. A file
//     therefore keeps a copy of its bytes since the last successful fsync, and writes them again through a new handle
//     before it syncs again.
//   - Errors of tables reach Pebble after a pause of one interval, because it repeats the flush or compaction itself.
//     Errors of reads reach the reader immediately.
//   - Off: while the journal opens or closes there are no retries. The first error then switches the file system off: every
//     later change is discarded and reported as done, so that Pebble can close. The disk then has the content that a power
//     cut at that moment would have left. Callers must check Off after every sync.
//   - Operations on files outside of the journal's directory (checkpoints) are passed through, with their errors.
//
// Not survived: a file system that loses confirmed data, and a directory that is replaced or emptied while it is in use.
//
// The package starts no goroutines. A retry blocks the goroutine of the operation.
package retryfs
