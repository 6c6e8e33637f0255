package arrays

import (
	"context"
	"errors"
	"time"

	"gather/internal/job"
)

const (
	// lockTTL is longer than a live node holds a lock. A slower node loses its lock, and detects that.
	lockTTL = 10 * time.Second
	// handleTimeout is longer than a node keeps the plan of an idle job.
	handleTimeout = 3 * time.Second
	// lockPoll is the pause between two reads of a locked record.
	lockPoll = 20 * time.Millisecond
	// cleanTimeout bounds the cleanup after a request, which continues after its client has disconnected.
	cleanTimeout = 5 * time.Second
)

// waitUnlocked returns the record of an array when it is not locked; nil if there is none.
func (s *Store) waitUnlocked(ctx context.Context, k arrayKey) (*record, error) {
	var since time.Time
	var seq uint64
	for {
		var r *record
		err := s.retry(ctx, requestTimeout, func(ctx context.Context) (err error) {
			r, err = s.record(ctx, k)
			return err
		})
		if err != nil || r == nil || r.LockedBy == "" {
			return r, err
		}
		switch {
		case r.seq != seq:
			seq, since = r.seq, time.Now()
		case time.Since(since) > s.lockTTL:
			if err := s.unlock(ctx, k, r.LockedBy); err != nil {
				return nil, err
			}
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// errChanged means that the record was changed by another operation.
var errChanged = errors.New("the array was changed meanwhile")

// lock locks an array that no job uses, so that it cannot be opened, and returns the locked record. It returns
// job.ErrArrayInUse, errChanged or job.ErrPrecondition.
func (s *Store) lock(ctx context.Context, k arrayKey, by string, p job.Precondition) (locked *record, err error) {
	err = s.updateRecord(ctx, k, &recordUpdate{next: func(old *record, _ usage) (*record, error) {
		switch {
		case old == nil || old.broken != nil || old.LockedBy != "" && old.LockedBy != by:
			return nil, errChanged
		case p.Check(old.tag()) != nil:
			return nil, job.ErrPrecondition
		case old.LockedBy == by:
			locked = old
			return nil, errNoUpdate
		case s.inUse(old):
			return nil, job.ErrArrayInUse
		}
		next := *old
		next.LockedBy = by
		locked = &next
		return &next, nil
	}})
	if err != nil {
		return nil, err
	}
	if s.cfg.Sync != nil {
		err = s.retry(ctx, requestTimeout, s.cfg.Sync)
	}
	if err == nil && s.inUse(locked) {
		err = job.ErrArrayInUse
	}
	if err != nil {
		s.clean(ctx, "unlock an array", func(ctx context.Context) error { return s.unlock(ctx, k, by) })
	}
	return locked, err
}

// unlock removes a lock.
func (s *Store) unlock(ctx context.Context, k arrayKey, by string) error {
	return s.updateRecord(ctx, k, &recordUpdate{next: func(old *record, _ usage) (*record, error) {
		if old == nil || old.LockedBy != by {
			return nil, errNoUpdate
		}
		next := *old
		next.LockedBy = ""
		return &next, nil
	}})
}

// inUse reports whether an unfinished job of any node uses an array, or this node has an open handle.
func (s *Store) inUse(r *record) bool {
	return s.openHandles(r) > 0 || s.cfg.Uses != nil && s.cfg.Uses.Uses(r.refID())
}

// openHandles returns the number of handles of an array that this node has open or is opening.
func (s *Store) openHandles(r *record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handles[r.key()]
}

// waitIdle returns job.ErrArrayInUse for an array that an unfinished job uses. It waits up to handleTimeout for handles
// without a job, because they belong to a job that is being submitted or has just ended.
func (s *Store) waitIdle(ctx context.Context, r *record) error {
	for end := time.Now().Add(handleTimeout); s.inUse(r); {
		if s.cfg.Uses == nil || s.cfg.Uses.Uses(r.refID()) || time.Now().After(end) {
			return job.ErrArrayInUse
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// clean runs a cleanup after a request. If it fails, the sweep does it later.
func (s *Store) clean(ctx context.Context, task string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		s.cfg.Logger.Warn("the sweep will do this later: "+task, "error", err) //nolint:sloglint // a few constant tasks
	}
}
