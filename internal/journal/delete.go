package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Delete removes a terminal job and leaves a tombstone, durably. The error is job.ErrNotFinished for a job that has not
// ended, job.ErrNotFound or job.ErrExpired as from Get, or job.ErrStorage while the disk fails: then the job may be
// removed later. A delete is accepted while free space is low, because it frees space.
func (j *Journal) Delete(ctx context.Context, tenant string, id job.ID) error {
	v, err := j.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	if !v.State.Terminal() {
		return job.ErrNotFinished
	}
	return j.control(ctx, []job.ID{id}, true, func(b *removal) error {
		return j.bury(b, []doomed{{tenant: tenant, id: id}})
	})
}

// control makes the operations that build adds to a batch part of a write, and waits until they are durable; if prompt, not
// while the disk fails. The ended jobs that they remove are ids.
func (j *Journal) control(ctx context.Context, ids []job.ID, prompt bool, build func(b *removal) error) error {
	// Build the batch outside the writer goroutine, so that its reads do not delay other writes and its errors do not
	// fail them.
	var own *removal
	err := j.read(ctx, func(db *pebble.DB) error {
		own = &removal{Batch: db.NewBatch()}
		return build(own)
	})
	if own == nil {
		return err
	}
	if err != nil {
		j.results.finish(own.freed, false)
		return errors.Join(err, own.Close())
	}
	result := make(chan error, 1)
	it := &request{bytes: int64(own.Len()), done: func(err error) { result <- err }}
	it.control = func(b *pebble.Batch) func() {
		// Apply fails only for a batch that was not made by this package of Pebble.
		_ = b.Apply(own.Batch, nil)
		_ = own.Close()
		// They may still be in memory, if they ended a moment ago.
		j.jobs.remove(ids)
		return func() {
			j.results.finish(own.freed, true)
			for _, id := range ids {
				j.watchers.signal(id)
			}
		}
	}
	if prompt {
		it.makePrompt()
	}
	if err := j.enqueue(it, 0); err != nil {
		j.results.finish(own.freed, false)
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A removal is the batch of an operation that deletes.
type removal struct {
	*pebble.Batch
	// freed has the deleted jobs, and the bytes that each frees.
	freed []freedJob
}

// doomed is a job to bury.
type doomed struct {
	tenant string
	id     job.ID
}

// manyKeys is how many keys of a job are deleted one by one. A range deletion costs every later read a little, until it
// is compacted away; many single ones cost more.
const manyKeys = 64

// bury removes terminal jobs and leaves tombstones.
func (j *Journal) bury(b *removal, jobs []doomed) error {
	it, err := j.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("delete jobs: %w", err)
	}
	defer func() { _ = it.Close() }()
	expires := j.now().Add(j.c.TombstoneRetention)
	var w write
	for _, d := range jobs {
		key := appendJobKey(nil, spaceEnded, d.tenant, d.id)
		_ = b.Delete(key, nil)
		if err := b.free(j.db, &j.results, d); err != nil {
			return err
		}
		for _, space := range [...]byte{spaceLog, spaceOrder} {
			if err := clearJob(b.Batch, it, space, d.id); err != nil {
				return fmt.Errorf("delete job %s: %w", d.id, err)
			}
		}
		if j.c.TombstoneRetention == NoTombstones {
			continue
		}
		key[0] = spaceTombstone
		_ = b.Set(key, binary.AppendVarint(nil, expires.UnixMilli()), nil)
		w.expire(expires, expiryTombstone, d.id[:], key[1:])
	}
	w.storeExpiries(b.Batch)
	return nil
}

// clearJob deletes a job's keys of one space.
func clearJob(b *pebble.Batch, it *pebble.Iterator, space byte, id job.ID) error {
	prefix := appendIDKey(nil, space, id)
	end := keyAfter(prefix)
	it.SetBounds(prefix, end)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > manyKeys {
			return b.DeleteRange(prefix, end, nil)
		}
		if err := b.Delete(it.Key(), nil); err != nil {
			return err
		}
	}
	return it.Error()
}

func isGone(err error) bool { return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) }
