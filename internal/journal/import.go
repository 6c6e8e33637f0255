package journal

import (
	"cmp"
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
// writes. An import returns when the record is durable, or when ctx is done; it blocks while MaxPendingBytes wait for the
// disk. It returns job.ErrExists if the record exists already, or an error of the disk. On a single server it also fails while
// Ready does; a replica waits for its disk.

// ImportJob adds a job with its spec, its whole log and its deliveries, as Export visits it. It returns job.ErrExists if the journal has a
// job or a tombstone with this id, and job.ErrCorrupt if the log does not lead to the view. The whole log is held in memory
// and added in one write.
func (j *Journal) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, deliveries job.Deliveries) error {
	if !j.c.Replica { // the cluster has done it
		var err error
		view, log, err = job.SettleImported(view, log, j.now(), func(id job.ID) (job.Job, error) { return j.Get(ctx, view.Tenant, id) })
		if err != nil {
			return err
		}
	}
	events, err := job.Rebuild(view, spec, log)
	if err != nil {
		return err
	}
	inner := &request{entries: []job.Entry{{ID: view.ID, Events: events}}}
	inner.measure()
	return j.importOne(ctx, inner.bytes, func(b *pebble.Batch) (func(), error) {
		if err := j.checkAbsent(b, view.Tenant, view.ID); err != nil {
			return nil, err
		}
		if len(deliveries) > 0 {
			j.deliveries.staged[view.ID] = &stagedDeliveries{jobRef: jobRef{view.Tenant, view.ID}, after: deliveries}
		}
		return j.importJob(b, inner)
	})
}

// ImportKey adds an idempotency key. It returns job.ErrExists if the key is in use and has not expired.
func (j *Journal) ImportKey(ctx context.Context, k job.KeyRecord) error {
	r := keyRecord{expires: j.due(k.Expires, forever), fingerprint: k.Fingerprint, ids: k.IDs}
	return j.importOne(ctx, int64(256+16*len(k.IDs)), func(b *pebble.Batch) (func(), error) {
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

// ImportTombstone adds the tombstone of a job. It returns job.ErrExists if the journal has the job or its tombstone.
func (j *Journal) ImportTombstone(ctx context.Context, t job.Tombstone) error {
	return j.importOne(ctx, 256, func(b *pebble.Batch) (func(), error) {
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

// importOne queues an import and waits for its outcome. The writer calls add, which adds nothing to the batch if it returns an
// error, and calls the function that add returned when the write is durable.
func (j *Journal) importOne(ctx context.Context, bytes int64, add func(b *pebble.Batch) (durable func(), err error)) error {
	if !j.c.Replica {
		if err := j.Ready(); err != nil {
			return err
		}
	}
	var outcome error // the writer's
	result := make(chan error, 1)
	req := &request{bytes: importBytes + bytes, done: func(err error) { result <- cmp.Or(err, outcome) }}
	req.op = func(b *pebble.Batch) func() {
		durable, err := add(b)
		outcome = err
		return durable
	}
	if err := j.queue.waitRoom(ctx, req.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	if err := j.enqueue(req, 0); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
			j.counts.moveUnfinished(nil, view)
			j.groups.moveUnfinished(j, nil, view)
		}
		j.watchers.signal(a.id)
		if view.State.Terminal() {
			j.queue.drop([]job.ID{a.id})
		}
	}, nil
}
