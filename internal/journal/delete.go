package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Delete durably removes a terminal job and leaves a tombstone. It returns job.ErrNotFinished for an unfinished job,
// job.ErrNotFound or job.ErrExpired as Get does, or job.ErrStorage while the disk fails; the job may then still be removed
// later. Deletes are accepted while free space is low, because they free space.
func (j *Journal) Delete(ctx context.Context, tenant string, id job.ID) error {
	v, err := j.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	if !v.State.Terminal() {
		return job.ErrNotFinished
	}
	return j.runInWriter(ctx, []job.ID{id}, true, func(b *removal) error {
		return j.deleteWithTombstone(b, []jobRef{{tenant: tenant, id: id}})
	})
}

// runInWriter adds the batch that build fills to the next write, and waits until it is durable or ctx is done; a prompt one
// returns an error as soon as the disk fails. ids are the ended jobs that the batch removes.
func (j *Journal) runInWriter(ctx context.Context, ids []job.ID, prompt bool, build func(b *removal) error) error {
	// Build the batch outside the writer goroutine, so that its reads do not delay other writes and its errors do not
	// fail them.
	var own *removal
	err := j.read(ctx, func(db *pebble.DB) error {
		own = &removal{Batch: db.NewBatch(), generation: j.generation.Load()}
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
	req := &request{bytes: int64(own.Len()), done: func(err error) { result <- err }}
	req.op = func(b *pebble.Batch) func() {
		if own.generation != j.generation.Load() { // it was built from content that is gone
			_ = own.Close()
			return func() { j.results.finish(own.freed, false) }
		}
		// Apply fails only for a batch that was not made by this package of Pebble.
		_ = b.Apply(own.Batch, nil)
		_ = own.Close()
		if own.all {
			j.generation.Add(1)
			j.counts.reset()
			j.groups.reset()
			j.deliveries.reset()
		}
		j.counts.uncount(own.removed)
		for _, r := range own.removed {
			j.uncountInGroup(r)
		}
		j.dropDeliveries(own.delivered)
		// Jobs that have just ended are still in memory.
		j.jobs.remove(ids)
		generation := j.generation.Load()
		return func() {
			if own.all {
				j.generation.Add(1)
				generation++
			}
			j.results.finish(own.freed, generation == j.generation.Load())
			for _, id := range ids {
				j.watchers.signal(id)
			}
		}
	}
	if prompt {
		req.makePrompt()
	}
	if err := j.enqueue(req, 0); err != nil {
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

// A removal is a batch that deletes jobs.
type removal struct {
	*pebble.Batch
	// freed lists the deleted jobs and the bytes that each frees.
	freed []freedJob
	// removed lists the deleted jobs that are counted.
	removed []removedJob
	// delivered lists the deleted jobs with webhooks.
	delivered []jobRef
	// all is true if everything is deleted.
	all bool
	// generation is the generation of the content that the batch was built from.
	generation uint64
}

// A jobRef identifies a job in the engine's keys.
type jobRef struct {
	tenant string
	id     job.ID
}

// manyKeys is the number of keys of a job above which they are deleted as a range. A range deletion slows every later read
// until it is compacted away; many single deletions cost more.
const manyKeys = 64

// deleteWithTombstone adds the deletion of terminal jobs and their tombstones to a batch.
func (j *Journal) deleteWithTombstone(b *removal, jobs []jobRef) error {
	it, err := j.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("delete jobs: %w", err)
	}
	defer func() { _ = it.Close() }()
	expires := j.now().Add(j.c.TombstoneRetention)
	var w write
	for _, d := range jobs {
		key := appendJobKey(nil, spaceEnded, d.tenant, d.id)
		// Another deletion of the job, if one is in progress, subtracts it from the counts.
		first := j.results.claimDelete(d.id)
		if first {
			b.freed = append(b.freed, freedJob{jobRef: d}) // ends the claim also after an error
			if err := b.free(j.db, d); err != nil {
				return err
			}
		}
		if err := b.deleteEnded(j.db, d.id, key, first); err != nil {
			return fmt.Errorf("delete job %s: %w", d.id, err)
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

// clearJob adds the deletion of a job's keys of one space to a batch.
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
