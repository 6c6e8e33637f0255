package journal

import (
	"slices"
	"time"

	"gather/internal/job"
)

// maxBulkWrite bounds a write of bulk results in bytes, while nothing else is written: with more bytes for each fsync a job ends earlier.
const maxBulkWrite = 512 << 10

// minBulk is the size in bytes from which on the results of one job are bulk.
const minBulk = 32 << 10

// othersRecent is how long ago another request was taken at most for bulk results to pause after each piece.
const othersRecent = 20 * time.Millisecond

// A bulkQueue holds the large results of jobs, and everything that these jobs append afterwards, in order. They are written in
// pieces of their own: one request of bulk results, then all other requests that wait, and so on. So the end of a small job waits
// for one piece at most, however much the results of others are, and neither kind waits for ever. A batch for several jobs has
// submissions only, except in a replica, which has no bulk results. The queue's lock guards it.
type bulkQueue struct {
	requests []*request
	// jobs has the jobs with bulk results whose end has not been taken. All their requests are in this queue.
	jobs map[job.ID]struct{}
	// others and taken are the numbers of requests that were put into the other queue, and taken from it.
	others, taken uint64
	// last is true if the last write was of bulk results, tookAt is when the last other request was taken, and next when the next piece may be
	// written if that was recently.
	last         bool
	tookAt, next time.Time
}

// pause returns how long no piece should be written: beside other requests, pieces have a third of the time, so that most others find the disk
// free.
func (q *bulkQueue) pause(now time.Time) time.Duration {
	if now.Sub(q.tookAt) > othersRecent {
		return 0
	}
	return q.next.Sub(now)
}

// wrote records that a write is durable.
func (q *bulkQueue) wrote(began, now time.Time) {
	if q.last {
		q.next = now.Add(2 * now.Sub(began))
	}
}

// put queues a request that is bulk, or of a job with bulk results; false for any other request.
func (q *bulkQueue) put(r *request) bool {
	if len(r.entries) != 1 || r.submits {
		return false
	}
	id := r.entries[0].ID
	if _, known := q.jobs[id]; !known {
		if !r.bulk {
			return false
		}
		q.jobs[id] = struct{}{}
		r.after = q.others // the submission and the start of the job
	}
	q.requests = append(q.requests, r)
	return true
}

// ready reports whether the next write is of bulk results. awake is true if other requests wait to be taken.
func (q *bulkQueue) ready(awake bool) bool {
	return len(q.requests) > 0 && q.requests[0].after <= q.taken && (!awake || !q.last)
}

// take moves the next piece into w: one request, or more if the last write was of bulk results as well.
func (q *bulkQueue) take(w *write) {
	n, limit := 0, int64(0)
	if q.last {
		limit = maxBulkWrite
	}
	for n < len(q.requests) {
		r := q.requests[n]
		if n > 0 && (r.bulk && w.bytes+r.bytes > limit || r.after > q.taken) {
			break
		}
		w.bytes += r.bytes
		for _, ev := range r.entries[0].Events {
			if _, ended := ev.(job.Finished); ended {
				delete(q.jobs, r.entries[0].ID)
			}
		}
		n++
	}
	w.requests = append(w.requests, q.requests[:n]...)
	q.requests = slices.Delete(q.requests, 0, n)
	q.last = true
}

// tookOthers records that n other requests were taken.
func (q *bulkQueue) tookOthers(n int, now time.Time) {
	q.taken += uint64(n)
	q.last, q.tookAt = false, now
}

// forget forgets jobs that will not append their end, because their submission was rejected.
func (q *bulkQueue) forget(ids []job.ID) {
	for _, id := range ids {
		delete(q.jobs, id)
	}
}
