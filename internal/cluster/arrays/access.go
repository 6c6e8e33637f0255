package arrays

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"gather/internal/array"
	"gather/internal/job"
)

// Get describes an array. It returns job.ErrArrayNotFound, job.ErrArrayDamaged or job.ErrStorage.
func (s *Store) Get(ctx context.Context, tenant, name string) (job.Array, error) {
	k := arrayKey{tenant, name}
	if array.CheckName(name) != nil {
		return job.Array{}, job.ErrArrayNotFound
	}
	var r *record
	err := s.retry(ctx, requestTimeout, func(ctx context.Context) (err error) {
		r, err = s.record(ctx, k)
		return err
	})
	switch {
	case err != nil:
		return job.Array{}, err
	case r == nil:
		return job.Array{}, job.ErrArrayNotFound
	case r.broken != nil:
		return job.Array{}, job.ErrArrayDamaged
	}
	return s.describe(r), nil
}

// List describes at most limit arrays of a tenant with a name after the given one, by name. It returns job.ErrStorage.
func (s *Store) List(ctx context.Context, tenant, after string, limit int) ([]job.Array, error) {
	subjects, err := s.subjects(ctx, s.meta, s.tenantSubject(tenant))
	if err != nil {
		return nil, err
	}
	subjects = slices.DeleteFunc(subjects, func(subject string) bool { return nameOf(subject) <= after })
	slices.SortFunc(subjects, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	var list []job.Array
	for len(subjects) > 0 && len(list) < limit {
		// Repeat for subjects of deleted arrays.
		n := min(limit-len(list), len(subjects))
		found, err := s.records(ctx, subjects[:n])
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			list = append(list, s.describe(r))
		}
		subjects = subjects[n:]
	}
	return list, nil
}

// Delete removes an array if the precondition holds for it. It returns job.ErrArrayNotFound, job.ErrArrayInUse,
// job.ErrPrecondition or job.ErrStorage; after a job.ErrStorage the array may be removed.
func (s *Store) Delete(ctx context.Context, tenant, name string, p job.Precondition) error {
	if array.CheckName(name) != nil {
		return job.ErrArrayNotFound
	}
	k, by := arrayKey{tenant, name}, uuid.NewString()
	for {
		gone, err := s.delete(ctx, k, by, p)
		switch {
		case err == nil:
			if gone.broken == nil { // otherwise its blocks are unknown, and the sweep removes them
				s.clean(ctx, "remove the blocks of an array", func(ctx context.Context) error { return s.purge(ctx, gone.Upload) })
			}
			return nil
		case !errors.Is(err, errChanged):
			return err
		}
	}
}

// delete removes the record of an array, or returns errChanged if another operation changes it at the same time.
func (s *Store) delete(ctx context.Context, k arrayKey, by string, p job.Precondition) (*record, error) {
	r, err := s.waitUnlocked(ctx, k)
	if err == nil && r == nil {
		err = job.ErrArrayNotFound
	}
	if err == nil {
		err = p.Check(r.tag())
	}
	if err == nil {
		err = s.waitIdle(ctx, r)
	}
	if err == nil && r.broken == nil { // a broken one cannot be opened
		r, err = s.lock(ctx, k, by, p)
	}
	if err != nil {
		return nil, err
	}
	sent := false
	c := &recordUpdate{next: func(old *record, _ usage) (*record, error) {
		switch {
		case old == nil && sent:
			return nil, errNoUpdate
		case old == nil || !old.lockedAs(r, by):
			return nil, errChanged
		}
		sent = true
		return nil, nil //nolint:nilnil // delete the record
	}}
	err = c.decide(s.updateRecord(ctx, k, c))
	if err != nil && !errors.Is(err, errChanged) {
		s.clean(ctx, "unlock an array", func(ctx context.Context) error { return s.unlock(ctx, k, by) })
	}
	return r, err
}
