package schedule

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"gather/internal/job"
)

// MaxSchedules is how many schedules a tenant may have.
const MaxSchedules = 1000

// The errors of the store.
var (
	ErrNotFound = errors.New("there is no such schedule")
	ErrTooMany  = errors.New("a tenant may have 1000 schedules")
)

// Put creates or replaces a schedule, and reports whether it is new. A changed definition begins anew: ticks before now have no
// runs, and waiting ones are dropped. An equal one changes nothing. Errors: ErrTooMany, job.ErrStorage.
func (s *Scheduler) Put(ctx context.Context, tenant, name string, d Definition) (one *Schedule, created bool, err error) {
	err = s.update(ctx, tenant, name, func(old *Schedule) (*Schedule, error) {
		created = old == nil
		now := s.c.Wall().UTC()
		one = &Schedule{
			Tenant: tenant, Name: name, Definition: d, Generation: job.NewID(), CreatedAt: now, UpdatedAt: now, Cursor: now,
		}
		switch {
		case created && s.count(tenant) >= MaxSchedules:
			return nil, ErrTooMany
		case created:
			return one, nil
		case old.same(&d):
			one = old
			return old.pause(d.Paused, s), nil
		}
		one.CreatedAt, one.Current, one.Runs = old.CreatedAt, old.Current, old.Runs
		return one, nil
	})
	return one, created, err
}

// same reports whether a definition equals the schedule's, except whether it is paused.
func (s *Schedule) same(d *Definition) bool {
	a, b := Schedule{Definition: s.Definition}, Schedule{Definition: *d}
	a.Paused, b.Paused = false, false
	return bytes.Equal(a.Encode(), b.Encode())
}

// pause sets whether the schedule is paused; it returns nil if it is already. Ticks of the pause have no runs.
func (s *Schedule) pause(paused bool, by *Scheduler) *Schedule {
	if s.Paused == paused {
		return nil
	}
	s.Paused = paused
	if now := by.c.Wall().UTC(); !paused && now.After(s.Cursor) {
		s.Cursor = now
	}
	return s
}

// SetPaused pauses or resumes a schedule, and returns it. Errors: ErrNotFound, job.ErrStorage.
func (s *Scheduler) SetPaused(ctx context.Context, tenant, name string, paused bool) (one *Schedule, err error) {
	err = s.update(ctx, tenant, name, func(old *Schedule) (*Schedule, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		one = old
		return old.pause(paused, s), nil
	})
	return one, err
}

// update replaces a schedule by the result of change; nil changes nothing. change may be called several times.
func (s *Scheduler) update(ctx context.Context, tenant, name string, change func(old *Schedule) (*Schedule, error)) error {
	for {
		old, revision, err := s.read(ctx, documentName(tenant, name))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		next, err := change(old)
		if err != nil || next == nil {
			return err
		}
		if err := s.write(ctx, next, revision); !errors.Is(err, job.ErrChanged) {
			return err
		}
	}
}

// count returns the number of a tenant's schedules.
func (s *Scheduler) count(tenant string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.known {
		if strings.HasPrefix(name, tenantPrefix(tenant)) {
			n++
		}
	}
	return n
}

// Delete removes a schedule; its jobs stay. Errors: ErrNotFound, job.ErrStorage.
func (s *Scheduler) Delete(ctx context.Context, tenant, name string) error {
	for {
		d, err := s.c.Documents.Document(ctx, documentName(tenant, name))
		if err != nil {
			return err
		}
		if d.Revision == 0 {
			return ErrNotFound
		}
		if _, err := s.c.Documents.PutDocument(ctx, d.Name, nil, d.Revision); !errors.Is(err, job.ErrChanged) {
			if err != nil {
				return err
			}
			return s.reload(ctx)
		}
	}
}

// List returns the schedules of a tenant, by name, as this server last read them.
func (s *Scheduler) List(tenant string) []*Schedule {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Schedule
	for name, k := range s.known {
		if k.Schedule != nil && strings.HasPrefix(name, tenantPrefix(tenant)) {
			list = append(list, k.Schedule)
		}
	}
	slices.SortFunc(list, func(a, b *Schedule) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Run submits a run of a schedule now, also of a paused one, whatever its overlap, and returns the job. The same key, if it is not
// empty, returns the same job. Errors: ErrNotFound, errors of submissions, job.ErrStorage.
func (s *Scheduler) Run(ctx context.Context, tenant, name, key string) (job.ID, error) {
	one, err := s.Get(ctx, tenant, name)
	if err != nil {
		return job.ID{}, err
	}
	if key == "" {
		key = uuid.NewString()
	}
	id, err := s.submit(ctx, one, "run/"+key)
	if err != nil {
		return job.ID{}, err
	}
	err = s.update(ctx, tenant, name, func(old *Schedule) (*Schedule, error) {
		if old == nil || slices.ContainsFunc(old.Runs, func(r Run) bool { return r.Job == id }) {
			return nil, nil
		}
		now := s.c.Wall().UTC()
		old.record(Run{Tick: now, Outcome: Submitted, Job: id, Manual: true}, now)
		old.Current = id
		return old, nil
	})
	if err != nil { // the job is accepted nevertheless
		s.c.Logger.Warn("a run was submitted, and is not in the history of its schedule", "schedule", name, "job_id", id.String(), "error", err)
	} else {
		s.met.runs[Submitted].Inc()
	}
	return id, nil
}
