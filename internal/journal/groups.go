package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// # Groups
//
// The counts of a group are kept, not computed. The space g has the finished jobs of each group, written with the write that changes
// them; unfinished jobs are counted in memory, and a group is in memory while it has some. The space e has the ends of the
// jobs in their order, which is the order of the log in a cluster: each node gives an end the same number.

type groupKey struct{ tenant, name string }

func groupOf(view *job.Job) groupKey { return groupKey{view.Tenant, view.Group} }

// A groupRecord has the finished jobs of a group.
type groupRecord struct {
	ended    endedCounts
	progress job.Progress
	// created and finished are the times of the first submission and of the last end, in ns.
	created, finished int64
	seq               uint64 // of the last end
}

func (r *groupRecord) add(view *job.Job) {
	r.ended[view.State-job.Succeeded]++
	r.progress.Add(view.Progress)
	if at := view.CreatedAt.UnixNano(); r.created == 0 || at < r.created {
		r.created = at
	}
	r.finished = max(r.finished, view.FinishedAt.UnixNano())
}

func (r *groupRecord) remove(state job.State, p job.Progress) {
	r.ended[state-job.Succeeded]--
	r.progress.Sub(p)
}

func (r *groupRecord) numbers() [9]*int64 {
	p := &r.progress
	return [...]*int64{&r.ended[0], &r.ended[1], &r.ended[2], &p.Total, &p.Completed, &p.Failed, &p.Bytes, &p.BytesTotal, &r.created}
}

// append encodes a record of version 1.
func (r *groupRecord) append(dst []byte) []byte {
	dst = append(dst, 1)
	for _, n := range r.numbers() {
		dst = binary.AppendVarint(dst, *n)
	}
	return binary.AppendUvarint(binary.AppendVarint(dst, r.finished), r.seq)
}

func parseGroupRecord(b []byte) (r groupRecord, err error) {
	if len(b) == 0 || b[0] != 1 {
		return r, fmt.Errorf("%w: record of a group", job.ErrVersion)
	}
	b = b[1:]
	numbers := r.numbers()
	for _, n := range append(numbers[:], &r.finished) {
		v, w := binary.Varint(b)
		if w <= 0 {
			return r, corrupt("record of a group")
		}
		*n, b = v, b[w:]
	}
	var w int
	if r.seq, w = binary.Uvarint(b); w <= 0 || w != len(b) {
		return r, corrupt("record of a group")
	}
	return r, nil
}

func appendGroupKey(dst []byte, key groupKey) []byte {
	return append(appendTenant(append(dst, spaceGroup), key.tenant), key.name...)
}

// appendEndPrefix appends the prefix of the keys of a group's ends.
func appendEndPrefix(dst []byte, key groupKey) []byte {
	return append(append(appendTenant(append(dst, spaceGroupEnd), key.tenant), key.name...), 0)
}

func appendEndKey(dst []byte, key groupKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendEndPrefix(dst, key), seq)
}

// A liveGroup is a group with unfinished jobs.
type liveGroup struct {
	ended groupRecord
	// jobs, progress and created are of the unfinished jobs.
	jobs     job.Counts
	progress job.Progress
	created  time.Time
}

func (g *liveGroup) view(name string) job.Group {
	v := viewOf(name, &g.ended)
	for s, n := range g.jobs {
		v.Jobs[s] += n
	}
	v.Progress.Add(g.progress)
	if v.CreatedAt.IsZero() || g.created.Before(v.CreatedAt) {
		v.CreatedAt = g.created
	}
	return v
}

func viewOf(name string, r *groupRecord) job.Group {
	v := job.Group{Name: name, Progress: r.progress, Seq: r.seq}
	copy(v.Jobs[job.Succeeded:], r.ended[:])
	if r.created != 0 {
		v.CreatedAt = time.Unix(0, r.created).UTC()
	}
	if r.finished != 0 {
		v.FinishedAt = time.Unix(0, r.finished).UTC()
	}
	return v
}

// groups has the groups of a journal.
type groups struct {
	// changed has the records of the groups of the write that is being built. Owned by the writer.
	changed map[groupKey]*changedGroup

	mu   sync.Mutex
	live map[groupKey]*liveGroup
}

type changedGroup struct {
	groupRecord
	stored bool // the record is as on disk
}

// A groupChange is the record of a group after a write.
type groupChange struct {
	key    groupKey
	record groupRecord
}

func (g *groups) reset() {
	g.changed = make(map[groupKey]*changedGroup)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = make(map[groupKey]*liveGroup)
}

