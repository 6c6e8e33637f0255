package journal

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

const (
	// maxScan bounds the work of one List: a job that is read costs readCost, one that is skipped 1.
	maxScan  = 1 << 16
	readCost = 16
)

// List returns the durable views of at most q.Limit jobs of a tenant that match q, newest first. If next is not the zero ID,
// a query with Before: next returns more. A page can be short or empty and still have a next, because a call reads a bounded
// number of jobs. Jobs that are added or removed do not move others between pages.
func (j *Journal) List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		jobs, next, err = j.list(ctx, db, q)
		return err
	})
	if err != nil {
		return nil, job.ID{}, fmt.Errorf("list jobs: %w", err)
	}
	return jobs, next, nil
}

func (j *Journal) list(ctx context.Context, db *pebble.DB, q job.Query) (jobs []job.Job, next job.ID, err error) {
	// All iterators read the same snapshot, because a job moves between the spaces in one write.
	prefix := appendTenant([]byte{spaceActive}, q.Tenant)
	running, err := db.NewIterWithContext(ctx, bounds(prefix, &q))
	if err != nil {
		return nil, next, err
	}
	defer func() { _ = running.Close() }()
	wantRunning, wantEnded := wants(&q)
	budget := maxScan
	unfinished := &merged{a: &cursor{it: running, done: !wantRunning}, b: &cursor{done: true}}
	if wantRunning {
		// In the snapshot they may have ended. Those that end after it are in it.
		unfinished.b = &newestIDs{ids: j.ending.before(q.Tenant, q.Before)}
	}
	m := merged{a: unfinished, b: &cursor{done: true}}
	if wantEnded {
		var it *pebble.Iterator
		if m.b, it, err = endedSource(ctx, running, &q, &budget); err != nil {
			return nil, next, err
		}
		defer func() { _ = it.Close() }()
	}
	for {
		id, value, ok, err := m.step()
		if err != nil {
			return nil, next, err
		}
		if !ok {
			last, _ := m.b.truncated()
			return jobs, last, nil
		}
		if _, cut := m.b.truncated(); len(jobs) == q.Limit || budget <= 0 && !cut && next != (job.ID{}) {
			return jobs, next, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, next, err
		}
		next = id
		v, read, err := j.visible(db, q.Tenant, id, value)
		if err != nil {
			return nil, next, err
		}
		if read {
			budget -= readCost
		}
		if v != nil && q.Matches(v) {
			jobs = append(jobs, *v)
		}
	}
}

// visible returns the durable view of a job of the engine; nil for a job that is not durable or is deleted. read is true if it was
// not in memory. value is the value of a finished job, or nil.
func (j *Journal) visible(db *pebble.DB, tenant string, id job.ID, value []byte) (v *job.Job, read bool, err error) {
	if v, known := j.view(id); known {
		return v, false, nil
	}
	if value == nil {
		// It is from the index, or the job has ended since the iterator was created.
		v, err := ended(db, tenant, id)
		if isGone(err) {
			return nil, true, nil
		}
		return &v, true, err
	}
	view, _, _, err := parseEnded(value)
	if err != nil {
		return nil, true, fmt.Errorf("job %s: %w", id, err)
	}
	return &view, true, nil
}

// bounds returns the range of the keys with a prefix before q.Before.
func bounds(prefix []byte, q *job.Query) *pebble.IterOptions {
	o := &pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)}
	if q.Before != (job.ID{}) {
		o.UpperBound = append(bytes.Clone(prefix), q.Before[:]...)
	}
	return o
}

// wants reports whether the query can match unfinished and finished jobs.
func wants(q *job.Query) (running, ended bool) {
	if len(q.States) == 0 {
		return q.FinishedAfter.IsZero(), true
	}
	running = slices.ContainsFunc(q.States, func(s job.State) bool { return !s.Terminal() })
	ended = slices.ContainsFunc(q.States, job.State.Terminal)
	return running && q.FinishedAfter.IsZero(), ended
}

// endedSource returns the finished jobs that may match a query, from the index if the query has filters, and the iterator to close.
func endedSource(ctx context.Context, like *pebble.Iterator, q *job.Query, budget *int) (source, *pebble.Iterator, error) {
	filter, filtered := newIndexFilter(q)
	open := func(o *pebble.IterOptions) (*pebble.Iterator, error) {
		if filtered {
			o.PointKeyFilters = append(make([]pebble.BlockPropertyFilter, 0, 2), filter) // Pebble adds one
		}
		return like.CloneWithContext(ctx, pebble.CloneOptions{IterOptions: o})
	}
	index := func(key, value string) (source, *pebble.Iterator, error) {
		it, err := open(bounds(appendIndexPrefix(nil, q.Tenant, key, value), q))
		return &cursor{it: it, filter: &filter, budget: budget}, it, err
	}
	if q.Group != "" {
		return index("", q.Group)
	}
	if len(q.Labels) > 0 {
		key := slices.Min(slices.Collect(maps.Keys(q.Labels)))
		return index(key, q.Labels[key])
	}
	if len(q.Prefixes) > 0 {
		key := slices.Min(slices.Collect(maps.Keys(q.Prefixes)))
		prefix := appendIndexPrefix(nil, q.Tenant, key, q.Prefixes[key])
		prefix = prefix[:len(prefix)-1]
		it, err := open(&pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)})
		if err != nil {
			return nil, nil, err
		}
		ids, few, err := newestOf(it, q, &filter, *budget)
		if few || err != nil {
			return ids, it, err
		}
		if err := it.Close(); err != nil { // so many that a scan finds them soon
			return nil, nil, err
		}
	}
	if filtered {
		return index("", "")
	}
	it, err := open(bounds(appendTenant([]byte{spaceEnded}, q.Tenant), q))
	return &cursor{it: it, values: true, budget: budget}, it, err
}

