package journal

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// # Import
//
// A record from another journal is added as a whole, at its place in the queue: behind earlier appends, and before later
// ones. The writer, which sees everything before, checks whether it exists already, so that the outcome does not depend
// on how the queue is cut into writes. Done is called as by Append, from the journal's goroutine, and must not block:
// with nil when all of it is durable, with job.ErrExists when it exists, or with the error of the disk. An import blocks
// while MaxPendingBytes wait for the disk, until ctx is done, and does not call done when it returns an error.

// ImportJob adds a job with its spec and its whole log, as Export visits it; the job is then as any other. It is
// job.ErrExists when the journal has a job of this id, or a tombstone of one, and job.ErrCorrupt, immediately, when the
// log does not lead to the view. The whole log is in memory, and one write.
func (j *Journal) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, done func(error)) error {
	events, err := job.Rebuild(view, spec, log)
	if err != nil {
		return err
	}
	inner := &request{entries: []job.Entry{{ID: view.ID, Events: events}}}
	inner.measure()
	return j.importOne(ctx, inner.bytes, done, func(b *pebble.Batch) (func(), error) {
		if err := j.known(b, view.Tenant, view.ID); err != nil {
			return nil, err
		}
		return j.importJob(b, inner)
	})
}

// ImportKey adds an idempotency key; job.ErrExists when it is used already and that use has not expired.
func (j *Journal) ImportKey(ctx context.Context, k job.KeyRecord, done func(error)) error {
	r := keyRecord{expires: j.due(k.Expires, forever), fingerprint: k.Fingerprint, ids: k.IDs}
	return j.importOne(ctx, int64(256+16*len(k.IDs)), done, func(b *pebble.Batch) (func(), error) {
		key := appendKeyKey(nil, k.Hash)
		old, found, err := j.lookUp(b, key)
		if err != nil {
			return nil, err
		}
		if found {
			if r, err := parseKeyRecord(old); err != nil || j.now().Before(r.expires) {
				return nil, errors.Join(err, job.ErrExists)
			}
		}
		_ = b.Set(key, r.append(nil), nil)
		var w write
		w.expire(r.expires, expiryKey, k.Hash[:16], k.Hash[:])
		w.storeExpiries(b)
		return nil, nil
	})
}

// ImportTombstone adds the tombstone of a job; job.ErrExists when the journal has the job, or a tombstone of it.
func (j *Journal) ImportTombstone(ctx context.Context, t job.Tombstone, done func(error)) error {
	return j.importOne(ctx, 256, done, func(b *pebble.Batch) (func(), error) {
		if err := j.known(b, t.Tenant, t.ID); err != nil {
			return nil, err
		}
		key := appendJobKey(nil, spaceTombstone, t.Tenant, t.ID)
		expires := j.due(t.Expires, forever)
		_ = b.Set(key, binary.AppendVarint(nil, expires.UnixMilli()), nil)
		var w write
		w.expire(expires, expiryTombstone, t.ID[:], key[1:])
		w.storeExpiries(b)
		return nil, nil
	})
}

// importBytes is what an import counts for beside its size. It bounds the number of imports in one write, because each
// of them is compared with the others.
const importBytes = 4 << 10

// importOne adds an import to a write. The writer calls add, which adds nothing when it returns an error; the function
// that add returns is called when the write is durable.
func (j *Journal) importOne(ctx context.Context, bytes int64, done func(error), add func(b *pebble.Batch) (durable func(), err error)) error {
	var outcome error // the writer's
	it := &request{bytes: importBytes + bytes}
	it.done = func(err error) {
		if err == nil {
			err = outcome
		}
		done(err)
	}
	it.control = func(b *pebble.Batch) func() {
		durable, err := add(b)
		outcome = err
		return durable
	}
	if err := j.queue.waitRoom(ctx, it.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	return j.enqueue(it, 0)
}

// known returns job.ErrExists when there is a job, or a tombstone of it, before the end of a batch that is being built.
func (j *Journal) known(b *pebble.Batch, tenant string, id job.ID) error {
	if j.jobs.m[id] != nil {
		return job.ErrExists
	}
	for _, space := range [...]byte{spaceEnded, spaceTombstone} {
		_, found, err := j.lookUp(b, appendJobKey(nil, space, tenant, id))
		if err != nil {
			return err
		}
		if found {
			return job.ErrExists
		}
	}
	return nil
}

// lookUp returns the value of a key as the batch, which is being built, will leave it.
func (j *Journal) lookUp(b *pebble.Batch, key []byte) (value []byte, found bool, err error) {
	v, closer, err := j.db.Get(key)
	switch {
	case err == nil:
		value, found = append([]byte{}, v...), true
		if err := closer.Close(); err != nil {
			return nil, false, stored(err)
		}
	case !errors.Is(err, pebble.ErrNotFound):
		return nil, false, stored(err)
	}
	r := b.Reader()
	for {
		kind, k, v, ok, err := r.Next()
		if err != nil {
			return nil, false, stored(err)
		}
		if !ok {
			return value, found, nil
		}
		if string(k) == string(key) {
			value, found = append([]byte{}, v...), kind == pebble.InternalKeyKindSet
		}
	}
}

// importJob adds a job to the batch, and to memory. It is a write within the one that is being built, so that the job's
// items are found by index although it may have ended.
func (j *Journal) importJob(batch *pebble.Batch, it *request) (durable func(), err error) {
	w := &write{batch: batch}
	b := &builder{j: j}
	if err := b.fold(w, it); err != nil {
		return nil, err
	}
	t := w.jobDeltas[0] // of the one entry, which has events
	t.first = !t.a.head.State.Terminal()
	b.finish(w, t)
	w.storeExpiries(batch)
	a, view := t.a, t.view
	return func() {
		// Events that were appended after it may be in the same write, and have been published.
		a.durable.CompareAndSwap(nil, view)
		j.watchers.signal(a.id)
		if view.State.Terminal() {
			j.queue.drop([]job.ID{a.id})
		}
	}, nil
}
