package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// maxScan bounds the jobs that one List reads.
const maxScan = 4096

// List returns the durable views of at most q.Limit jobs of a tenant that match q, newest first. If next is not the zero ID,
// a query with Before: next returns more. A page can be short or empty and still have a next, because a call reads a bounded
// number of jobs. Jobs that are added or removed do not move others between pages.
func (j *Journal) List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		jobs, next, err = j.list(ctx, db, q)
		return err
	})
	return jobs, next, err
}

func (j *Journal) list(ctx context.Context, db *pebble.DB, q job.Query) (jobs []job.Job, next job.ID, err error) {
	// Both iterators read the same snapshot, because a job moves between the spaces in one write.
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

// visible returns the durable view of a job of the engine; nil for a job that is not durable or is deleted. value is the view of
// a finished job, nil for an unfinished one.
func (j *Journal) visible(db *pebble.DB, tenant string, id job.ID, value []byte) (*job.Job, error) {
	if v, known := j.view(id); known {
		return v, nil
	}
	if value == nil {
		// The job has ended since the iterator was created.
		v, err := ended(db, tenant, id)
		if isGone(err) {
			return nil, nil
		}
		return &v, err
	}
	v, _, _, err := parseEnded(value)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return &v, nil
}

// bounds returns the key range of a tenant's jobs before q.Before.
func bounds(space byte, q job.Query) *pebble.IterOptions {
	prefix := appendTenant([]byte{space}, q.Tenant)
	o := &pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)}
	if q.Before != (job.ID{}) {
		o.UpperBound = append(bytes.Clone(prefix), q.Before[:]...)
	}
	return o
}

// wants reports which spaces can hold jobs in one of the states; all states if there are none.
func wants(states []job.State) (running, ended bool) {
	if len(states) == 0 {
		return true, true
	}
	running = slices.ContainsFunc(states, func(s job.State) bool { return !s.Terminal() })
	ended = slices.ContainsFunc(states, job.State.Terminal)
	return running, ended
}

// A cursor iterates over the jobs of one space, newest first.
type cursor struct {
	it *pebble.Iterator
	on bool   // the space is read
	id job.ID // the current job
	at bool   // there is a current job
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

// merged iterates over two spaces in one order.
type merged struct {
	a, b  cursor
	begun bool
	last  *cursor
}

// next returns the next older job, and its value if it is in the space of b. The value is valid until the next call.
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
