package journal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
)

// A Visitor receives the records of an export. An error of one of its methods ends the export.
type Visitor interface {
	// Job receives a job with its whole log, with its spec unless that was not kept, and with its deliveries if it has ended.
	// Log reads from disk while it is ranged over, and must not be used after Job has returned; spec may be kept.
	Job(view job.Job, spec []byte, log job.LogSeq, deliveries job.Deliveries) error
	// Key receives an idempotency key, expired or not.
	Key(k job.KeyRecord) error
	// Tombstone receives a tombstone, expired or not.
	Tombstone(t job.Tombstone) error
}

// Exists reports whether a directory holds a journal.
func Exists(dir string) (bool, error) {
	d, err := pebble.Peek(dir, vfs.Default)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return d.Exists, nil
}

// Export visits everything in the journal: the unfinished jobs, in the order of their submission, and the jobs that wait for others
// after these; the finished ones, by
// tenant, the oldest of a tenant first; idempotency keys; tombstones. It is meant for a journal without other users, and
// with a SweepInterval that does not pass: records that change during the export may be visited once, twice or not at
// all.
func (j *Journal) Export(ctx context.Context, v Visitor) error {
	if err := j.exportActive(ctx, v); err != nil {
		return err
	}
	err := j.exportSpace(ctx, spaceEnded, func(db *pebble.DB, _, value []byte) error {
		view, spec, place, err := parseEnded(value)
		if spec = bytes.Clone(spec); err == nil && place.apart() {
			spec, err = readSpec(db, view.Tenant, view.ID, 0)
		}
		if err != nil {
			return err
		}
		var deliveries job.Deliveries
		if len(view.Webhooks) > 0 {
			if deliveries, err = readDeliveries(db, view.Tenant, view.ID); err != nil && !errors.Is(err, job.ErrNotFound) {
				return err
			}
		}
		return v.Job(view, spec, wholeLog(ctx, db, &view), deliveries)
	})
	if err != nil {
		return err
	}
	err = j.exportSpace(ctx, spaceKey, func(_ *pebble.DB, key, value []byte) error {
		r, err := parseKeyRecord(value)
		if err == nil && len(key) != 1+len(keyHash{}) {
			err = corrupt("idempotency key")
		}
		if err != nil {
			return err
		}
		return v.Key(job.KeyRecord{Hash: [32]byte(key[1:]), Fingerprint: r.fingerprint, Expires: j.wallTime(r.expires).UTC(), IDs: r.ids})
	})
	if err != nil {
		return err
	}
	return j.exportSpace(ctx, spaceTombstone, func(_ *pebble.DB, key, value []byte) error {
		tenant, id, err := parseJobKey(key)
		if err != nil {
			return err
		}
		ms, n := binary.Varint(value)
		if n <= 0 || n != len(value) {
			return corrupt("tombstone")
		}
		return v.Tombstone(job.Tombstone{Tenant: tenant, ID: id, Expires: j.wallTime(time.UnixMilli(ms)).UTC()})
	})
}

// exportActive visits the unfinished jobs. Unlike Recover it skips jobs that have ended in memory.
func (j *Journal) exportActive(ctx context.Context, v Visitor) error {
	views := slices.DeleteFunc(j.jobs.views(), func(v *job.Job) bool { return v.State.Terminal() })
	slices.SortFunc(views, func(a, b *job.Job) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return j.read(ctx, func(db *pebble.DB) error {
		for _, view := range job.DependenciesFirst(views) {
			spec, err := readSpec(db, view.Tenant, view.ID, 0)
			if err != nil {
				return fmt.Errorf("export job %s: %w", view.ID, err)
			}
			if err := v.Job(*view, spec, wholeLog(ctx, db, view), nil); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

// exportSpace visits the keys of a space in order. Key and value are valid until visit returns.
func (j *Journal) exportSpace(ctx context.Context, space byte, visit func(db *pebble.DB, key, value []byte) error) error {
	return j.read(ctx, func(db *pebble.DB) error {
		err := scanSpace(ctx, db, space, func(key, value []byte) error {
			return cmp.Or(visit(db, key, value), ctx.Err())
		})
		if err != nil {
			return fmt.Errorf("export %q: %w", space, err)
		}
		return nil
	})
}
