package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
	"gather/internal/notify"
)

// maxSweep is the approximate number of records that one write of the sweeper removes.
const maxSweep = 512

// runSweeper deletes expired records periodically until ctx is done.
func (j *Journal) runSweeper(ctx context.Context) {
	notify.Every(ctx, j.c.SweepInterval, nil, func() {
		if !j.c.Replica && j.clock.isChanged() {
			j.log.Info("the wall clock was set")
			_ = j.Flush(ctx) // each write records the clock
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = j.sweep(ctx); err != nil {
				if ctx.Err() == nil {
					j.log.Warn("sweep", "error", err)
				}
				more = false
			}
		}
	})
}

// sweep deletes about maxSweep expired records, and reports whether there may be more.
func (j *Journal) sweep(ctx context.Context) (more bool, err error) {
	now, keyTime := j.now(), j.keyTime()
	var jobs, tombstones []jobRef
	var keys []keyHash
	var spent [][]byte
	err = j.read(ctx, func(db *pebble.DB) error {
		return scan(ctx, db, []byte{spaceExpiry}, appendExpiryKey(nil, now.UnixMilli()+1, 0, nil), func(key, list []byte) error {
			if more = len(jobs)+len(tombstones)+len(keys) >= maxSweep; more {
				return errStop
			}
			kind, err := parseExpiry(key)
			if err != nil {
				return err
			}
			if kind == expiryKey && bytes.Compare(key, appendExpiryKey(nil, keyTime.UnixMilli()+1, 0, nil)) >= 0 {
				return nil // kept for proposals of an earlier time
			}
			spent = append(spent, bytes.Clone(key))
			switch kind {
			case expiryJob:
				jobs, err = appendJobRefs(jobs, list)
			case expiryTombstone:
				tombstones, err = appendJobRefs(tombstones, list)
			case expiryKey:
				keys, err = appendHashes(keys, list)
			}
			return err
		})
	})
	if err != nil || len(spent) == 0 {
		return false, err
	}
	// Reserve the keys during the deletion. Skip the keys that are in use.
	keys = slices.DeleteFunc(keys, func(h keyHash) bool { return !j.keys.take(h) })
	defer func() {
		for _, h := range keys {
			j.keys.release(h)
		}
	}()
	ids := make([]job.ID, 0, len(jobs))
	for _, d := range jobs {
		ids = append(ids, d.id)
	}
	swept := 0
	err = j.runInWriter(ctx, ids, false, func(b *removal) error {
		present, err := j.existing(jobs)
		if err != nil {
			return err
		}
		if err := j.deleteWithTombstone(b, present); err != nil {
			return err
		}
		if err := j.deleteExpiredKeys(b.Batch, keys, keyTime); err != nil {
			return err
		}
		for _, d := range tombstones {
			_ = b.Delete(appendJobKey(nil, spaceTombstone, d.tenant, d.id), nil)
		}
		for _, key := range spent {
			_ = b.Delete(key, nil)
		}
		swept = len(present)
		return nil
	})
	if err == nil {
		j.met.swept.Add(float64(swept))
	}
	return more, err
}

// existing returns the jobs that have not been deleted.
func (j *Journal) existing(jobs []jobRef) ([]jobRef, error) {
	left := jobs[:0:0]
	for _, d := range jobs {
		_, err := get(j.db, appendJobKey(nil, spaceEnded, d.tenant, d.id), func([]byte) error {
			left = append(left, d)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", d.id, err)
		}
	}
	return left, nil
}

// deleteExpiredKeys adds the deletion of idempotency keys to a batch, except keys that have been used again.
func (j *Journal) deleteExpiredKeys(b *pebble.Batch, keys []keyHash, now time.Time) error {
	for _, h := range keys {
		key := appendKeyKey(nil, h)
		_, err := get(j.db, key, func(v []byte) error {
			r, err := parseKeyRecord(v)
			if err == nil && !now.Before(r.expires) {
				_ = b.Delete(key, nil)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func parseExpiry(key []byte) (kind byte, err error) {
	if len(key) < 10 {
		return 0, corrupt("expiry key")
	}
	return key[9], nil
}

func appendJobRefs(dst []jobRef, list []byte) ([]jobRef, error) {
	for len(list) > 0 {
		tenant, rest, err := takeTenant(list)
		if err != nil || len(rest) < 16 {
			return nil, corrupt("expiry list")
		}
		dst = append(dst, jobRef{tenant: tenant, id: job.ID(rest[:16])})
		list = rest[16:]
	}
	return dst, nil
}

func appendHashes(dst []keyHash, list []byte) ([]keyHash, error) {
	if len(list)%len(keyHash{}) != 0 {
		return nil, corrupt("expiry list")
	}
	for ; len(list) > 0; list = list[len(keyHash{}):] {
		dst = append(dst, keyHash(list[:len(keyHash{})]))
	}
	return dst, nil
}
