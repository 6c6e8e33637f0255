package journal

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// runPublisher makes writes visible, in order, as they become durable.
func (j *Journal) runPublisher() {
	for w := range j.writes {
		j.publish(w, w.batch.SyncWait())
		// An error here is a fault in releasing memory; the data is on disk.
		if err := w.batch.Close(); err != nil {
			j.log.Warn("closing a batch", "error", err)
		}
		<-j.slots
	}
}

func (j *Journal) publish(w *write, err error) {
	if err != nil {
		j.health.die(fmt.Errorf("sync: %w", err))
	} else if dead := j.health.dead(); dead != nil {
		err = dead
	}
	if err != nil {
		for _, it := range w.items {
			j.refuse(it, storage("broken", "the storage engine has failed", 0))
		}
		j.queue.finish(w, nil)
		return
	}
	// First decide which submissions are accepted, then show, then tell.
	for _, it := range w.items {
		if it.folded && it.state.CompareAndSwap(itemWaiting, itemSettled) && it.key != nil {
			j.keys.release(hashKey(*it.key))
		}
	}
	var ended []job.ID
	for _, t := range w.touches {
		if t.a.refused() {
			continue
		}
		t.a.durable.Store(t.view)
		if t.view.State.Terminal() {
			ended = append(ended, t.a.id)
		}
		j.watchers.signal(t.a.id)
	}
	j.queue.finish(w, ended)
	j.met.committed(w, j.h.now())
	for _, it := range w.items {
		switch {
		case !it.folded:
		case it.state.Load() == itemSettled:
			if it.durable != nil {
				it.durable()
			}
			if it.done != nil {
				it.done(nil)
			}
		case it.submits:
			j.erase(it)
		}
		it.entries = nil
	}
}

// refuse tells the caller that a batch was refused. A key is free again, unless the batch has reached Pebble: then it
// is freed with the jobs.
func (j *Journal) refuse(it *item, err error) {
	if !it.state.CompareAndSwap(itemWaiting, itemRefused) {
		return
	}
	if it.key != nil && !it.folded {
		j.keys.release(hashKey(*it.key))
	}
	if it.done != nil {
		it.done(err)
	}
}

// erase removes a submission that was refused while it waited for a broken disk, and that the disk then took after all.
// Until that is durable its jobs stay hidden and its key in progress.
func (j *Journal) erase(it *item) {
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
	eraser := &item{bytes: int64(128 * len(ids))}
	eraser.control = func(b *pebble.Batch) func() {
		for i, id := range ids {
			eraseJob(b, tenants[i], id)
		}
		if key != nil {
			_ = b.Delete(appendKeyKey(nil, hashKey(*key)), nil)
		}
		return func() {
			j.queue.drop(ids)
			if key != nil {
				j.keys.release(hashKey(*key))
			}
		}
	}
	j.queue.force(eraser)
}

// eraseJob removes every trace of a job.
func eraseJob(b *pebble.Batch, tenant string, id job.ID) {
	for _, space := range [...]byte{spaceActive, spaceEnded} {
		_ = b.Delete(appendJobKey(nil, space, tenant, id), nil)
	}
	_ = b.Delete(appendIDKey(nil, spaceSpec, id), nil)
	for _, space := range [...]byte{spaceLog, spaceOrder} {
		prefix := appendIDKey(nil, space, id)
		_ = b.DeleteRange(prefix, keyAfter(prefix), nil)
	}
}
