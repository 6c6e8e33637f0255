package journaltest

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"sort"
	"sync"
	"time"

	"gather/internal/job"
	"gather/internal/notify"
)

// Volatile is a journal in memory: Append applies the batch and calls Done before it returns, and nothing expires. The zero value
// is ready to use. It is safe for concurrent use.
type Volatile struct {
	mu       sync.Mutex
	jobs     map[job.ID]*volatileJob
	keys     map[string]*volatileKey
	watchers map[job.ID][]notify.Signal
	closed   bool
	meter    job.Meter
	ends     []volatileEnd // of jobs of groups, in their order

	dependents job.Dependents

	documents map[string]job.Document
	revision  uint64
	observers map[notify.Signal]struct{}
}

type volatileJob struct {
	view       job.Job
	spec       []byte
	log        []job.LogRecord
	deleted    bool
	deliveries job.Deliveries
}

type volatileKey struct {
	fingerprint [32]byte
	ids         []job.ID
}

func keyName(k job.Key) string { return k.Tenant + "\x00" + k.Route + "\x00" + k.Value }

// Append applies a batch atomically.
func (v *Volatile) Append(ctx context.Context, b job.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := v.apply(b)
	if b.Done != nil {
		b.Done(err)
	}
	return nil
}

func (v *Volatile) apply(b job.Batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return &job.Rejection{Err: job.ErrStorage, Reason: "closed", Detail: "the journal is closed"}
	}
	if v.jobs == nil {
		v.jobs, v.keys = map[job.ID]*volatileJob{}, map[string]*volatileKey{}
	}
	next := make(map[job.ID]job.Job, len(b.Entries))
	for _, e := range b.Entries {
		view, ok := next[e.ID]
		if old := v.jobs[e.ID]; !ok && old != nil {
			view = old.view
		}
		for _, ev := range e.Events {
			var err error
			if view, err = job.Apply(view, ev); err != nil {
				if b.Key != nil {
					delete(v.keys, keyName(*b.Key))
				}
				return err
			}
		}
		next[e.ID] = view
	}
	if err := v.checkPending(b.Entries, next); err != nil {
		if b.Key != nil {
			delete(v.keys, keyName(*b.Key))
		}
		return err
	}
	entries := append(slices.Clip(b.Entries), v.resolve(b.Entries, next)...)
	var ids []job.ID
	for _, e := range entries {
		v.record(e, next[e.ID])
		if len(ids) < len(b.Entries) {
			ids = append(ids, e.ID)
		}
	}
	if b.Key != nil {
		v.keys[keyName(*b.Key)] = &volatileKey{fingerprint: b.Key.Fingerprint, ids: ids}
	}
	for _, e := range entries {
		id := e.ID
		for _, c := range v.watchers[id] {
			c.Notify()
		}
		v.notifyGroup(&v.jobs[id].view)
	}
	return nil
}

func (v *Volatile) record(e job.Entry, view job.Job) {
	j := v.jobs[e.ID]
	if j == nil {
		j = &volatileJob{}
		v.jobs[e.ID] = j
	}
	seq := uint64(0)
	if n := len(j.log); n > 0 {
		seq = j.log[n-1].Seq
	}
	for _, ev := range e.Events {
		seq += job.Seqs(ev)
		if s, ok := ev.(job.Submitted); ok {
			j.spec = s.Spec
			ev = job.Submitted{Job: job.Job{CreatedAt: s.Job.CreatedAt, State: job.Queued}}
		}
		if _, ok := ev.(job.Finished); ok && view.Group != "" {
			v.endInGroup(&view)
		}
		j.log = append(j.log, job.LogRecord{Seq: seq, Event: ev})
	}
	if view.Seq == j.view.Seq {
		return
	}
	var before *job.Job
	if j.view.Seq > 0 {
		before = &job.Job{}
		*before = j.view
	}
	j.view = view
	if view.State.Terminal() && j.deliveries == nil {
		j.deliveries = job.NewDeliveries(&view)
	}
	v.meter.Observe(before, &view)
}

// Stats returns the counts of a tenant's jobs.
func (v *Volatile) Stats(ctx context.Context, tenant string) (job.Stats, error) {
	return v.meter.Stats(tenant, time.Now()), ctx.Err()
}