// record returns the record of a group in the write that is being built. The writer calls it.
func (j *Journal) groupRecord(key groupKey) *changedGroup {
	g := &j.groups
	c := g.changed[key]
	if c != nil {
		return c
	}
	c = &changedGroup{stored: true}
	g.changed[key] = c
	g.mu.Lock()
	live := g.live[key]
	if live != nil {
		c.groupRecord = live.ended
	}
	g.mu.Unlock()
	if live == nil {
		r, _, err := readGroup(j.db, key)
		if err != nil { // must not keep a job from ending
			j.log.Error("the counts of a group cannot be read, and begin anew", "group", key.name, "error", err)
		}
		c.groupRecord = r
	}
	return c
}

func readGroup(db *pebble.DB, key groupKey) (r groupRecord, found bool, err error) {
	found, err = get(db, appendGroupKey(nil, key), func(v []byte) (err error) {
		r, err = parseGroupRecord(v)
		return err
	})
	return r, found, err
}

// nextEnd returns the number of the end of a job that is being ended. Its time makes it higher than the numbers of jobs that were
// deleted with the whole record.
func (j *Journal) nextEnd(view *job.Job, at time.Time) uint64 {
	c := j.groupRecord(groupOf(view))
	c.seq, c.stored = max(c.seq+1, uint64(max(0, at.UnixMicro()))), false
	return c.seq
}

// endInGroup adds a job that has ended to its group.
func (b *builder) endInGroup(w *write, a *active) {
	c := b.j.groupRecord(groupOf(&a.head))
	c.add(&a.head)
	c.stored = false
	b.key = appendGroupIndexKey(b.key[:0], &a.head)
	b.value = appendSeq(b.value[:0], a.groupSeq)
	b.set(w, b.key, b.value)
	b.key = appendEndKey(b.key[:0], groupOf(&a.head), a.groupSeq)
	b.set(w, b.key, a.id[:])
}

// appendGroupIndexKey appends the key of a finished job in the index of its group, which is a label without a key. Its value is the
// number of the job's end.
func appendGroupIndexKey(dst []byte, view *job.Job) []byte {
	d := digestOf(view)
	return d.append(append(appendIndexPrefix(dst, view.Tenant, "", view.Group), view.ID[:]...))
}

// deleteFromGroup adds the deletion of the keys of a finished job in its group to a batch.
func deleteFromGroup(db *pebble.DB, b *pebble.Batch, view *job.Job) error {
	key := appendGroupIndexKey(nil, view)
	_, err := get(db, key, func(v []byte) error {
		if len(v) != 8 {
			return corrupt("end in a group")
		}
		return b.Delete(appendEndKey(nil, groupOf(view), binary.BigEndian.Uint64(v)), nil)
	})
	_ = b.Delete(key, nil)
	return err
}

// uncountInGroup subtracts a deleted job from its group. The writer calls it.
func (j *Journal) uncountInGroup(r removedJob) {
	if r.group.name != "" {
		c := j.groupRecord(r.group)
		c.remove(r.state, r.progress)
		c.stored = false
	}
}

// storeGroups adds the changed records to the write.
func (b *builder) storeGroups(w *write) {
	for key, c := range b.j.groups.changed {
		w.groups = append(w.groups, groupChange{key, c.groupRecord})
		if c.stored {
			continue
		}
		b.key = appendGroupKey(b.key[:0], key)
		if c.ended == (endedCounts{}) {
			_ = w.batch.Delete(b.key, nil)
			continue
		}
		b.value = c.append(b.value[:0])
		b.set(w, b.key, b.value)
	}
	clear(b.j.groups.changed)
}

// publishGroups makes the groups of a durable write visible, before the views of its jobs are. It returns what watchers of groups
// wait for.
func (j *Journal) publishGroups(w *write) (changed map[groupKey]bool) {
	g := &j.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	note := func(key groupKey) {
		if changed == nil {
			changed = make(map[groupKey]bool)
		}
		changed[key] = true
	}
	for _, c := range w.groups {
		if live := g.live[c.key]; live != nil {
			live.ended = c.record
		}
		note(c.key)
	}
	for _, d := range w.jobDeltas {
		if d.view.Group != "" && !d.a.rejected() {
			j.moveInGroup(d.a.durable.Load(), d.view, w.groups)
			note(groupOf(d.view))
		}
	}
	return changed
}

// moveUnfinished counts a change of a job's view; before is nil for a new job.
func (g *groups) moveUnfinished(j *Journal, before, after *job.Job) {
	if after.Group == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	j.moveInGroup(before, after, nil)
}

