package arrays

import (
	"context"
	"time"

	"gather/internal/job"
)

// SetSealPatience changes how long a seal is respected.
func (s *Store) SetSealPatience(d time.Duration) { s.lockTTL = d }

// Seal leaves an array as a node does that dies while it deletes it.
func (s *Store) Seal(ctx context.Context, tenant, name string) error {
	_, err := s.lock(ctx, arrayKey{tenant, name}, "somebody who died", job.Precondition{})
	return err
}

// Look counts the arrays now.
func (s *Store) Look(ctx context.Context) error { return s.look(ctx) }

// Held is how many bytes of blocks the store holds.
func (s *Store) Held() int64 { return s.cache.Held() }
