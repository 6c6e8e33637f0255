// Package chunked describes N-dimensional arrays in chunks, and sums them over all or some of their axes. Names and
// semantics are NumPy's and Dask's.
//
// [ParseArray] and [ParseReduction] parse a description and report all its errors together. [NewPlan] partitions the
// sum into tasks. [Plan.Run] runs one task with the scratch of a [Worker] and returns a partial: the results of its
// items, and a compact mergeable sum. A [Reducer] merges the partials into the [Result].
//
// Guarantees:
//
//   - A sum is the correctly rounded exact sum of the elements, and an integer sum is exact beyond 64 bits: the same
//     bits for any chunks, any number of workers and any order of tasks. Totals are merged from exact sums, never from
//     rounded ones. A float sum to float32 or float16 is rounded once.
//   - Every element is generated, or read, and added by the kernels of package exactsum. No sum uses a closed form.
//   - Stored elements are used in place if the reader allows it and they have the machine's byte order.
//   - Descriptions are untrusted: sizes are computed with overflow checks and compared with [Limits] before anything is
//     allocated. Memory is bounded by the description's own length, the number of chunks of an irregular grid, and a
//     result of at most Limits.Outputs elements; never by the number of elements.
//   - A partial is a few tens of bytes and a value for each item it completes. All partials of a job together are at
//     most 64 MiB when outputs are summed by several tasks, else at most 276 bytes a task and 17 an item.
//   - A partial that no task of the plan could return is an error, not a wrong result.
//
// The package starts no goroutine, holds no lock and keeps no global state. Arrays, plans and sources are immutable and
// safe for concurrent use; a Worker and a Reducer belong to one goroutine at a time. Parsing returns [fields.Errors];
// running fails only when the context ends or a stored array cannot be read; merging fails with [ErrPartial], [ErrVersion] and
// [ErrDuplicate].
package chunked
