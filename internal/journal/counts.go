package journal

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// A countKey identifies a number of jobs.
type countKey struct{ tenant, kind string }

// endedCounts are numbers of finished jobs, by their state less job.Succeeded.
type endedCounts [int(job.Cancelled-job.Succeeded) + 1]int64

// jobCounts counts the jobs of each tenant and kind by state. The counts of finished jobs are stored in the space c, in the write
// that changes them; unfinished jobs are counted in memory.
type jobCounts struct {
	// ended has the counts of finished jobs, of the write that is being built; changed has the keys that it changes. Owned by
	// the writer.
	ended   map[countKey]*endedCounts
	changed map[countKey]bool

	mu sync.Mutex
	// visible has the counts that readers see: of the durable views.
	visible map[countKey]*job.Counts
}

func (c *jobCounts) reset() {
	c.ended, c.changed = make(map[countKey]*endedCounts), make(map[countKey]bool)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.visible = make(map[countKey]*job.Counts)
}

// addEnded adds n finished jobs of a kind and state. The writer calls it.
func (c *jobCounts) addEnded(key countKey, state job.State, n int64) {
	e := c.ended[key]
	if e == nil {
		e = new(endedCounts)
		c.ended[key] = e
	}
	e[state-job.Succeeded] += n
	c.changed[key] = true
}

// A countChange is the new counts of a key.
type countChange struct {
	key   countKey
	ended endedCounts
}

// storeCounts adds the changed counts to the write.
func (b *builder) storeCounts(w *write) {
	c := &b.j.counts
	for key := range c.changed {
		e := c.ended[key]
		w.counts = append(w.counts, countChange{key, *e})
		b.key = appendCountKey(b.key[:0], key)
		if *e == (endedCounts{}) {
			delete(c.ended, key)
			_ = w.batch.Delete(b.key, nil)
			continue
		}
		b.value = e.append(b.value[:0])
		b.set(w, b.key, b.value)
	}
	clear(c.changed)
}

// publishCounts makes the counts of a durable write visible. The caller has not published the views yet.
func (j *Journal) publishCounts(w *write) {
	c := &j.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range w.counts {
		v := c.ofLocked(change.key)
		copy(v[job.Succeeded:], change.ended[:])
		c.dropLocked(change.key, v)
	}
	for _, d := range w.jobDeltas {
		if !d.a.rejected() {
			c.moveLocked(d.a.durable.Load(), d.view)
		}
	}
}

// moveUnfinished counts a change of a job's view; before is nil for a new job.
func (c *jobCounts) moveUnfinished(before, after *job.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moveLocked(before, after)
}

func (c *jobCounts) moveLocked(before, after *job.Job) {
	if before != nil && before.State == after.State || before == nil && after.State.Terminal() {
		return
	}
	key := countKey{after.Tenant, after.Kind}
	v := c.ofLocked(key)
	if before != nil {
		v[before.State]--
	}
	if !after.State.Terminal() {
		v[after.State]++
	}
	c.dropLocked(key, v)
}

func (c *jobCounts) ofLocked(key countKey) *job.Counts {
	v := c.visible[key]
	if v == nil {
		v = new(job.Counts)
		c.visible[key] = v
	}
	return v
}

func (c *jobCounts) dropLocked(key countKey, v *job.Counts) {
	if *v == (job.Counts{}) {
		delete(c.visible, key)
	}
}

// Count returns the number of a tenant's jobs in each state, of some kinds or, without kinds, of all.
func (j *Journal) Count(ctx context.Context, tenant string, kinds []string) (n job.Counts, err error) {
	if err := ctx.Err(); err != nil {
		return n, err
	}
	c := &j.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	q := job.Query{Tenant: tenant, Kinds: kinds}
	for key, v := range c.visible {
		if q.Matches(&job.Job{Tenant: key.tenant, Kind: key.kind}) {
			for s := range v {
				n[s] += v[s]
			}
		}
	}
	return n, nil
}