// A source yields finished or unfinished jobs, newest first.
type source interface {
	// step moves to the next job. A value is valid until the next step; it is nil if the job must be read.
	step() (id job.ID, value []byte, ok bool, err error)
	// truncated reports whether the source ended, or will end, before its last job, and the last job that it has examined then.
	truncated() (last job.ID, cut bool)
}

// A cursor is the source of a range of keys.
type cursor struct {
	it     *pebble.Iterator
	filter *indexFilter // of a range of the index
	values bool
	budget *int // nil for no bound
	begun  bool
	done   bool
	last   job.ID
	cut    bool
}

func (c *cursor) step() (id job.ID, value []byte, ok bool, err error) {
	for !c.done {
		if c.begun {
			ok = c.it.Prev()
		} else {
			ok = c.it.Last()
		}
		if c.begun = true; !ok {
			c.done = true
			return id, nil, false, c.it.Error()
		}
		key := c.it.Key()
		if c.budget != nil {
			if *c.budget--; *c.budget < 0 && c.last != (job.ID{}) {
				c.cut, c.done = true, true
				break
			}
		}
		if c.filter == nil {
			if len(key) < 1+len(id) {
				return id, nil, false, corrupt("job key")
			}
			id = job.ID(key[len(key)-len(id):])
			c.last = id
			if c.values {
				value, err = c.it.ValueAndErr()
			}
			return id, value, err == nil, err
		}
		var d digest
		if id, d, err = parseIndexKey(key); err != nil {
			return id, nil, false, err
		}
		if c.last = id; c.filter.matches(d.union()) {
			return id, nil, true, nil
		}
	}
	return id, nil, false, nil
}

func (c *cursor) truncated() (job.ID, bool) {
	if !c.cut {
		return job.ID{}, false
	}
	return c.last, true
}

// newestIDs is the source of the newest jobs of several values of a label.
type newestIDs struct {
	ids []job.ID
	// last is the last job if there were more.
	last job.ID
}

// newestOf returns the newest jobs of an iterator over the index; few is false if there are more than budget keys.
func newestOf(it *pebble.Iterator, q *job.Query, filter *indexFilter, budget int) (n *newestIDs, few bool, err error) {
	n = &newestIDs{}
	most := 4 * (q.Limit + 1)
	trim := func() {
		slices.SortFunc(n.ids, func(a, b job.ID) int { return bytes.Compare(b[:], a[:]) })
		if len(n.ids) > most {
			n.ids, n.last = n.ids[:most], n.ids[most-1]
		}
	}
	for ok := it.First(); ok; ok = it.Next() {
		if budget--; budget < 0 {
			return nil, false, nil
		}
		id, d, err := parseIndexKey(it.Key())
		if err != nil {
			return n, true, err
		}
		if filter.matches(d.union()) && (q.Before == job.ID{} || bytes.Compare(id[:], q.Before[:]) < 0) {
			if n.ids = append(n.ids, id); len(n.ids) >= 2*most {
				trim()
			}
		}
	}
	trim()
	return n, true, it.Error()
}

func (n *newestIDs) step() (id job.ID, value []byte, ok bool, err error) {
	if len(n.ids) == 0 {
		return id, nil, false, nil
	}
	id, n.ids = n.ids[0], n.ids[1:]
	return id, nil, true, nil
}

func (n *newestIDs) truncated() (job.ID, bool) { return n.last, n.last != job.ID{} }

// merged is the source of the jobs of two sources, of which both may have the same job.
type merged struct {
	a, b source
	head [2]struct {
		id    job.ID
		value []byte
		ok    bool
		held  bool // not yielded yet
	}
}

// step moves to the next older job. It ends where b is truncated.
func (m *merged) step() (id job.ID, value []byte, ok bool, err error) {
	for i, s := range [...]source{m.a, m.b} {
		h := &m.head[i]
		if h.held {
			continue
		}
		if h.id, h.value, h.ok, err = s.step(); err != nil {
			return id, nil, false, err
		}
		h.held = true
	}
	a, b := &m.head[0], &m.head[1]
	h := b
	switch {
	case !b.ok && (!a.ok || m.before(a.id)):
		return id, nil, false, nil
	case !b.ok || a.ok && bytes.Compare(a.id[:], b.id[:]) > 0:
		h = a
	case a.ok && a.id == b.id:
		a.held = false
	}
	h.held = false
	return h.id, h.value, true, nil
}

func (m *merged) truncated() (job.ID, bool) { return m.b.truncated() }

// before reports whether b was truncated at a job that is newer than id.
func (m *merged) before(id job.ID) bool {
	last, cut := m.b.truncated()
	return cut && bytes.Compare(id[:], last[:]) < 0
}
