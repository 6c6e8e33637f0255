package journal

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
	"gather/internal/notify"
)

// # Deliveries to webhooks
//
// The write with the end of a job adds its deliveries, by the same rules on all nodes of a cluster. They are a record beside
// the finished job (space w), because a job has no events after its end, and are deleted with it. Pending deliveries are also
// in an index by receiver and time (space v), so that a receiver with many of them delays no other, and none is held in memory.

// deliveries holds what is known of the pending deliveries.
type deliveries struct {
	// staged are the deliveries that change in the write that is being built; owned by the writer.
	staged map[job.ID]*stagedDeliveries
	signal notify.Signal

	mu        sync.Mutex
	receivers map[uint64]*receiver
	changes   int // of all receivers
}

// A receiver has pending deliveries.
type receiver struct {
	// since counts the deliveries by the second in which their attempts began.
	since map[int64]int
	count int
	// due is a lower bound of the time of the next attempt, in ms of the journal's clock; version changes with the deliveries.
	due     int64
	version int
}

// stagedDeliveries are the deliveries of one job.
type stagedDeliveries struct {
	jobRef
	// indexed are the keys on disk; after are the deliveries after the write, nil for none.
	indexed []dueKey
	after   job.Deliveries
}

// A dueKey is a parsed key of the space v.
type dueKey struct {
	receiver uint64
	ms       int64
	id       job.ID
	hook     int
	// since is not part of the key.
	since int64
}

func (d *deliveries) init() {
	d.staged, d.signal = make(map[job.ID]*stagedDeliveries), notify.New()
	d.receivers = make(map[uint64]*receiver)
}

// reset forgets all deliveries, in the writer.
func (d *deliveries) reset() {
	clear(d.staged)
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.receivers)
}

// A dueChange adds a pending delivery, or removes it with sign -1.
type dueChange struct {
	dueKey
	sign int
}

// publish counts the changes of a write that is durable.
func (d *deliveries) publish(changes []dueChange) {
	if len(changes) == 0 {
		return
	}
	d.mu.Lock()
	for i := range changes {
		d.count(&changes[i].dueKey, changes[i].sign)
	}
	d.mu.Unlock()
	d.signal.Notify()
}

// count adds sign pending deliveries. Caller holds d.mu.
func (d *deliveries) count(k *dueKey, sign int) {
	r := d.receivers[k.receiver]
	if r == nil {
		r = &receiver{since: make(map[int64]int), due: math.MaxInt64}
		d.receivers[k.receiver] = r
	}
	d.changes++
	r.version = d.changes
	r.count += sign
	if r.since[k.since] += sign; r.since[k.since] == 0 {
		delete(r.since, k.since)
	}
	if sign > 0 {
		r.due = min(r.due, k.ms)
	}
	if r.count == 0 {
		delete(d.receivers, k.receiver)
	}
}

// append appends a key of the space v.
func (k *dueKey) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, spaceDue), k.receiver)
	dst = binary.BigEndian.AppendUint64(dst, uint64(max(k.ms, 0)))
	return binary.BigEndian.AppendUint16(append(dst, k.id[:]...), uint16(k.hook))
}

func parseDueKey(key []byte) (k dueKey, err error) {
	if len(key) != 1+8+8+16+2 {
		return k, corrupt("key of a delivery")
	}
	return dueKey{
		receiver: binary.BigEndian.Uint64(key[1:]), ms: int64(binary.BigEndian.Uint64(key[9:])),
		id: job.ID(key[17:33]), hook: int(binary.BigEndian.Uint16(key[33:])),
	}, nil
}

// appendDeliveries appends a value of the space w: the times of the keys in the space v, and the deliveries.
func appendDeliveries(dst []byte, keys []dueKey, ds job.Deliveries) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(keys)))
	for i := range keys {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(keys[i].hook)), uint64(keys[i].ms))
	}
	return ds.AppendBinary(dst)
}

// parseDeliveries is the inverse of appendDeliveries.
func parseDeliveries(id job.ID, value []byte) (keys []dueKey, ds job.Deliveries, err error) {
	bad := false
	next := func() uint64 {
		v, n := binary.Uvarint(value)
		if n <= 0 {
			bad = true
			return 0
		}
		value = value[n:]
		return v
	}
	for n := next(); n > 0 && !bad; n-- {
		keys = append(keys, dueKey{id: id, hook: int(next()), ms: int64(next())})
	}
	if bad {
		return nil, nil, corrupt("deliveries")
	}
	if ds, err = job.DecodeDeliveries(value); err != nil {
		return nil, nil, err
	}
	for i := range keys {
		d, ok := ds.Of(keys[i].hook)
		if !ok {
			return nil, nil, corrupt("deliveries")
		}
		keys[i].receiver, keys[i].since = d.Receiver, d.Since.Unix()
	}
	return keys, ds, nil
}

