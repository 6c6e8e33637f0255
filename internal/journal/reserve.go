package journal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// reservations holds the idempotency keys of submissions in progress.
type reservations struct{ m sync.Map }

func (r *reservations) take(h keyHash) bool {
	_, taken := r.m.LoadOrStore(h, struct{}{})
	return !taken
}

func (r *reservations) release(h keyHash) { r.m.Delete(h) }

// Reserve reserves an idempotency key. If it returns no jobs and no error, the caller owns the key and must Append a batch with
// it or Release it. Otherwise it returns the jobs that were accepted with the same key and fingerprint, job.ErrKeyReused if the
// key was used with another fingerprint, job.ErrKeyInProgress while another caller owns the key, or an error of the disk.
func (j *Journal) Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error) {
	h := hashKey(key)
	if !j.keys.take(h) {
		return nil, job.ErrKeyInProgress
	}
	// Only the owner of the key can write its record, so a record in Pebble is durable.
	r, found, err := j.keyRecord(ctx, h, j.now())
	if err == nil && !found {
		return nil, nil
	}
	j.keys.release(h)
	switch {
	case err != nil:
		return nil, err
	case r.fingerprint != key.Fingerprint:
		return nil, job.ErrKeyReused
	}
	return r.ids, nil
}

// Release releases a reserved key without a batch. After Append with the key the journal owns it, and releases it when the
// batch is durable or rejected.
func (j *Journal) Release(key job.Key) { j.keys.release(hashKey(key)) }

// keyRecord reads the record of a key; found is false if there is none or it had expired at the given time.
func (j *Journal) keyRecord(ctx context.Context, h keyHash, at time.Time) (r keyRecord, found bool, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		found, err = get(db, appendKeyKey(make([]byte, 0, 64), h), func(v []byte) (err error) {
			r, err = parseKeyRecord(v)
			return err
		})
		if err != nil {
			return fmt.Errorf("read idempotency key: %w", err)
		}
		return nil
	})
	if err != nil || !found || !at.Before(r.expires) {
		return keyRecord{}, false, err
	}
	return r, true, nil
}