// Recover visits the unfinished jobs, oldest first.
func (v *Volatile) Recover(ctx context.Context, visit func(job.Job, []byte, iter.Seq2[job.LogRecord, error]) error) error {
	v.mu.Lock()
	var live []*volatileJob
	for _, j := range v.jobs {
		if !j.view.State.Terminal() {
			live = append(live, j)
		}
	}
	v.mu.Unlock()
	slices.SortFunc(live, func(a, b *volatileJob) int { return bytes.Compare(a.view.ID[:], b.view.ID[:]) })
	for _, j := range live {
		log := func(yield func(job.LogRecord, error) bool) {
			for _, r := range j.log {
				if !yield(r, nil) {
					return
				}
			}
		}
		if err := cmp.Or(ctx.Err(), visit(j.view, j.spec, log)); err != nil {
			return err
		}
	}
	return nil
}

func (v *Volatile) get(tenant string, id job.ID) (*volatileJob, error) {
	switch j := v.jobs[id]; {
	case j == nil || j.view.Tenant != tenant:
		return nil, job.ErrNotFound
	case j.deleted:
		return nil, job.ErrExpired
	default:
		return j, nil
	}
}

// Get returns the view of a job.
func (v *Volatile) Get(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, err := v.get(tenant, id)
	if err != nil {
		return job.Job{}, err
	}
	return j.view, ctx.Err()
}

// Log returns events after a seq, oldest first.
func (v *Volatile) Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j := v.jobs[id]
	if j == nil || j.deleted {
		return nil, ctx.Err()
	}
	from := sort.Search(len(j.log), func(i int) bool { return j.log[i].Seq > after })
	to, size := from, 0
	for to < len(j.log) && (to == from || limit > 0 && size < job.PageBytes) {
		n := int(job.Seqs(j.log[to].Event))
		if to > from && n > limit {
			break
		}
		limit -= n
		size += job.EventBytes(j.log[to].Event)
		to++
	}
	return slices.Clone(j.log[from:to]), ctx.Err()
}

// ItemsByIndex returns items in the order of their indexes.
func (v *Volatile) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j := v.jobs[id]
	if j == nil || j.deleted || limit <= 0 {
		return nil, ctx.Err()
	}
	var page []job.Item
	for _, r := range j.log {
		block, first := blockOf(r)
		for i, item := range block.All() {
			if item.Index > after {
				item.Seq = first + uint64(i)
				page = append(page, item)
			}
		}
	}
	slices.SortFunc(page, func(a, b job.Item) int { return cmp.Compare(a.Index, b.Index) })
	n, size := 0, 0
	for n < min(limit, len(page)) && size < job.PageBytes {
		size += page[n].Bytes()
		n++
	}
	return page[:n], ctx.Err()
}

// blockOf returns the items of a record and the seq of the first.
func blockOf(r job.LogRecord) (*job.Items, uint64) {
	switch e := r.Event.(type) {
	case job.TaskProgress:
		return &e.Items, r.Seq - uint64(e.Items.Len()) + 1
	case job.Finished:
		return &e.Items, r.Seq - uint64(e.Items.Len())
	}
	return new(job.Items), 0
}

// Spec returns the spec of a job; nil if it is longer than limit and limit is not 0.
func (v *Volatile) Spec(ctx context.Context, tenant string, id job.ID, limit int) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, err := v.get(tenant, id)
	switch {
	case err != nil:
		return nil, job.ErrNotFound
	case limit > 0 && len(j.spec) > limit:
		return nil, nil
	}
	return j.spec, ctx.Err()
}

// List returns the jobs that match q, newest first.
func (v *Volatile) List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, j := range v.jobs {
		if !j.deleted && q.Matches(&j.view) && (q.Before == job.ID{} || bytes.Compare(id[:], q.Before[:]) < 0) {
			jobs = append(jobs, j.view)
		}
	}
	slices.SortFunc(jobs, func(a, b job.Job) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	if len(jobs) > q.Limit {
		jobs = jobs[:q.Limit]
		if q.Limit > 0 {
			next = jobs[q.Limit-1].ID
		}
	}
	return jobs, next, ctx.Err()
}

