package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// publish decides which submissions are accepted, makes the write visible, and calls Done.
func (j *Journal) publish(w *write) {
	for _, r := range w.requests {
		if r.applied && r.state.CompareAndSwap(requestPending, requestAccepted) {
			j.releaseKey(r)
		}
	}
	j.publishCounts(w)
	groups := j.publishGroups(w)
	var ended []job.ID
	for _, d := range w.jobDeltas {
		if d.a.rejected() {
			continue
		}
		j.meter.Observe(d.a.durable.Swap(d.view), d.view)
		if d.view.State.Terminal() {
			ended = append(ended, d.a.id)
		}
		j.watchers.signal(d.a.id)
	}
	for key := range groups {
		j.watchers.signal(job.GroupID(key.tenant, key.name))
	}
	for _, r := range w.requests {
		if r.applied && r.rejectable && r.state.Load() == requestRejected {
			j.undoRejected(r)
		}
	}
	j.deliveries.publish(w.due)
	j.queue.finish(w, ended)
	j.met.committed(w, j.h.now())
	j.countWritten(w.bytes)
	for _, r := range w.requests {
		if r.applied && r.state.Load() == requestAccepted {
			if r.durable != nil {
				r.durable()
			}
			if r.done != nil {
				r.done(nil)
			}
		}
		if r.rejection != nil {
			j.releaseKey(r)
			j.reject(r, r.rejection)
		}
		r.entries = nil
	}
}

// failWrite rejects the requests of a write that failed.
func (j *Journal) failWrite(w *write, err error) {
	j.queue.finish(w, nil)
	for _, r := range w.requests {
		j.releaseKey(r)
		if r.submits {
			j.reject(r, newRejection("journal-broken", err.Error(), 0))
		} else {
			j.reject(r, storageError(err))
		}
	}
}

// storageError wraps an error with job.ErrStorage.
func storageError(err error) error {
	if errors.Is(err, job.ErrStorage) {
		return err
	}
	return fmt.Errorf("%w: %w", job.ErrStorage, err)
}

// reject calls the request's Done with the error, unless the request has an outcome already.
func (j *Journal) reject(r *request, err error) {
	if r.state.CompareAndSwap(requestPending, requestRejected) && r.done != nil {
		r.done(err)
	}
}

// releaseKey releases the reservation of a request's idempotency key: before the outcome is reported, because the client may then send the
// request again.
func (j *Journal) releaseKey(r *request) {
	if r.key != nil {
		j.keys.release(hashKey(*r.key))
	}
}

// undoGrace is the time for which a deleted rejected job stays hidden in memory: longer than any read takes.
const undoGrace = time.Minute

// undoRejected deletes a submission that was rejected while it waited for a broken disk, and then reached the disk. Until the
// deletion is durable the jobs stay hidden and the key stays in progress.
func (j *Journal) undoRejected(r *request) {
	ids := make([]job.ID, 0, len(r.entries))
	tenants := make([]string, 0, len(r.entries))
	for _, e := range r.entries {
		for _, ev := range e.Events {
			if s, ok := ev.(job.Submitted); ok {
				ids, tenants = append(ids, e.ID), append(tenants, s.Job.Tenant)
			}
		}
	}
	key := r.key
	undo := &request{bytes: int64(128 * len(ids))}
	undo.op = func(b *pebble.Batch) func() {
		for i, id := range ids {
			purgeJob(b, tenants[i], id)
			j.dropDeliveries([]jobRef{{tenants[i], id}})
			a := j.jobs.m[id]
			if a == nil {
				continue
			}
			if a.counted {
				j.results.add(tenants[i], -a.results.Swap(0))
			}
			if a.head.State.Terminal() {
				visitIndex(nil, &a.head, func(key []byte) { _ = b.Delete(key, nil) })
				j.counts.addEnded(countKey{a.head.Tenant, a.head.Kind}, a.head.State, -1)
				if a.head.Group != "" {
					j.uncountInGroup(removedJob{group: groupOf(&a.head), state: a.head.State, progress: a.head.Progress})
					_ = b.Delete(appendGroupIndexKey(nil, &a.head), nil)
					_ = b.Delete(appendEndKey(nil, groupOf(&a.head), a.groupSeq), nil)
				}
			}
		}
		if key != nil {
			_ = b.Delete(appendKeyKey(nil, hashKey(*key)), nil)
		}
		return func() {
			// A list that has started may still contain the job, and checks memory.
			j.h.after(undoGrace, func() { j.queue.drop(ids) })
			if key != nil {
				j.keys.release(hashKey(*key))
			}
		}
	}
	j.queue.force(undo)
}

// purgeJob adds the deletion of all keys of a job to a batch.
func purgeJob(b *pebble.Batch, tenant string, id job.ID) {
	for _, space := range [...]byte{spaceActive, spaceEnded, spaceResults} {
		_ = b.Delete(appendJobKey(nil, space, tenant, id), nil)
	}
	_ = b.Delete(appendIDKey(nil, spaceSpec, id), nil)
	for _, space := range [...]byte{spaceLog, spaceOrder} {
		prefix := appendIDKey(nil, space, id)
		_ = b.DeleteRange(prefix, keyAfter(prefix), nil)
	}
}
