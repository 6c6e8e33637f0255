package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// maxScan bounds how many jobs one List reads.
const maxScan = 4096

// List returns the durable views of a tenant's jobs that match q, newest first: at most q.Limit of them. When next is
// not the zero ID there may be more, with Before: next; a page can be short, or empty, and still have a next, because a
// call reads a bounded number of jobs. Jobs that come and go do not move others between pages.
func (j *Journal) List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		jobs, next, err = j.list(ctx, db, q)
		return err
	})
	return jobs, next, err
}

func (j *Journal) list(ctx context.Context, db *pebble.DB, q job.Query) (jobs []job.Job, next job.ID, err error) {
	// Two iterators over one state of the engine: a job moves from the one space to the other in one write.
	running, err := db.NewIterWithContext(ctx, bounds(spaceActive, q))
	if err != nil {
		return nil, next, fmt.Errorf("list jobs: %w", err)
	}
	defer func() { _ = running.Close() }()
	gone, err := running.CloneWithContext(ctx, pebble.CloneOptions{IterOptions: bounds(spaceEnded, q)})
	if err != nil {
		return nil, next, fmt.Errorf("list jobs: %w", err)
	}
	defer func() { _ = gone.Close() }()
	wantRunning, wantEnded := wants(q.States)
	m := merged{a: cursor{it: running, on: wantRunning}, b: cursor{it: gone, on: wantEnded}}
	for scanned := 0; ; scanned++ {
		id, value, ok, err := m.next()
		if err != nil {
			return nil, next, fmt.Errorf("list jobs: %w", err)
		}
		if !ok {
			return jobs, job.ID{}, nil
		}
		if len(jobs) == q.Limit || scanned == maxScan {
			return jobs, next, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, next, err
		}
		next = id
		v, err := j.visible(db, q.Tenant, id, value)
		if err != nil {
			return nil, next, fmt.Errorf("list jobs: %w", err)
		}
		if v != nil && q.Matches(v) {
			jobs = append(jobs, *v)
		}
	}
}

// visible returns the durable view of a job that Pebble has; value is its last view, or nil for an unfinished job. It
// returns nil for a job that is not durable or is deleted.
func (j *Journal) visible(db *pebble.DB, tenant string, id job.ID, value []byte) (*job.Job, error) {
	if v, known := j.view(id); known {
		return v, nil
	}
	if value == nil {
		// It has ended since the iterator was made.
		v, err := ended(db, tenant, id)
		if isGone(err) {
			return nil, nil
		}
		return &v, err
	}
	v, err := job.Decode(value)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return &v, nil
}

// bounds returns the range of a tenant's jobs before q.Before.
func bounds(space byte, q job.Query) *pebble.IterOptions {
	prefix := appendTenant([]byte{space}, q.Tenant)
	o := &pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)}
	if q.Before != (job.ID{}) {
		o.UpperBound = append(bytes.Clone(prefix), q.Before[:]...)
	}
	return o
}

// wants returns which spaces can have jobs in one of the states.
func wants(states []job.State) (running, ended bool) {
	if len(states) == 0 {
		return true, true
	}
	running = slices.ContainsFunc(states, func(s job.State) bool { return !s.Terminal() })
	ended = slices.ContainsFunc(states, job.State.Terminal)
	return running, ended
}

// A cursor walks one space, newest first.
type cursor struct {
	it *pebble.Iterator
	on bool
	id job.ID
	at bool
}

func (c *cursor) step(first bool) error {
	ok := false
	switch {
	case !c.on:
	case first:
		ok = c.it.Last()
	case c.at:
		ok = c.it.Prev()
	}
	c.at = ok
	if !ok {
		return c.it.Error()
	}
	_, id, err := parseJobKey(c.it.Key())
	c.id = id
	return err
}

// merged walks two spaces as one.
type merged struct {
	a, b  cursor
	begun bool
	last  *cursor
}

// next returns the next older job, and its value if it comes from b. The value is valid until the next call.
func (m *merged) next() (id job.ID, value []byte, ok bool, err error) {
	switch {
	case !m.begun:
		m.begun = true
		if err := m.a.step(true); err != nil {
			return id, nil, false, err
		}
		err = m.b.step(true)
	case m.last != nil:
		err = m.last.step(false)
	}
	if err != nil {
		return id, nil, false, err
	}
	switch {
	case m.a.at && (!m.b.at || bytes.Compare(m.a.id[:], m.b.id[:]) > 0):
		m.last = &m.a
		return m.a.id, nil, true, nil
	case m.b.at:
		m.last = &m.b
		value, err = m.b.it.ValueAndErr()
		return m.b.id, value, true, err
	}
	return id, nil, false, nil
}