// stageDeliveries returns the deliveries of a job as the requests before in the write leave them; nil if there are none. The
// writer calls it.
func (j *Journal) stageDeliveries(ref jobRef) (*stagedDeliveries, error) {
	if s := j.deliveries.staged[ref.id]; s != nil {
		if s.tenant != ref.tenant || s.after == nil {
			return nil, nil //nolint:nilnil // documented
		}
		return s, nil
	}
	s := &stagedDeliveries{jobRef: ref}
	if a := j.jobs.m[ref.id]; a != nil && a.delta != nil && a.head.State.Terminal() && a.head.Tenant == ref.tenant {
		s.after = job.NewDeliveries(&a.head) // it ends in this write
	} else if _, err := get(j.db, appendJobKey(nil, spaceDeliveries, ref.tenant, ref.id), func(v []byte) (err error) {
		s.indexed, s.after, err = parseDeliveries(ref.id, v)
		return err
	}); err != nil {
		if j.c.Replica { // other nodes apply what this one cannot read
			j.markFailed(err)
		}
		return nil, storageError(err)
	}
	if s.after == nil {
		return nil, nil //nolint:nilnil // documented
	}
	j.deliveries.staged[ref.id] = s
	return s, nil
}

// dropDeliveries deletes the deliveries of jobs that are being deleted. The writer calls it.
func (j *Journal) dropDeliveries(jobs []jobRef) {
	for _, ref := range jobs {
		switch s, err := j.stageDeliveries(ref); {
		case err != nil:
			j.log.Warn("the deliveries of a deleted job cannot be read", "job_id", ref.id.String(), "error", err)
		case s != nil:
			s.after = nil
		}
	}
}

// endDeliveries adds the deliveries of a job that has ended, unless they are staged.
func (b *builder) endDeliveries(view *job.Job) {
	if len(view.Webhooks) == 0 || b.j.deliveries.staged[view.ID] != nil {
		return
	}
	if ds := job.NewDeliveries(view); ds != nil {
		b.j.deliveries.staged[view.ID] = &stagedDeliveries{jobRef: jobRef{view.Tenant, view.ID}, after: ds}
	}
}

// storeDeliveries adds the staged deliveries to the batch.
func (b *builder) storeDeliveries(w *write) {
	staged := b.j.deliveries.staged
	for id, s := range staged {
		for i := range s.indexed {
			_ = w.batch.Delete(s.indexed[i].append(nil), nil)
			w.due = append(w.due, dueChange{s.indexed[i], -1})
		}
		b.key = appendJobKey(b.key[:0], spaceDeliveries, s.tenant, id)
		if s.after == nil {
			_ = w.batch.Delete(b.key, nil)
			continue
		}
		var keys []dueKey
		for i := range s.after {
			if one := &s.after[i]; one.State == job.DeliveryPending {
				k := dueKey{
					receiver: one.Receiver, ms: b.j.due(one.NextAt, 2*job.DeliveryWindow).UnixMilli(), id: id, hook: one.Hook,
					since: one.Since.Unix(),
				}
				keys = append(keys, k)
				b.value = appendTenant(b.value[:0], s.tenant)
				_ = w.batch.Set(k.append(nil), b.value, nil)
				w.due = append(w.due, dueChange{k, +1})
			}
		}
		b.value = appendDeliveries(b.value[:0], keys, s.after)
		b.set(w, b.key, b.value)
	}
	clear(staged)
}

// loadDeliveries counts the pending deliveries.
func (j *Journal) loadDeliveries(ctx context.Context) error {
	j.deliveries.reset()
	return scanSpace(ctx, j.db, spaceDue, func(key, value []byte) error {
		k, err := parseDueKey(key)
		if err != nil {
			return err
		}
		tenant, _, err := takeTenant(value)
		if err != nil {
			return err
		}
		_, err = get(j.db, appendJobKey(nil, spaceDeliveries, tenant, k.id), func(v []byte) error {
			_, ds, err := parseDeliveries(k.id, v)
			if d, ok := ds.Of(k.hook); ok {
				k.since = d.Since.Unix()
			}
			return err
		})
		j.deliveries.publish([]dueChange{{k, +1}})
		return err
	})
}

// Deliveries returns the deliveries of a finished job. It returns job.ErrNotFound if it has none.
func (j *Journal) Deliveries(ctx context.Context, tenant string, id job.ID) (ds job.Deliveries, err error) {
	err = j.read(ctx, func(db *pebble.DB) error {
		ds, err = readDeliveries(db, tenant, id)
		return err
	})
	return ds, err
}

