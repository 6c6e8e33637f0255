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

// # As the replica of a node
//
// In a cluster the record is a log that all nodes read, and a Journal (with Config.View) is the state that one node has
// made of it so far. It decides nothing: Follow applies the log in its order, and is never rejected. Nothing is forced
// to disk either: after a power cut the replica is one of an earlier moment, and notes, which are written in the same
// order, record how far the log is applied.

// A Note is a value that is kept under a name; a nil value removes it.
type Note struct {
	Name  string
	Value []byte
}

// Follow is Append for events that the log has decided: while the disk fails, or too much waits for it, Follow blocks
// until ctx is done. An event that is not legal still rejects its batch, with job.ErrTransition. The notes are written
// together with the batch, whatever its outcome: a crash keeps both or neither.
func (j *Journal) Follow(ctx context.Context, b job.Batch, notes ...Note) error {
	it := &request{entries: b.Entries, done: b.Done, key: b.Key, notes: notes}
	it.measure()
	for _, n := range notes {
		it.bytes += int64(len(n.Name) + len(n.Value))
	}
	it.submits, it.refusable = false, false
	if err := j.queue.waitRoom(ctx, it.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	return j.queue.put(it, 0, j.c.MaxPendingBytes)
}

// Drop is Delete for a delete that the log has decided: it is never rejected. A missing job is no error.
func (j *Journal) Drop(ctx context.Context, tenant string, id job.ID) error {
	v, err := j.Get(ctx, tenant, id)
	switch {
	case isGone(err):
		return nil
	case err != nil:
		return err
	case !v.State.Terminal():
		return job.ErrNotFinished
	}
	return j.control(ctx, []job.ID{id}, false, func(b *removal) error {
		return j.bury(b, []doomed{{tenant: tenant, id: id}})
	})
}

// Settle waits until everything that was queued before is applied.
func (j *Journal) Settle(ctx context.Context) error {
	return j.control(ctx, nil, false, func(*removal) error { return nil })
}

// Note returns the value of a name, nil if there is none.
func (j *Journal) Note(ctx context.Context, name string) (value []byte, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		v, closer, err := db.Get(appendNoteKey(name))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read note %s: %w", name, err)
		}
		value = append([]byte{}, v...)
		return closer.Close()
	})
	return value, err
}

// Notes visits the notes whose names begin with a prefix, in the order of their names. The value is valid during the visit.
func (j *Journal) Notes(ctx context.Context, prefix string, visit func(name string, value []byte) error) error {
	return j.read(ctx, func(db *pebble.DB) error {
		low := appendNoteKey(prefix)
		it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: keyAfter(low)})
		if err != nil {
			return err
		}
		defer func() { _ = it.Close() }()
		for ok := it.First(); ok; ok = it.Next() {
			value, err := it.ValueAndErr()
			if err == nil {
				err = visit(string(it.Key()[1:]), value)
			}
			if err != nil {
				return err
			}
		}
		return it.Error()
	})
}

func appendNoteKey(name string) []byte { return append([]byte{spaceNote}, name...) }

// Clear removes everything, the notes too, before a replica is rebuilt. Watchers are signalled. Queued batches must have
// been settled.
func (j *Journal) Clear(ctx context.Context) error {
	ids := j.jobs.ids()
	err := j.control(ctx, ids, false, func(b *removal) error {
		for _, space := range [...]byte{
			spaceActive, spaceSpec, spaceEnded, spaceLog, spaceOrder, spaceTombstone, spaceKey, spaceExpiry, spaceNote, spaceResults,
		} {
			if err := b.DeleteRange([]byte{space}, []byte{space + 1}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		j.results.reset()
		j.watchers.signalAll()
	}
	return err
}

// KeyUsed returns the jobs that an idempotency key stands for at a given time; none when it was not used, or has expired.
func (j *Journal) KeyUsed(ctx context.Context, key job.Key, at time.Time) (ids []job.ID, fingerprint [32]byte, err error) {
	var r keyRecord
	err = j.read(ctx, func(db *pebble.DB) error {
		v, closer, err := db.Get(appendKeyKey(make([]byte, 0, 64), hashKey(key)))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read idempotency key: %w", err)
		}
		defer func() { _ = closer.Close() }()
		r, err = parseKeyRecord(v)
		return err
	})
	if err != nil || !at.Before(r.expires) {
		return nil, fingerprint, err
	}
	return r.ids, r.fingerprint, nil
}

// Spec returns the spec of a job that has not ended; job.ErrNotFound for any other.
func (j *Journal) Spec(ctx context.Context, tenant string, id job.ID) (spec []byte, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		spec, err = readSpec(db, tenant, id)
		if errors.Is(err, pebble.ErrNotFound) {
			return job.ErrNotFound
		}
		return err
	})
	return spec, err
}

// LastExpiry returns when the last of the jobs that have ended expires; the zero time if there is none.
func (j *Journal) LastExpiry(ctx context.Context) (last time.Time, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{spaceExpiry}, UpperBound: []byte{spaceExpiry + 1}})
		if err != nil {
			return err
		}
		defer func() { _ = it.Close() }()
		for ok := it.Last(); ok; ok = it.Prev() {
			kind, _, err := parseExpiry(it)
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
