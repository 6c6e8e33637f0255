package journal

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

const (
	// maxWriteBytes bounds the batches of one write, so that a write takes milliseconds.
	maxWriteBytes = 8 << 20
	// maxRun is the size at which a run of events ends, so that a page of a log decodes little more than it returns.
	maxRun = 64 << 10
	// maxRuns is the number of buffers for runs that are kept for reuse, maxFreeRun their maximum size in bytes.
	maxRuns    = 64
	maxFreeRun = 1 << 20
	// minOrdered is the minimum number of units of a job whose items are indexed by their order.
	minOrdered = 1024
)

// A write is the content of one Pebble batch.
type write struct {
	requests  []*request
	bytes     int64
	events    int
	batch     *pebble.Batch
	jobDeltas []*jobDelta
	// ended lists the jobs to drop from memory, because their ends have been published.
	ended    []job.ID
	expiries []expiries
	counts   []countChange
	groups   []groupChange
	// due are the changes of pending deliveries.
	due   []dueChange
	began time.Time
}

// reset empties a write for the next.
func (w *write) reset() {
	clear(w.requests)
	clear(w.jobDeltas)
	*w = write{requests: w.requests[:0], jobDeltas: w.jobDeltas[:0], ended: w.ended[:0], counts: w.counts[:0], groups: w.groups[:0]}
}

// A jobDelta is the change of one job in a write.
type jobDelta struct {
	a *active
	// first is true when the job was submitted in this write.
	first bool
	spec  []byte
	// run has the events that are not yet in the batch.
	run []byte
	// orders lists the blocks of items in the change.
	orders []runOrder
	// blocks is the number of orders whose run is in the batch.
	blocks int
	// view is the job's durable view after the write.
	view *job.Job
}

type runOrder struct {
	orderKey
	run uint64
}

// expiries lists the records of a write that expire at the same time.
type expiries struct {
	ms    int64
	kind  byte
	first []byte
	list  []byte
}

// runWriter builds writes, waits until they are durable and publishes them, until the queue is closed and empty.
//
// There is one write at a time, of bulk results or of other requests. Requests that arrive while the disk is busy share the next write, so writes grow with the
// latency of the disk. A second write in flight was measured: it makes more and smaller writes, and is slower for one client
// and for many.
func (j *Journal) runWriter() {
	b := &builder{j: j}
	if !j.c.Replica {
		for _, a := range j.jobs.m {
			b.dependents.Update(&job.Job{}, &a.head)
		}
	}
	w := &write{}
	for j.queue.take(w, maxWriteBytes) {
		b.build(w)
		j.ending.set(w)
		if err := j.commit(w); err != nil {
			j.failWrite(w, err)
		} else {
			j.publish(w)
		}
		j.ending.clear()
		w.reset()
	}
}

// commit makes a write durable, or applies it without a sync for a replica.
func (j *Journal) commit(w *write) error {
	if err := j.health.issue(issueEngine); err != nil {
		return err
	}
	numbered := !w.batch.Empty()
	if numbered {
		j.mark.number(w.batch)
	}
	if j.c.Replica {
		if err := j.db.Apply(w.batch, pebble.NoSync); err != nil {
			j.markFailed(fmt.Errorf("apply: %w", err))
			return err
		}
		_ = w.batch.Close()
		return nil
	}
	if err := j.db.ApplyNoSyncWait(w.batch, pebble.Sync); err != nil {
		j.markFailed(fmt.Errorf("apply: %w", err))
		return err
	}
	// If Pebble has failed, SyncWait would never return.
	if err := j.health.issue(issueEngine); err != nil {
		return err
	}
	err := w.batch.SyncWait()
	if err == nil && j.fs.Off() {
		// The file system may have skipped the sync.
		err = ErrClosed
	}
	if err == nil && numbered {
		if err := j.mark.recordSync(j.fs); err != nil {
			j.met.background.Add(1) // not fatal: an older mark detects less
		}
	}
	// Close fails only after an error of the sync.
	_ = w.batch.Close()
	return err
}

// A builder adds requests to writes. The writer owns it.
type builder struct {
	j    *Journal
	undo []undo
	// dependents has the jobs that wait for others. A replica has none: the cluster resolves them.
	dependents job.Dependents
	// key, value, scratch and spec are reused buffers, runs reused buffers of jobDeltas.
	key, value, scratch, spec []byte
	runs                      [][]byte
}

type undo struct {
	a     *active
	head  job.Job
	fresh bool
}

func (b *builder) build(w *write) {
	w.batch = b.j.db.NewBatch()
	b.j.jobs.remove(w.ended)
	for _, req := range w.requests {
		switch {
		case req.state.Load() != requestPending:
			b.j.releaseKey(req)
		case req.op != nil:
			b.setMetadata(req.metadata, w)
			req.durable = req.op(w.batch)
			req.applied = true
		default:
			b.setMetadata(req.metadata, w)
			err := b.apply(w, req)
			if errors.Is(err, job.ErrDependencyEnded) {
				req.rejection = err // once the end of the dependency, which may be in this write, is visible
				continue
			}
			if err != nil {
				b.j.releaseKey(req)
				b.j.reject(req, err)
				continue
			}
			req.applied = true
		}
	}
	for _, d := range w.jobDeltas {
		b.finish(w, d)
	}
	b.storeDeliveries(w)
	b.storeCounts(w)
	b.storeGroups(w)
	if !b.j.c.Replica {
		if v := b.j.clock.record(); v != nil {
			b.set(w, clockKey, v)
		}
	}
	w.storeExpiries(w.batch)
}