// moveInGroup counts a change of a job's view among the unfinished jobs of its group. fresh has records of groups. The caller holds
// groups.mu.
func (j *Journal) moveInGroup(before, after *job.Job, fresh []groupChange) {
	g := &j.groups
	if before == nil && after.State.Terminal() {
		return
	}
	key := groupOf(after)
	live := g.live[key]
	if live == nil {
		live = new(liveGroup)
		g.live[key] = live
		if i := slices.IndexFunc(fresh, func(c groupChange) bool { return c.key == key }); i >= 0 {
			live.ended = fresh[i].record
		} else if r, _, err := readGroup(j.db, key); err != nil {
			j.log.Error("the counts of a group cannot be read", "group", key.name, "error", err)
		} else {
			live.ended = r
		}
	}
	if before != nil {
		live.jobs[before.State]--
		live.progress.Sub(before.Progress)
	}
	if !after.State.Terminal() {
		live.jobs[after.State]++
		live.progress.Add(after.Progress)
		if live.created.IsZero() || after.CreatedAt.Before(live.created) {
			live.created = after.CreatedAt
		}
	}
	if live.jobs == (job.Counts{}) {
		delete(g.live, key)
	}
}

// Group returns a group of a tenant, or job.ErrGroupNotFound if it has no jobs.
func (j *Journal) Group(ctx context.Context, tenant, name string) (view job.Group, err error) {
	key := groupKey{tenant, name}
	err = j.read(ctx, func(db *pebble.DB) error {
		for range 2 { // a group that is not stored may have got a job since
			if v, live := j.groups.get(key); live {
				view = v
				return nil
			}
			r, found, err := readGroup(db, key)
			if err != nil {
				return fmt.Errorf("read group %s: %w", name, err)
			}
			if found {
				view = viewOf(name, &r)
				return nil
			}
		}
		return job.ErrGroupNotFound
	})
	return view, err
}

func (g *groups) get(key groupKey) (job.Group, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	live := g.live[key]
	if live == nil {
		return job.Group{}, false
	}
	return live.view(key.name), true
}

// unfinished returns the number of groups with unfinished jobs.
func (g *groups) unfinished() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live)
}

// liveNames returns the groups with unfinished jobs whose names are after a name, in order.
func (g *groups) liveNames(tenant, after string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for key := range maps.Keys(g.live) {
		if key.tenant == tenant && key.name > after {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	return names
}

// Groups returns at most limit groups of a tenant whose names are after a name, in order.
func (j *Journal) Groups(ctx context.Context, tenant, after string, limit int) (page []job.Group, err error) {
	names := j.groups.liveNames(tenant, after)
	prefix := appendGroupKey(nil, groupKey{tenant: tenant})
	low := append(appendGroupKey(nil, groupKey{tenant, after}), 0)
	if after == "" {
		low = prefix
	}
	add := func(g job.Group) bool {
		page = append(page, g)
		return len(page) < limit
	}
	addLive := func(until string) bool { // names before until; "" for all
		for len(names) > 0 && (until == "" || names[0] < until) {
			v, live := j.groups.get(groupKey{tenant, names[0]})
			if names = names[1:]; live && !add(v) {
				return false
			}
		}
		return true
	}
	if limit <= 0 {
		return nil, ctx.Err()
	}
	full := false
	err = j.read(ctx, func(db *pebble.DB) error {
		return scan(ctx, db, low, keyAfter(prefix), func(key, value []byte) error {
			name := string(bytes.TrimPrefix(key, prefix))
			if full = !addLive(name); full {
				return errStop
			}
			if len(names) > 0 && names[0] == name {
				names = names[1:]
			}
			view, live := j.groups.get(groupKey{tenant, name})
			if !live {
				r, err := parseGroupRecord(value)
				if err != nil {
					return err
				}
				view = viewOf(strings.Clone(name), &r)
			}
			if full = !add(view); full {
				return errStop
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	if !full {
		addLive("")
	}
	return page, nil
}

// GroupEnds returns at most limit ends of jobs of a group whose Seq is above after, in order. Ends of deleted jobs are missing.
func (j *Journal) GroupEnds(ctx context.Context, tenant, name string, after uint64, limit int) (ends []job.GroupEnd, err error) {
	key := groupKey{tenant, name}
	if after == ^uint64(0) || limit <= 0 {
		return nil, ctx.Err()
	}
	err = j.read(ctx, func(db *pebble.DB) error {
		prefix := appendEndPrefix(nil, key)
		return scan(ctx, db, appendEndKey(nil, key, after+1), keyAfter(prefix), func(k, v []byte) error {
			if len(k) != len(prefix)+8 || len(v) != len(job.ID{}) {
				return corrupt("end in a group")
			}
			ends = append(ends, job.GroupEnd{Seq: binary.BigEndian.Uint64(k[len(prefix):]), ID: job.ID(v)})
			if len(ends) >= limit {
				return errStop
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read group %s: %w", name, err)
	}
	return ends, nil
}
