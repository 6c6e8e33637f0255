package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// reservations holds the idempotency keys of submissions in progress.
type reservations struct {
	mu sync.Mutex
	m  map[keyHash]struct{}
}

func (r *reservations) init() { r.m = make(map[keyHash]struct{}) }

func (r *reservations) take(h keyHash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.m[h]; taken {
		return false
	}
	r.m[h] = struct{}{}
	return true
}

func (r *reservations) release(h keyHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, h)
}

// Reserve reserves an idempotency key. If it returns no jobs and no error, the caller owns the key and must Append a batch with
// it or Release it. Otherwise it returns the jobs that were accepted with the same key and fingerprint, job.ErrKeyReused if the
// key was used with another fingerprint, job.ErrKeyInProgress while another caller owns the key, or an error of the disk.
func (j *Journal) Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error) {
	h := hashKey(key)
	if !j.keys.take(h) {
		return nil, job.ErrKeyInProgress
	}
	// Only the owner of the key can write its record, so a record in Pebble is durable.
	r, found, err := j.keyRecord(ctx, h)
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

// keyRecord reads the record of a key; found is false if there is none or it has expired.
func (j *Journal) keyRecord(ctx context.Context, h keyHash) (r keyRecord, found bool, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		v, closer, err := db.Get(appendKeyKey(make([]byte, 0, 64), h))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read idempotency key: %w", err)
		}
		defer func() { _ = closer.Close() }()
		found = true
		r, err = parseKeyRecord(v)
		return err
	})
	if found && err == nil && !j.now().Before(r.expires) {
		return keyRecord{}, false, nil
	}
	return r, found, err
}