func readDeliveries(db *pebble.DB, tenant string, id job.ID) (ds job.Deliveries, err error) {
	found, err := get(db, appendJobKey(nil, spaceDeliveries, tenant, id), func(v []byte) (err error) {
		_, ds, err = parseDeliveries(id, v)
		return err
	})
	if err == nil && !found {
		err = job.ErrNotFound
	}
	return ds, err
}

// ChangeDelivery durably changes a delivery of a finished job, and returns the deliveries after the change. It waits while the
// disk fails. Errors: job.ErrNotFound, job.ErrTransition, the cause of ctx.
func (j *Journal) ChangeDelivery(ctx context.Context, tenant string, id job.ID, c job.DeliveryChange) (job.Deliveries, error) {
	type outcome struct {
		ds  job.Deliveries
		err error
	}
	result := make(chan outcome, 1)
	if err := j.ApplyDelivery(ctx, tenant, id, c, func(ds job.Deliveries, err error) { result <- outcome{ds, err} }); err != nil {
		return nil, err
	}
	select {
	case o := <-result:
		return o.ds, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ApplyDelivery queues a change of a delivery; done is called as by ChangeDelivery. It waits until ctx is done while too much
// waits for the disk. The metadata of a replica is written atomically with the change, also if that is rejected.
func (j *Journal) ApplyDelivery(
	ctx context.Context, tenant string, id job.ID, c job.DeliveryChange, done func(job.Deliveries, error), metadata ...Metadata,
) error {
	var after job.Deliveries
	var rejected error // the writer's
	req := &request{bytes: 1 << 10, metadata: metadata, done: func(err error) {
		if err == nil {
			err = rejected
		}
		done(after, err)
	}}
	req.op = func(*pebble.Batch) func() {
		s, err := j.stageDeliveries(jobRef{tenant, id})
		if err == nil && s == nil {
			err = job.ErrNotFound
		}
		if err == nil {
			if after, err = s.after.Apply(c); err == nil {
				s.after = after
			}
		}
		rejected = err
		return nil
	}
	if err := j.queue.waitRoom(ctx, req.bytes, j.c.MaxPendingBytes); err != nil {
		return err
	}
	return j.queue.put(req, 0, j.c.MaxPendingBytes)
}

// DueDeliveries returns at most limit deliveries to a receiver whose time has come, the earliest first, and the time until the
// next one after them; 0 if there is none.
func (j *Journal) DueDeliveries(ctx context.Context, key uint64, limit int) (due []job.DeliveryRef, next time.Duration, err error) {
	now := j.now().UnixMilli()
	first, bound := int64(math.MaxInt64), int64(math.MaxInt64)
	version := j.deliveries.version(key)
	err = j.read(ctx, func(db *pebble.DB) error {
		low := binary.BigEndian.AppendUint64([]byte{spaceDue}, key)
		return scan(ctx, db, low, keyAfter(low), func(key, value []byte) error {
			k, err := parseDueKey(key)
			if err != nil {
				return err
			}
			if first = min(first, k.ms); k.ms > now || len(due) == limit {
				bound = k.ms
				return errStop
			}
			if v, known := j.view(k.id); known && (v == nil || !v.State.Terminal()) {
				return nil // its end is not durable yet
			}
			tenant, _, err := takeTenant(value)
			if err != nil {
				return err
			}
			due = append(due, job.DeliveryRef{Tenant: tenant, ID: k.id, Hook: k.hook})
			return nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	j.deliveries.raise(key, version, first)
	if bound < math.MaxInt64 {
		next = time.Duration(max(1, bound-now)) * time.Millisecond
	}
	return due, next, nil
}

// version returns the version of a receiver.
func (d *deliveries) version(key uint64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.receivers[key]; r != nil {
		return r.version
	}
	return 0
}

// raise sets the time of the next attempt as a read has found it, unless it has changed since version.
func (d *deliveries) raise(key uint64, version int, due int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.receivers[key]; r != nil && r.version == version {
		r.due = due
	}
}

// DeliveryReceivers returns the receivers with pending deliveries, in random order.
func (j *Journal) DeliveryReceivers() []job.DeliveryReceiver {
	now := j.now().UnixMilli()
	d := &j.deliveries
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]job.DeliveryReceiver, 0, len(d.receivers))
	for key, r := range d.receivers {
		oldest := int64(math.MaxInt64)
		for s := range r.since {
			oldest = min(oldest, s)
		}
		list = append(list, job.DeliveryReceiver{
			Key: key, Pending: r.count, Oldest: time.Unix(oldest, 0), Wait: time.Duration(max(0, r.due-now)) * time.Millisecond,
		})
	}
	return list
}

// DeliveriesChanged signals that the pending deliveries have changed. It has one receiver.
func (j *Journal) DeliveriesChanged() <-chan struct{} { return j.deliveries.signal }
