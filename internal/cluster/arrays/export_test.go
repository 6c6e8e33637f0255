package arrays

import (
	"context"
	"time"

	"gather/internal/job"
)

// SetLockTTL sets how long a lock is respected.
func (s *Store) SetLockTTL(d time.Duration) { s.lockTTL = d }

// Lock locks an array, as a node that dies while it deletes the array.
func (s *Store) Lock(ctx context.Context, tenant, name string) error {
	_, err := s.lock(ctx, arrayKey{tenant, name}, "a dead node", job.Precondition{})
	return err
}

// RefreshUsage reads the usage of all tenants now.
func (s *Store) RefreshUsage(ctx context.Context) error { return s.refreshUsage(ctx) }

// Held returns the bytes of the cached blocks.
func (s *Store) Held() int64 { return s.cache.Held() }