// set adds a key to the batch, whose Set cannot fail.
func (b *builder) set(w *write, key, value []byte) { _ = w.batch.Set(key, value, nil) }

// apply applies the events of a batch to its jobs, and adds them to the write. After an error it has changed nothing.
func (b *builder) apply(w *write, req *request) error {
	b.undo = b.undo[:0]
	rejected := 0
	for i := range req.entries {
		e := &req.entries[i]
		a := b.j.jobs.m[e.ID]
		if a != nil && a.rejected() {
			rejected++
			continue
		}
		if len(e.Events) == 0 {
			continue
		}
		fresh := a == nil
		if fresh {
			a = &active{id: e.ID, submission: req}
		}
		head := a.head
		var err error
		for _, ev := range e.Events {
			if s, ok := ev.(job.Submitted); ok && s.Job.ID != e.ID {
				err = fmt.Errorf("%w: job %s submitted as %s", job.ErrTransition, s.Job.ID, e.ID)
			} else {
				head, err = job.Apply(head, ev)
			}
			if err != nil {
				b.rollback()
				return err
			}
		}
		if fresh {
			if err := b.checkPending(&head); err != nil {
				b.rollback()
				return err
			}
		}
		b.undo = append(b.undo, undo{a: a, head: a.head, fresh: fresh})
		if fresh {
			b.j.jobs.add(a)
		}
		a.head = head
	}
	if rejected == len(req.entries) && rejected > 0 {
		return newRejection("journal-disk", "the submission was rejected", 0)
	}
	if req.key != nil {
		b.recordKey(w, req)
	}
	req.entries = append(slices.Clip(req.entries), b.resolve()...)
	for i := range req.entries {
		b.recordEvents(w, req, &req.entries[i])
	}
	return nil
}

// setMetadata adds metadata to the batch.
func (b *builder) setMetadata(metadata []Metadata, w *write) {
	for _, n := range metadata {
		b.key = append(append(b.key[:0], spaceMetadata), n.Name...)
		if n.Value == nil {
			_ = w.batch.Delete(b.key, nil)
		} else {
			b.set(w, b.key, n.Value)
		}
	}
}

// rollback restores the jobs that apply has changed.
func (b *builder) rollback() {
	for i := len(b.undo) - 1; i >= 0; i-- {
		u := &b.undo[i]
		u.a.head = u.head
		if u.fresh {
			b.j.jobs.remove([]job.ID{u.a.id})
		}
	}
}

// recordEvents adds the events of an entry to the job's jobDelta.
func (b *builder) recordEvents(w *write, req *request, e *job.Entry) {
	a := b.j.jobs.m[e.ID]
	if len(e.Events) == 0 || a.submission != req && a.rejected() {
		return
	}
	d := a.delta
	if d == nil {
		d = b.newDelta(a)
		w.jobDeltas = append(w.jobDeltas, d)
	}
	for _, ev := range e.Events {
		w.events++
		a.written += job.Seqs(ev)
		b.count(a, ev)
		var items *job.Items
		switch ev := ev.(type) {
		case job.Submitted:
			d.first, d.spec = true, ev.Spec
			a.counted = b.j.countsResults(ev.Job.Tenant)
			if ev.Job.Group != "" {
				b.j.groupRecord(groupOf(&ev.Job)) // read now, not when the write is published
			}
			continue
		case job.TaskProgress:
			items = &ev.Items
		case job.Finished:
			items = &ev.Items
			if a.head.Group != "" {
				a.groupSeq = b.j.nextEnd(&a.head, ev.At)
			}
		}
		if !a.logged {
			a.logged = true
			d.run = job.AppendEvent(d.run, job.Submitted{Job: a.head})
		}
		d.run = job.AppendEvent(d.run, ev)
		if items != nil && items.Len() > 0 && a.head.Progress.Total >= minOrdered {
			lo, hi := items.Range()
			d.orders = append(d.orders, runOrder{orderKey: orderKey{lo: lo, hi: hi, seq: a.written}})
		}
		if len(d.run) >= maxRun {
			b.cutRun(w, d)
		}
	}
}

// cutRun moves the jobDelta's run into the batch.
func (b *builder) cutRun(w *write, d *jobDelta) {
	b.key = appendLogKey(b.key[:0], d.a.id, d.a.written)
	b.set(w, b.key, d.run)
	d.run = d.run[:0]
	for ; d.blocks < len(d.orders); d.blocks++ {
		d.orders[d.blocks].run = d.a.written
	}
}

