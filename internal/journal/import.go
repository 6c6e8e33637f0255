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
// An import adds a record of another journal atomically, in queue order with appends. The writer checks whether the record
// exists already, because it sees all earlier requests, so the outcome does not depend on how requests are grouped into
// writes. The journal's goroutine calls done, which must not block: with nil when the record is durable, with job.ErrExists
// when it exists already, or with the error of the disk. An import blocks, until ctx is done, while MaxPendingBytes wait for
// the disk, and does not call done when it returns an error.

// ImportJob adds a job with its spec and its whole log, as Export visits it. The outcome is job.ErrExists if the journal has a
// job or a tombstone with this id. ImportJob returns job.ErrCorrupt if the log does not lead to the view. The whole log is held
// in memory and added in one write.
func (j *Journal) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, done func(error)) error {
	events, err := job.Rebuild(view, spec, log)
	if err != nil {
		return err
	}
	inner := &request{entries: []job.Entry{{ID: view.ID, Events: events}}}
	inner.measure()
	return j.importOne(ctx, inner.bytes, done, func(b *pebble.Batch) (func(), error) {
		if err := j.checkAbsent(b, view.Tenant, view.ID); err != nil {
			return nil, err
		}
		return j.importJob(b, inner)
	})
}

// ImportKey adds an idempotency key. The outcome is job.ErrExists if the key is in use and has not expired.
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

// ImportTombstone adds the tombstone of a job. The outcome is job.ErrExists if the journal has the job or its tombstone.
func (j *Journal) ImportTombstone(ctx context.Context, t job.Tombstone, done func(error)) error {
	return j.importOne(ctx, 256, done, func(b *pebble.Batch) (func(), error) {
		if err := j.checkAbsent(b, t.Tenant, t.ID); err != nil {
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

// importBytes is added to the size of each import. It bounds the number of imports in one write, because each import is
// compared with the others of the write.
const importBytes = 4 << 10

// importOne queues an import. The writer calls add, which adds nothing to the batch if it returns an error, and calls the
// function that add returned when the write is durable.
func (j *Journal) importOne(ctx context.Context, bytes int64, done func(error), add func(b *pebble.Batch) (durable func(), err error)) error {
	var outcome error // the writer's
	req := &request{bytes: importBytes + bytes}
	req.done = func(err error) {
		if err == nil {
			err = outcome
		}
		done(err)
	}
	req.op = func(b *pebble.Batch) func() {
		durable, err := add(b)
		outcome = err
		return durable
	}
	if err := j.queue.waitRoom(ctx, req.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	return j.enqueue(req, 0)
}

// checkAbsent returns job.ErrExists if a job or its tombstone exists on disk, in memory or in the batch that is being built.
func (j *Journal) checkAbsent(b *pebble.Batch, tenant string, id job.ID) error {
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

// lookUp returns the value that a key will have after the batch that is being built.
func (j *Journal) lookUp(b *pebble.Batch, key []byte) (value []byte, found bool, err error) {
	found, err = get(j.db, key, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	if err != nil {
		return nil, false, storageError(err)
	}
	r := b.Reader()
	for {
		kind, k, v, ok, err := r.Next()
		if err != nil {
			return nil, false, storageError(err)
		}
		if !ok {
			return value, found, nil
		}
		if string(k) == string(key) {
			value, found = append([]byte{}, v...), kind == pebble.InternalKeyKindSet
		}
	}
}

// importJob adds a job to the batch and to memory. It uses a write of its own, so that the items are indexed even if the job
// has ended.
func (j *Journal) importJob(batch *pebble.Batch, req *request) (durable func(), err error) {
	w := &write{batch: batch}
	b := &builder{j: j}
	if err := b.apply(w, req); err != nil {
		return nil, err
	}
	d := w.jobDeltas[0] // the only entry has events
	d.first = !d.a.head.State.Terminal()
	b.finish(w, d)
	w.storeExpiries(batch)
	a, view := d.a, d.view
	return func() {
		// Events appended after the import may be in the same write, and are published before.
		if a.durable.CompareAndSwap(nil, view) && !view.State.Terminal() {
			j.meter.Restore(view)
		}
		j.watchers.signal(a.id)
		if view.State.Terminal() {
			j.queue.drop([]job.ID{a.id})
		}
	}, nil
}
