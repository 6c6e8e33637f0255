package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// # Replica of a cluster node
//
// In a cluster the durable record is the log that all nodes read, and a Journal with Config.View is one node's replica of it.
// The node applies the log in order with ApplyReplicated, which rejects no submission for the health of the disk. Nothing is
// fsynced: after a power cut the replica is an earlier state, and the metadata, which is written in the same order, records
// how far the log is applied.

// Metadata is a named value of a replica. A nil value deletes the name.
type Metadata struct {
	Name  string
	Value []byte
}

// ApplyReplicated appends events of the log. Unlike Append it blocks, until ctx is done, while the disk fails or too much waits
// for it. A batch with an invalid event is rejected with job.ErrTransition. The metadata is written atomically with the batch,
// also if the batch is rejected.
func (j *Journal) ApplyReplicated(ctx context.Context, b job.Batch, metadata ...Metadata) error {
	req := &request{entries: b.Entries, done: b.Done, key: b.Key, metadata: metadata}
	req.measure()
	for _, m := range metadata {
		req.bytes += int64(len(m.Name) + len(m.Value))
	}
	req.submits, req.rejectable = false, false
	if err := j.queue.waitRoom(ctx, req.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	return j.queue.put(req, 0, j.c.MaxPendingBytes)
}

// DeleteReplicated applies a delete of the log. It is not rejected while the disk fails, and ignores a missing job.
func (j *Journal) DeleteReplicated(ctx context.Context, tenant string, id job.ID) error {
	v, err := j.Get(ctx, tenant, id)
	switch {
	case isGone(err):
		return nil
	case err != nil:
		return err
	case !v.State.Terminal():
		return job.ErrNotFinished
	}
	return j.runInWriter(ctx, []job.ID{id}, false, func(b *removal) error {
		return j.deleteWithTombstone(b, []jobRef{{tenant: tenant, id: id}})
	})
}

// Flush waits until all requests queued before are written, or ctx is done.
func (j *Journal) Flush(ctx context.Context) error {
	return j.runInWriter(ctx, nil, false, func(*removal) error { return nil })
}

// Metadata returns the value of a name; nil if it is not set.
func (j *Journal) Metadata(ctx context.Context, name string) (value []byte, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		_, err := get(db, appendMetadataKey(name), func(v []byte) error {
			value = append([]byte{}, v...)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read metadata %s: %w", name, err)
		}
		return nil
	})
	return value, err
}

// ScanMetadata visits the values whose names begin with a prefix, in the order of their names. A value is valid until visit
// returns.
func (j *Journal) ScanMetadata(ctx context.Context, prefix string, visit func(name string, value []byte) error) error {
	return j.read(ctx, func(db *pebble.DB) error {
		low := appendMetadataKey(prefix)
		return scan(ctx, db, low, keyAfter(low), func(key, value []byte) error { return visit(string(key[1:]), value) })
	})
}

func appendMetadataKey(name string) []byte { return append([]byte{spaceMetadata}, name...) }

// Clear deletes everything, the metadata included, and signals all watchers, before a replica is rebuilt. The caller must
// have called Flush.
func (j *Journal) Clear(ctx context.Context) error {
	ids := j.jobs.ids()
	err := j.runInWriter(ctx, ids, false, func(b *removal) error {
		b.all = true
		for _, space := range [...]byte{
			spaceActive, spaceSpec, spaceEnded, spaceLog, spaceOrder, spaceTombstone, spaceKey, spaceExpiry, spaceMetadata, spaceResults,
			spaceCount, spaceIndex, spaceGroup, spaceGroupEnd, spaceDeliveries, spaceDue,
		} {
			if err := b.DeleteRange([]byte{space}, []byte{space + 1}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		j.results.reset()
		j.meter.Reset()
		j.watchers.signalAll()
	}
	return err
}

// KeyUsed returns the jobs that were submitted with an idempotency key; none if it was not used or had expired at the given
// time.
func (j *Journal) KeyUsed(ctx context.Context, key job.Key, at time.Time) (ids []job.ID, fingerprint [32]byte, err error) {
	r, _, err := j.keyRecord(ctx, hashKey(key), at)
	return r.ids, r.fingerprint, err
}

// Spec returns the spec of a job, or nil if it is longer than limit and limit is not 0. It returns job.ErrNotFound for a
// missing job, and for a job that ended under a version that deleted the spec.
func (j *Journal) Spec(ctx context.Context, tenant string, id job.ID, limit int) (spec []byte, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		spec, err = readSpec(db, tenant, id, limit)
		if errors.Is(err, pebble.ErrNotFound) {
			return job.ErrNotFound
		}
		return err
	})
	return spec, err
}

// LastExpiry returns the latest expiry of a finished job; the zero time if there is none.
func (j *Journal) LastExpiry(ctx context.Context) (last time.Time, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{spaceExpiry}, UpperBound: []byte{spaceExpiry + 1}})
		if err != nil {
			return err
		}
		defer func() { _ = it.Close() }()
		for ok := it.Last(); ok; ok = it.Prev() {
			kind, err := parseExpiry(it.Key())
			if err != nil {
				return err
			}
			if kind == expiryJob {
				last = time.UnixMilli(int64(binary.BigEndian.Uint64(it.Key()[1:]))).UTC()
				return nil
			}
		}
		return it.Error()
	})
	return last, err
}