// Count returns the number of a tenant's jobs by state.
func (v *Volatile) Count(ctx context.Context, tenant string, kinds []string) (n job.Counts, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := job.Query{Tenant: tenant, Kinds: kinds}
	for _, j := range v.jobs {
		if !j.deleted && q.Matches(&j.view) {
			n[j.view.State]++
		}
	}
	return n, ctx.Err()
}

// Watch returns a channel that gets a token after every change of the job.
func (v *Volatile) Watch(id job.ID) (changed <-chan struct{}, stop func()) {
	c := notify.New()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.watchers == nil {
		v.watchers = map[job.ID][]notify.Signal{}
	}
	v.watchers[id] = append(v.watchers[id], c)
	return c, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if list := slices.DeleteFunc(v.watchers[id], func(o notify.Signal) bool { return o == c }); len(list) > 0 {
			v.watchers[id] = list
		} else {
			delete(v.watchers, id)
		}
	}
}

// Delete removes a terminal job and leaves a tombstone.
func (v *Volatile) Delete(ctx context.Context, tenant string, id job.ID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, err := v.get(tenant, id)
	switch {
	case err != nil:
		return err
	case !j.view.State.Terminal():
		return job.ErrNotFinished
	}
	view := j.view
	v.jobs[id] = &volatileJob{view: job.Job{ID: id, Tenant: tenant, State: j.view.State}, deleted: true}
	v.notifyGroup(&view)
	return ctx.Err()
}

// Results returns the bytes of results of an unfinished job, and of all jobs of a tenant.
func (v *Volatile) Results(tenant string, id job.ID) (ofJob, ofTenant int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, j := range v.jobs {
		bytes := int64(0)
		for _, r := range j.log {
			bytes += job.ResultBytes(r.Event)
		}
		if j.view.Tenant == tenant {
			ofTenant += bytes
		}
		if j.view.ID == id && !j.view.State.Terminal() {
			ofJob = bytes
		}
	}
	return ofJob, ofTenant
}

// Reserve reserves an idempotency key.
func (v *Volatile) Reserve(ctx context.Context, key job.Key) ([]job.ID, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys == nil {
		v.jobs, v.keys = map[job.ID]*volatileJob{}, map[string]*volatileKey{}
	}
	k, taken := v.keys[keyName(key)]
	switch {
	case !taken:
		v.keys[keyName(key)] = nil
		return nil, ctx.Err()
	case k == nil:
		return nil, job.ErrKeyInProgress
	case k.fingerprint != key.Fingerprint:
		return nil, job.ErrKeyReused
	}
	return k.ids, ctx.Err()
}

// Release releases a reserved key.
func (v *Volatile) Release(key job.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k, taken := v.keys[keyName(key)]; taken && k == nil {
		delete(v.keys, keyName(key))
	}
}

// Ready returns nil until the journal is closed.
func (v *Volatile) Ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return job.ErrStorage
	}
	return nil
}

// Close makes every later Append reject its batch.
func (v *Volatile) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	return nil
}

// Reopen returns a journal with the content of v, as after a restart.
func (v *Volatile) Reopen() *Volatile {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := &Volatile{jobs: v.jobs, ends: v.ends, dependents: v.dependents, documents: v.documents, revision: v.revision, keys: map[string]*volatileKey{}}
	for _, j := range v.jobs {
		if !j.deleted {
			next.meter.Restore(&j.view)
		}
	}
	for name, k := range v.keys {
		if k != nil {
			next.keys[name] = k
		}
	}
	return next
}

// Elapsed returns the time since a recorded instant.
func (v *Volatile) Elapsed(since time.Time) time.Duration { return time.Since(since) }

// Deliveries returns the deliveries of a finished job.
func (v *Volatile) Deliveries(_ context.Context, tenant string, id job.ID) (job.Deliveries, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, err := v.get(tenant, id)
	if err != nil || len(j.deliveries) == 0 {
		return nil, job.ErrNotFound
	}
	return j.deliveries, nil
}

// ChangeDelivery changes a delivery.
func (v *Volatile) ChangeDelivery(_ context.Context, tenant string, id job.ID, c job.DeliveryChange) (job.Deliveries, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, err := v.get(tenant, id)
	if err != nil || len(j.deliveries) == 0 {
		return nil, job.ErrNotFound
	}
	ds, err := j.deliveries.Apply(c)
	if err == nil {
		j.deliveries = ds
	}
	return ds, err
}
