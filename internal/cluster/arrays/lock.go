package arrays

import (
	"context"
	"errors"
	"time"

	"gather/internal/job"
)

const (
	// lockTTL is longer than a live node holds a lock. A node that takes longer loses the lock, and detects that.
	lockTTL = 10 * time.Second
	// handlePatience is longer than a node keeps the plan of a job in case there is more to do.
	handlePatience = 3 * time.Second
	// sealPause is after how long it is looked at again.
	sealPause = 20 * time.Millisecond
	// cleanTimeout bounds the cleanup after a request, also when its client has gone.
	cleanTimeout = 5 * time.Second
)

// waitUnlocked returns the record of an array that is not being replaced or deleted; nil if there is none.
func (s *Store) waitUnlocked(ctx context.Context, k arrayKey) (*record, error) {
	var since time.Time
	var seq uint64
	for {
		var r *record
		err := s.retry(ctx, shortPatience, func(ctx context.Context) (err error) {
			r, err = s.record(ctx, k)
			return err
		})
		if err != nil || r == nil || r.Sealed == "" {
			return r, err
		}
		switch {
		case r.seq != seq:
			seq, since = r.seq, time.Now()
		case time.Since(since) > s.lockTTL:
			if err := s.unseal(ctx, k, r.Sealed); err != nil {
				return nil, err
			}
		}
		select {
		case <-time.After(sealPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// errLost: the record is not as it was.
var errLost = errors.New("the array was changed meanwhile")

// lock locks an array, so that it cannot be opened, if no job uses it, and returns the locked record. Errors:
// job.ErrArrayInUse, errLost, job.ErrPrecondition.
func (s *Store) lock(ctx context.Context, k arrayKey, by string, p job.Precondition) (sealed *record, err error) {
	err = s.change(ctx, k, &change{decide: func(old *record, _ usage) (*record, error) {
		switch {
		case old == nil || old.broken != nil || old.Sealed != "" && old.Sealed != by:
			return nil, errLost
		case p.Check(old.tag()) != nil:
			return nil, job.ErrPrecondition
		case old.Sealed == by:
			sealed = old
			return nil, errDone
		case s.inUse(old):
			return nil, job.ErrArrayInUse
		}
		next := *old
		next.Sealed = by
		sealed = &next
		return &next, nil
	}})
	if err != nil {
		return nil, err
	}
	if s.cfg.Sync != nil {
		err = s.retry(ctx, shortPatience, s.cfg.Sync)
	}
	if err == nil && s.inUse(sealed) {
		err = job.ErrArrayInUse
	}
	if err != nil {
		s.clean(ctx, "unseal an array", func(ctx context.Context) error { return s.unseal(ctx, k, by) })
	}
	return sealed, err
}

// unseal takes a seal back.
func (s *Store) unseal(ctx context.Context, k arrayKey, by string) error {
	return s.change(ctx, k, &change{decide: func(old *record, _ usage) (*record, error) {
		if old == nil || old.Sealed != by {
			return nil, errDone
		}
		next := *old
		next.Sealed = ""
		return &next, nil
	}})
}

// inUse reports whether an unfinished job, of any node, uses an array, or a handle of this node is open.
func (s *Store) inUse(r *record) bool {
	return s.handles(r) > 0 || s.cfg.Uses != nil && s.cfg.Uses.Uses(r.mark())
}

// handles is how many handles of an array this node has open, or is opening.
func (s *Store) handles(r *record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[r.key()]
}

// idle returns job.ErrArrayInUse for an array that an unfinished job uses. Handles alone are waited for, for a while: they
// are of a job that is being submitted, or of one that has just ended, perhaps on another node.
func (s *Store) idle(ctx context.Context, r *record) error {
	for end := time.Now().Add(handlePatience); s.inUse(r); {
		if s.cfg.Uses == nil || s.cfg.Uses.Uses(r.mark()) || time.Now().After(end) {
			return job.ErrArrayInUse
		}
		select {
		case <-time.After(sealPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// clean cleans up after a request; if it fails, the sweep does it later.
func (s *Store) clean(ctx context.Context, what string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		s.cfg.Logger.Warn("left for later: "+what, "error", err) //nolint:sloglint // what is one of a few
	}
}
