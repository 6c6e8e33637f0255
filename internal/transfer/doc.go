// Package transfer is the format in which one gather hands everything it knows to another: a stream of arrays, jobs with
// their logs, idempotency keys and tombstones.
//
// Guarantees: what a Reader yields is what the Writer was given, bit for bit, or an error. A stream that is cut off, or has
// lost, doubled or changed a record anywhere, is never read to its end without one; what was yielded before is whole. Memory
// is constant but for one record, which is no larger than one event of a log. Neither side starts a goroutine; both are for
// one goroutine.
//
// # The format, version 1
//
// Integers are uvarints, times varints of nanoseconds since 1970, strings and bytes have their length before them; where
// nothing else is said.
//
//	magic      "gather\r\n": eight bytes that do not survive a program that changes line ends
//	version    4 bytes, big-endian
//	records    kind byte; length; payload; 4 bytes, big-endian: CRC-32C of the number of the record (8 bytes, big-endian,
//	           from 0), its kind, and its payload
//
// The kinds, in the order in which they come:
//
//	H          what is to come: the Totals
//	A          an array: tenant, name, bytes, SHA-256 (32 bytes), time of upload; then
//	  a        its bytes, piece by piece
//	  .        its end: empty
//	J          a job: its view as package job encodes it, its spec; then
//	  l        its log, piece by piece: events as package job encodes them, at least one
//	  .        its end: empty. The log ends at the seq of the view
//	K          an idempotency key: hash, fingerprint (32 bytes each), expiry, number of ids, ids (16 bytes each)
//	T          a tombstone: tenant, id (16 bytes), expiry
//	E          the end: the Totals again, as they were written. Nothing follows
package transfer