// finish adds the rest of a job's change to the batch, and sets its view.
func (b *builder) finish(w *write, d *jobDelta) {
	a := d.a
	a.delta = nil
	if len(d.run) > 0 {
		b.cutRun(w, d)
	}
	head := &a.head
	ended := head.State.Terminal()
	switch {
	case ended:
		spec := d.spec
		if a.stored {
			b.key = appendJobKey(b.key[:0], spaceActive, head.Tenant, a.id)
			spec, a.place = b.storedSpec(a, b.key)
			_ = w.batch.Delete(b.key, nil)
		} else {
			b.placeSpec(w, a, spec)
		}
		b.key = appendJobKey(b.key[:0], spaceEnded, head.Tenant, a.id)
		b.value, b.scratch = appendJob(b.value[:0], b.scratch, head, spec, a.place)
		b.set(w, b.key, b.value)
		w.expire(b.j.due(head.ExpiresAt, head.ExpiresAt.Sub(head.FinishedAt)), expiryJob, a.id[:], b.key[1:])
		b.storeResults(w, a)
		b.index(w, head)
		b.endDeliveries(head)
		b.j.counts.addEnded(countKey{head.Tenant, head.Kind}, head.State, 1)
		if head.Group != "" {
			b.endInGroup(w, a)
		}
	case d.first:
		b.placeSpec(w, a, d.spec)
		b.value, b.scratch = appendJob(b.value[:0], b.scratch, head, d.spec, a.place)
		b.key = appendJobKey(b.key[:0], spaceActive, head.Tenant, a.id)
		b.set(w, b.key, b.value)
		a.stored = true
	}
	if !d.first || !ended {
		for _, o := range d.orders {
			b.key = appendOrderKey(b.key[:0], a.id, o.lo, o.hi, o.seq)
			b.value = appendSeq(b.value[:0], o.run)
			b.set(w, b.key, b.value)
		}
	}
	if ended {
		// No event can follow, so head can be shared.
		d.view = head
	} else {
		d.view = new(job.Job)
		*d.view = *head
	}
	if cap(d.run) > 0 && cap(d.run) <= maxFreeRun && len(b.runs) < maxRuns {
		b.runs = append(b.runs, d.run[:0])
	}
	d.run, d.spec = nil, nil
}

// placeSpec decides where the spec of a new job is, and adds it to the space s if it is there.
func (b *builder) placeSpec(w *write, a *active, spec []byte) {
	if a.place = placeOf(spec); a.place.apart() {
		b.key = appendIDKey(b.key[:0], spaceSpec, a.id)
		b.set(w, b.key, spec)
	}
}

// storedSpec returns the spec of a job in the space a, if it is inline. A spec that cannot be read is lost, but must not keep
// the job from ending.
func (b *builder) storedSpec(a *active, key []byte) ([]byte, specPlace) {
	if a.place != specInline {
		return nil, a.place
	}
	v, closer, err := b.j.db.Get(key)
	if err == nil {
		_, spec, place, err := parseJob(v)
		if err == nil {
			b.spec = append(b.spec[:0], spec...)
		}
		if err = errors.Join(err, closer.Close()); err == nil && place == specInline {
			return b.spec, specInline
		}
	}
	b.j.log.Warn("the spec of a job that ended cannot be read", "job_id", a.id.String(), "error", err)
	return nil, specUnknown
}

// recordKey adds the idempotency key of a request to the write.
func (b *builder) recordKey(w *write, req *request) {
	r := keyRecord{expires: req.key.Expires, fingerprint: req.key.Fingerprint}
	if r.expires.IsZero() {
		r.expires = b.j.now().Add(b.j.c.KeyRetention)
	}
	for i := range req.entries {
		r.ids = append(r.ids, req.entries[i].ID)
	}
	h := hashKey(*req.key)
	b.key = appendKeyKey(b.key[:0], h)
	b.value = r.append(b.value[:0])
	b.set(w, b.key, b.value)
	w.expire(r.expires, expiryKey, h[:16], h[:])
}

// expire adds a record that expires at a time, rounded up to the second so that a write has few lists.
func (w *write) expire(at time.Time, kind byte, first, ref []byte) {
	ms := at.UnixMilli()
	if rest := ms % 1000; rest != 0 && ms < math.MaxInt64-1000 {
		ms += 1000 - rest
	}
	for i := range w.expiries {
		if e := &w.expiries[i]; e.ms == ms && e.kind == kind {
			e.list = append(e.list, ref...)
			return
		}
	}
	w.expiries = append(w.expiries, expiries{
		ms: ms, kind: kind, first: append([]byte(nil), first...), list: append([]byte(nil), ref...),
	})
}

func (w *write) storeExpiries(b *pebble.Batch) {
	for i := range w.expiries {
		e := &w.expiries[i]
		_ = b.Set(appendExpiryKey(make([]byte, 0, 32), e.ms, e.kind, e.first), e.list, nil)
	}
}

// newDelta starts a job's part in the write.
func (b *builder) newDelta(a *active) *jobDelta {
	d := &jobDelta{a: a}
	if n := len(b.runs); n > 0 {
		d.run, b.runs = b.runs[n-1], b.runs[:n-1]
	}
	a.delta = d
	return d
}
