package journal

import (
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

const (
	// maxWriteBytes bounds the batches of one write, so that a write takes milliseconds.
	maxWriteBytes = 8 << 20
	// maxRun is the size from which a run of events is cut, so that a page of a log decodes little more than it needs.
	maxRun = 64 << 10
	// maxRuns is the number of buffers for runs that are kept for reuse, maxFreeRun the largest size of one in bytes.
	maxRuns    = 64
	maxFreeRun = 1 << 20
	// minOrdered is how many units a job has at least for its items to be indexed by their order.
	minOrdered = 1024
)

// A write is the content of one Pebble batch.
type write struct {
	items     []*request
	bytes     int64
	events    int
	batch     *pebble.Batch
	jobDeltas []*jobDelta
	// ended are jobs to drop from memory: their ends were published before.
	ended    []job.ID
	expiries []expiries
	began    time.Time
}

// reset empties a write for the next.
func (w *write) reset() {
	clear(w.items)
	clear(w.jobDeltas)
	*w = write{items: w.items[:0], jobDeltas: w.jobDeltas[:0], ended: w.ended[:0]}
}

// A jobDelta is the change of one job in a write.
type jobDelta struct {
	a *active
	// first is true when the job was submitted in this write.
	first bool
	spec  []byte
	// run has the events that are not yet in the batch.
	run []byte
	// orders has the item blocks of the change, and blocks how many of them are in runs already in the batch.
	orders []runOrder
	blocks int
	// view is the visible state once the write is durable.
	view *job.Job
}

type runOrder struct {
	orderKey
	run uint64
}

// expiries has the records of a write that expire in the same moment.
type expiries struct {
	ms    int64
	kind  byte
	first []byte
	list  []byte
}

// runWriter builds writes, waits until they are durable and publishes them, until the queue is closed and empty.
//
// There is one write at a time. Requests that come while the disk is busy go together into the next write, so that a
// write grows with the latency of the disk; a second write in flight was measured to make more and smaller writes, and
// to be slower for one client and for many.
func (j *Journal) runWriter() {
	b := &builder{j: j}
	w := &write{}
	for j.queue.take(w, maxWriteBytes) {
		b.build(w)
		if err := j.commit(w); err != nil {
			j.abandon(w, err)
		} else {
			j.publish(w)
		}
		w.reset()
	}
}

// commit makes a write durable.
func (j *Journal) commit(w *write) error {
	if err := j.health.has(causeEngine); err != nil {
		return err
	}
	if j.c.View {
		if err := j.db.Apply(w.batch, pebble.NoSync); err != nil {
			j.die(fmt.Errorf("apply: %w", err))
			return err
		}
		_ = w.batch.Close()
		return nil
	}
	numbered := !w.batch.Empty()
	if numbered {
		j.mark.number(w.batch)
	}
	if err := j.db.ApplyNoSyncWait(w.batch, pebble.Sync); err != nil {
		j.die(fmt.Errorf("apply: %w", err))
		return err
	}
	// If Pebble stopped meanwhile, a wait for the disk would never end.
	if err := j.health.has(causeEngine); err != nil {
		return err
	}
	err := w.batch.SyncWait()
	if err == nil && j.fs.Off() {
		// The sync may have been swallowed.
		err = ErrClosed
	}
	if err == nil && numbered {
		if err := j.mark.forced(j.fs); err != nil {
			j.met.background.Add(1) // an older mark detects less
		}
	}
	// Without an error of the sync it cannot fail.
	_ = w.batch.Close()
	return err
}

// A builder belongs to the writer.
type builder struct {
	j    *Journal
	undo []undo
	// key, value and scratch are buffers; runs are those for the runs of jobDeltas.
	key, value, scratch []byte
	runs                [][]byte
}

type undo struct {
	a     *active
	head  job.Job
	fresh bool
}

func (b *builder) build(w *write) {
	w.batch = b.j.db.NewBatch()
	b.j.jobs.remove(w.ended)
	for _, it := range w.items {
		switch {
		case it.state.Load() != itemWaiting:
			b.j.release(it)
		case it.control != nil:
			it.durable = it.control(w.batch)
			it.applied = true
		default:
			b.note(it.notes, w)
			if err := b.fold(w, it); err != nil {
				b.j.refuse(it, err)
				b.j.release(it)
				continue
			}
			it.applied = true
		}
	}
	for _, t := range w.jobDeltas {
		b.finish(w, t)
	}
	if !b.j.c.View {
		if v := b.j.clock.record(); v != nil {
			b.set(w, clockKey, v)
		}
	}
	w.storeExpiries(w.batch)
}

// set adds to the batch, whose Set cannot fail.
func (b *builder) set(w *write, key, value []byte) { _ = w.batch.Set(key, value, nil) }

// fold applies a batch to the heads of its jobs: all of it or, with an error, nothing.
func (b *builder) fold(w *write, it *request) error {
	b.undo = b.undo[:0]
	refused := 0
	for i := range it.entries {
		e := &it.entries[i]
		a := b.j.jobs.m[e.ID]
		if a != nil && a.refused() {
			refused++
			continue
		}
		if len(e.Events) == 0 {
			continue
		}
		fresh := a == nil
		if fresh {
			a = &active{id: e.ID, submission: it}
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
		b.undo = append(b.undo, undo{a: a, head: a.head, fresh: fresh})
		if fresh {
			b.j.jobs.add(a)
		}
		a.head = head
	}
	if refused == len(it.entries) && refused > 0 {
		return storage("journal-disk", "the submission was refused", 0)
	}
	for i := range it.entries {
		b.record(w, it, &it.entries[i])
	}
	if it.key != nil {
		b.remember(w, it)
	}
	return nil
}

// note adds the notes of an item to the batch.
func (b *builder) note(notes []Note, w *write) {
	for _, n := range notes {
		b.key = append(append(b.key[:0], spaceNote), n.Name...)
		if n.Value == nil {
			_ = w.batch.Delete(b.key, nil)
		} else {
			b.set(w, b.key, n.Value)
		}
	}
}

func (b *builder) rollback() {
	for i := len(b.undo) - 1; i >= 0; i-- {
		u := &b.undo[i]
		u.a.head = u.head
		if u.fresh {
			b.j.jobs.remove([]job.ID{u.a.id})
		}
	}
}

// record adds the events of an entry to the job's jobDelta.
func (b *builder) record(w *write, it *request, e *job.Entry) {
	a := b.j.jobs.m[e.ID]
	if len(e.Events) == 0 || a.submission != it && a.refused() {
		return
	}
	t := a.jobDelta
	if t == nil {
		t = b.jobDelta(a)
		w.jobDeltas = append(w.jobDeltas, t)
	}
	for _, ev := range e.Events {
		w.events++
		a.written += job.Seqs(ev)
		b.count(a, ev)
		var items *job.Items
		switch ev := ev.(type) {
		case job.Submitted:
			t.first, t.spec = true, ev.Spec
			a.counted = b.j.countsResults(ev.Job.Tenant)
			continue
		case job.Advanced:
			items = &ev.Items
		case job.Finished:
			items = &ev.Items
		}
		if !a.logged {
			a.logged = true
			t.run = job.AppendEvent(t.run, job.Submitted{Job: a.head})
		}
		t.run = job.AppendEvent(t.run, ev)
		if items != nil && items.Len() > 0 && a.head.Progress.Total >= minOrdered {
			lo, hi := items.Range()
			t.orders = append(t.orders, runOrder{orderKey: orderKey{lo: lo, hi: hi, seq: a.written}})
		}
		if len(t.run) >= maxRun {
			b.cut(w, t)
		}
	}
}

// cut moves the jobDelta's run into the batch.
func (b *builder) cut(w *write, t *jobDelta) {
	b.key = appendLogKey(b.key[:0], t.a.id, t.a.written)
	b.set(w, b.key, t.run)
	t.run = t.run[:0]
	for ; t.blocks < len(t.orders); t.blocks++ {
		t.orders[t.blocks].run = t.a.written
	}
}

// finish adds the rest of a change to the batch.
func (b *builder) finish(w *write, t *jobDelta) {
	a := t.a
	a.jobDelta = nil
	if len(t.run) > 0 {
		b.cut(w, t)
	}
	head := &a.head
	ended := head.State.Terminal()
	switch {
	case ended:
		if a.stored {
			b.key = appendJobKey(b.key[:0], spaceActive, head.Tenant, a.id)
			_ = w.batch.Delete(b.key, nil)
		}
		if a.long {
			b.key = appendIDKey(b.key[:0], spaceSpec, a.id)
			_ = w.batch.Delete(b.key, nil)
		}
		b.key = appendJobKey(b.key[:0], spaceEnded, head.Tenant, a.id)
		b.value = head.AppendBinary(b.value[:0])
		b.set(w, b.key, b.value)
		w.expire(b.j.due(head.ExpiresAt, head.Retention), expiryJob, a.id[:], b.key[1:])
		b.storeResults(w, a)
	case t.first:
		b.value, b.scratch, a.long = appendActive(b.value[:0], b.scratch, head, t.spec)
		b.key = appendJobKey(b.key[:0], spaceActive, head.Tenant, a.id)
		b.set(w, b.key, b.value)
		if a.long {
			b.key = appendIDKey(b.key[:0], spaceSpec, a.id)
			b.set(w, b.key, t.spec)
		}
		a.stored = true
	}
	if !t.first || !ended {
		for _, o := range t.orders {
			b.key = appendOrderKey(b.key[:0], a.id, o.lo, o.hi, o.seq)
			b.value = appendSeq(b.value[:0], o.run)
			b.set(w, b.key, b.value)
		}
	}
	if ended {
		// No further event is legal: the view stays unchanged.
		t.view = head
	} else {
		t.view = new(job.Job)
		*t.view = *head
	}
	if cap(t.run) > 0 && cap(t.run) <= maxFreeRun && len(b.runs) < maxRuns {
		b.runs = append(b.runs, t.run[:0])
	}
	t.run, t.spec = nil, nil
}

// remember adds the idempotency key of a batch.
func (b *builder) remember(w *write, it *request) {
	r := keyRecord{expires: it.key.Expires, fingerprint: it.key.Fingerprint}
	if r.expires.IsZero() {
		r.expires = b.j.now().Add(b.j.c.KeyRetention)
	}
	for i := range it.entries {
		r.ids = append(r.ids, it.entries[i].ID)
	}
	h := hashKey(*it.key)
	b.key = appendKeyKey(b.key[:0], h)
	b.value = r.append(b.value[:0])
	b.set(w, b.key, b.value)
	w.expire(r.expires, expiryKey, h[:16], h[:])
}

// expire notes that something expires. Moments are rounded up to the second, so that a write has few of them.
func (w *write) expire(at time.Time, kind byte, first, what []byte) {
	ms := at.UnixMilli()
	if rest := ms % 1000; rest != 0 && ms < math.MaxInt64-1000 {
		ms += 1000 - rest
	}
	for i := range w.expiries {
		if e := &w.expiries[i]; e.ms == ms && e.kind == kind {
			e.list = append(e.list, what...)
			return
		}
	}
	w.expiries = append(w.expiries, expiries{
		ms: ms, kind: kind, first: append([]byte(nil), first...), list: append([]byte(nil), what...),
	})
}

func (w *write) storeExpiries(b *pebble.Batch) {
	for i := range w.expiries {
		e := &w.expiries[i]
		_ = b.Set(appendExpiryKey(make([]byte, 0, 32), e.ms, e.kind, e.first), e.list, nil)
	}
}

// jobDelta starts a job's part in the write.
func (b *builder) jobDelta(a *active) *jobDelta {
	t := &jobDelta{a: a}
	if n := len(b.runs); n > 0 {
		t.run, b.runs = b.runs[n-1], b.runs[:n-1]
	}
	a.jobDelta = t
	return t
}