// finished returns the number of all finished jobs.
func (c *jobCounts) finished() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.visible {
		n += v[job.Succeeded] + v[job.Failed] + v[job.Cancelled]
	}
	return n
}

// loadCounts reads the counts of finished jobs, beside readers when a replica is restored.
func (j *Journal) loadCounts() error {
	return scan(context.Background(), j.db, []byte{spaceCount}, []byte{spaceCount + 1}, func(k, value []byte) error {
		tenant, kind, err := takeTenant(k[1:])
		if err != nil {
			return err
		}
		e, err := parseEndedCounts(value)
		if err != nil {
			return err
		}
		key, c := countKey{tenant, string(kind)}, &j.counts
		c.ended[key] = &e
		c.mu.Lock()
		defer c.mu.Unlock()
		copy(c.ofLocked(key)[job.Succeeded:], e[:])
		return nil
	})
}

func appendCountKey(dst []byte, key countKey) []byte {
	return append(appendTenant(append(dst, spaceCount), key.tenant), key.kind...)
}

func (e *endedCounts) append(dst []byte) []byte {
	for _, n := range e {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

func parseEndedCounts(value []byte) (e endedCounts, err error) {
	for i := range e {
		n, w := binary.Varint(value)
		if w <= 0 {
			return e, corrupt("counts")
		}
		e[i], value = n, value[w:]
	}
	if len(value) > 0 {
		return e, corrupt("counts")
	}
	return e, nil
}

// countEnded is the migration from format version 1: it counts the finished jobs, and adds them to the index.
func countEnded(db *pebble.DB, b *pebble.Batch) error {
	counts := make(map[countKey]*endedCounts)
	var scratch []byte
	err := scan(context.Background(), db, []byte{spaceEnded}, []byte{spaceEnded + 1}, func(_, value []byte) error {
		view, _, _, err := parseEnded(value)
		if err != nil {
			return err
		}
		key := countKey{view.Tenant, view.Kind}
		if counts[key] == nil {
			counts[key] = new(endedCounts)
		}
		counts[key][view.State-job.Succeeded]++
		scratch = visitIndex(scratch, &view, func(key []byte) { _ = b.Set(key, nil, nil) })
		return nil
	})
	for key, e := range counts {
		if err := b.Set(appendCountKey(nil, key), e.append(nil), nil); err != nil {
			return err
		}
	}
	return err
}

// A removedJob is a finished job that is being deleted.
type removedJob struct {
	key   countKey
	state job.State
	// group is the group of the job; without a name for none.
	group    groupKey
	progress job.Progress
}

// uncount subtracts the deleted jobs. The writer calls it.
func (c *jobCounts) uncount(jobs []removedJob) {
	for _, r := range jobs {
		c.addEnded(r.key, r.state, -1)
	}
}

// deleteEnded adds the deletion of an ended job, its spec and its index keys to the batch.
func (r *removal) deleteEnded(db *pebble.DB, id job.ID, key []byte, counted bool) error {
	var view job.Job
	var place specPlace
	found, err := get(db, key, func(v []byte) (err error) {
		view, _, place, err = parseEnded(v)
		return err
	})
	if !found || err != nil {
		return err
	}
	_ = r.Delete(key, nil)
	if place.apart() {
		_ = r.Delete(appendIDKey(nil, spaceSpec, id), nil)
	}
	visitIndex(nil, &view, func(key []byte) { _ = r.Delete(key, nil) })
	if len(view.Webhooks) > 0 {
		r.delivered = append(r.delivered, jobRef{view.Tenant, id})
	}
	if counted {
		r.removed = append(r.removed, removedJob{countKey{view.Tenant, view.Kind}, view.State, groupOf(&view), view.Progress})
	}
	if view.Group != "" {
		return deleteFromGroup(db, r.Batch, &view)
	}
	return nil
}
