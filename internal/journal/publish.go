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
	for _, it := range w.items {
		if it.applied && it.state.CompareAndSwap(itemWaiting, itemSettled) {
			j.release(it)
		}
	}
	var ended []job.ID
	for _, t := range w.jobDeltas {
		if t.a.refused() {
			continue
		}
		t.a.durable.Store(t.view)
		if t.view.State.Terminal() {
			ended = append(ended, t.a.id)
		}
		j.watchers.signal(t.a.id)
	}
	for _, it := range w.items {
		if it.applied && it.refusable && it.state.Load() == itemRefused {
			j.erase(it)
		}
	}
	j.queue.finish(w, ended)
	j.met.committed(w, j.h.now())
	j.wrote(w.bytes)
	for _, it := range w.items {
		if it.applied && it.state.Load() == itemSettled {
			if it.durable != nil {
				it.durable()
			}
			if it.done != nil {
				it.done(nil)
			}
		}
		it.entries = nil
	}
}

// abandon refuses a write that will never be durable.
func (j *Journal) abandon(w *write, err error) {
	j.queue.finish(w, nil)
	for _, it := range w.items {
		if it.submits {
			j.refuse(it, storage("journal-broken", err.Error(), 0))
		} else {
			j.refuse(it, stored(err))
		}
		j.release(it)
	}
}

// stored makes an error a job.ErrStorage.
func stored(err error) error {
	if errors.Is(err, job.ErrStorage) {
		return err
	}
	return fmt.Errorf("%w: %w", job.ErrStorage, err)
}

// refuse reports to the caller that a batch was rejected, once.
func (j *Journal) refuse(it *request, err error) {
	if it.state.CompareAndSwap(itemWaiting, itemRefused) && it.done != nil {
		it.done(err)
	}
}

// release frees an item's idempotency key, once Pebble holds it for good or not at all.
func (j *Journal) release(it *request) {
	if it.key != nil {
		j.keys.release(hashKey(*it.key))
	}
}

// eraseLinger is how long an erased job is remembered as one that is not to be seen: longer than any read takes.
const eraseLinger = time.Minute

// erase removes a submission that was refused while it waited for a broken disk, and that the disk then took after all.
// Until that is durable its jobs stay hidden and its key in progress.
func (j *Journal) erase(it *request) {
	ids := make([]job.ID, 0, len(it.entries))
	tenants := make([]string, 0, len(it.entries))
	for _, e := range it.entries {
		for _, ev := range e.Events {
			if s, ok := ev.(job.Submitted); ok {
				ids, tenants = append(ids, e.ID), append(tenants, s.Job.Tenant)
			}
		}
	}
	key := it.key
	eraser := &request{bytes: int64(128 * len(ids))}
	eraser.control = func(b *pebble.Batch) func() {
		for i, id := range ids {
			eraseJob(b, tenants[i], id)
			if a := j.jobs.m[id]; a != nil && a.counted {
				j.results.add(tenants[i], -a.results.Swap(0))
			}
		}
		if key != nil {
			_ = b.Delete(appendKeyKey(nil, hashKey(*key)), nil)
		}
		return func() {
			// A listing that began before may still contain it, and reads memory.
			j.h.after(eraseLinger, func() { j.queue.drop(ids) })
			if key != nil {
				j.keys.release(hashKey(*key))
			}
		}
	}
	j.queue.force(eraser)
}

// eraseJob removes every trace of a job.
func eraseJob(b *pebble.Batch, tenant string, id job.ID) {
	for _, space := range [...]byte{spaceActive, spaceEnded, spaceResults} {
		_ = b.Delete(appendJobKey(nil, space, tenant, id), nil)
	}
	_ = b.Delete(appendIDKey(nil, spaceSpec, id), nil)
	for _, space := range [...]byte{spaceLog, spaceOrder} {
		prefix := appendIDKey(nil, space, id)
		_ = b.DeleteRange(prefix, keyAfter(prefix), nil)
	}
}
