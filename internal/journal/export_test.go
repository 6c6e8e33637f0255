package journal

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Hooks replaces clocks, timers and limits of a journal. Zero values keep the defaults.
type Hooks struct {
	Now      func() time.Time // both clocks, unless Wall is set
	Wall     func() time.Time
	After    func(d time.Duration, f func()) (stop func() bool)
	Stall    time.Duration
	MemTable uint64
}

// OpenWithHooks opens a journal with some hooks replaced.
func OpenWithHooks(ctx context.Context, c Config, w Hooks) (*Journal, error) {
	h := realHooks()
	if w.Now != nil {
		h.now, h.wall = w.Now, w.Now
	}
	if w.Wall != nil {
		h.wall = w.Wall
	}
	if w.After != nil {
		h.after = w.After
	}
	if w.Stall != 0 {
		h.stall = w.Stall
	}
	if w.MemTable != 0 {
		h.memTable = w.MemTable
	}
	return open(ctx, c, h)
}

// Sweep runs the sweeper until nothing is left to remove.
func (j *Journal) Sweep(ctx context.Context) error {
	for {
		if more, err := j.sweep(ctx); err != nil || !more {
			return err
		}
	}
}

// Inspect runs the monitor once.
func (j *Journal) Inspect() { j.inspect() }

// InEngine reports whether Pebble has a job, durable or not.
func (j *Journal) InEngine(tenant string, id job.ID) bool {
	return j.inSpace(spaceActive, tenant, id) || j.EndedInEngine(tenant, id)
}

// EndedInEngine reports whether Pebble has the end of a job, durable or not.
func (j *Journal) EndedInEngine(tenant string, id job.ID) bool {
	return j.inSpace(spaceEnded, tenant, id)
}

func (j *Journal) inSpace(space byte, tenant string, id job.ID) bool {
	_, closer, err := j.db.Get(appendJobKey(nil, space, tenant, id))
	return err == nil && closer.Close() == nil
}

// Keys returns the number of keys in each space.
func (j *Journal) Keys() (map[string]int, error) {
	n := map[string]int{}
	it, err := j.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		n[string(it.Key()[:1])]++
	}
	return n, it.Error()
}

// SetFormat overwrites the stored version.
func (j *Journal) SetFormat(v uint64) error {
	return j.db.Set(formatKey, binary.AppendUvarint(nil, v), pebble.Sync)
}

// DamageClock overwrites the stored clock.
func (j *Journal) DamageClock() error { return j.db.Set(clockKey, []byte("damaged"), pebble.Sync) }

// ClearFormat removes the stored version.
func (j *Journal) ClearFormat() error { return j.db.Delete(formatKey, pebble.Sync) }

// Crash makes Pebble report a fatal error.
func (j *Journal) Crash(err error) { engineLogger{j: j}.Fatalf("%w", err) }

// Migrations is the table of migrations, to which tests add.
var Migrations = migrations

// CheckStored runs all decoders of keys and values, and returns an error if one does not round-trip.
func CheckStored(key, value []byte) error {
	var errs []error
	if view, spec, place, err := parseEnded(value); err == nil {
		again, _ := appendJob(nil, nil, &view, spec, place)
		v2, spec2, place2, err := parseEnded(again)
		if err != nil || string(spec2) != string(spec) || v2.ID != view.ID || place2 != place || place != specInline && len(spec) > 0 {
			errs = append(errs, corrupt("job round trip"))
		}
	}
	if r, err := parseKeyRecord(value); err == nil && string(r.append(nil)) != string(value) {
		errs = append(errs, corrupt("key round trip"))
	}
	if tenant, id, err := parseJobKey(key); err == nil {
		if t2, id2, err := parseJobKey(appendJobKey(nil, key[0], tenant, id)); err != nil || t2 != tenant || id2 != id {
			errs = append(errs, corrupt("job key round trip"))
		}
	}
	if o, err := parseOrderKey(key); err == nil && key[0] == spaceOrder {
		if string(appendOrderKey(nil, job.ID(key[1:17]), o.lo, o.hi, o.seq)) != string(key) {
			errs = append(errs, corrupt("order key round trip"))
		}
	}
	if _, records, err := parseRun(key, value); err == nil {
		for _, r := range records {
			if block, first := items(r); block != nil && block.Len() > 0 && (first == 0 || first > r.Seq) {
				errs = append(errs, corrupt("seq of items"))
			}
		}
	}
	_, _ = appendJobRefs(nil, value)
	_, _ = appendHashes(nil, value)
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// MaintainBallast removes or creates the ballast, as the journal does each second.
func (j *Journal) MaintainBallast() { j.maintainBallast() }

// DeleteAsEarlier deletes an ended job as versions without counts of results did.
func (j *Journal) DeleteAsEarlier(tenant string, id job.ID) error {
	return j.db.Delete(appendJobKey(nil, spaceEnded, tenant, id), pebble.Sync)
}

// Queued returns the number of requests in the writer's queue.
func (j *Journal) Queued() int {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	return len(j.queue.requests) + len(j.queue.bulk.requests)
}

// BulkJobs returns the number of jobs whose requests go to the queue of bulk results.
func (j *Journal) BulkJobs() int {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	return len(j.queue.bulk.jobs)
}

// Part returns a part with one key.
func Part(key, value []byte) []byte { return appendPart(nil, appendPair(nil, key, value)) }

// ReadPart visits the keys of a part.
var ReadPart = readPart

// ParseDeliveries returns a stored record of deliveries, and the times of its keys by webhook.
func ParseDeliveries(value []byte) (due map[int]int64, ds job.Deliveries, err error) {
	keys, ds, err := parseDeliveries(job.ID{}, value)
	due = make(map[int]int64)
	for _, k := range keys {
		due[k.hook] = k.ms
	}
	return due, ds, err
}

// GroupRecordAgain decodes a record of a group and encodes it again.
func GroupRecordAgain(b []byte) ([]byte, error) {
	r, err := parseGroupRecord(b)
	return r.append(nil), err
}

// Writing reports whether a write is in flight.
func (j *Journal) Writing() bool { return !j.queue.busySince().IsZero() }

// BulkPause is the pause after a piece of bulk results that took a time, when other requests were taken a while before its end.
func BulkPause(took, since time.Duration) time.Duration {
	now := time.Now()
	var q bulkQueue
	q.tookOthers(1, now.Add(-since))
	q.last = true
	q.wrote(now.Add(-took), now)
	return q.pause(now)
}
