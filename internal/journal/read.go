package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Get returns the durable view of a job. It returns job.ErrNotFound if the tenant has no such job, job.ErrExpired if the tenant
// has its tombstone, or an error of the disk.
func (j *Journal) Get(ctx context.Context, tenant string, id job.ID) (view job.Job, err error) {
	if v, known := j.view(id); known {
		if v == nil || v.Tenant != tenant {
			return job.Job{}, job.ErrNotFound
		}
		return *v, ctx.Err()
	}
	err = j.read(ctx, func(db *pebble.DB) error {
		view, err = ended(db, tenant, id)
		return err
	})
	// The view on disk may not be durable if the job was submitted since; the job is in memory then.
	if v, known := j.view(id); known && err == nil {
		if v == nil {
			return job.Job{}, job.ErrNotFound
		}
		return *v, nil
	}
	return view, err
}

// view returns the durable view of a job in memory; nil if its submission is not durable. known is false if the job is not in
// memory.
func (j *Journal) view(id job.ID) (v *job.Job, known bool) {
	a := j.jobs.get(id)
	if a == nil {
		return nil, false
	}
	return a.durable.Load(), true
}

// ended reads the view of a finished job. It returns job.ErrNotFound or job.ErrExpired if there is none.
func ended(db *pebble.DB, tenant string, id job.ID) (view job.Job, err error) {
	key := appendJobKey(make([]byte, 0, 64), spaceEnded, tenant, id)
	found, err := get(db, key, func(v []byte) (err error) {
		view, _, _, err = parseEnded(v)
		return err
	})
	if found && err == nil {
		return view, nil
	}
	if err == nil {
		key[0] = spaceTombstone
		found, err = get(db, key, func([]byte) error { return nil })
	}
	switch {
	case err != nil:
		return job.Job{}, fmt.Errorf("read job %s: %w", id, err)
	case found:
		return job.Job{}, job.ErrExpired
	}
	return job.Job{}, job.ErrNotFound
}

// visibleSeq returns the last durable seq of a job, and its view. For a job that is not in memory everything on disk is
// durable: seq is the largest number and known is false.
func (j *Journal) visibleSeq(id job.ID) (seq uint64, v *job.Job, known bool) {
	v, known = j.view(id)
	switch {
	case !known:
		return ^uint64(0), nil, false
	case v == nil:
		return 0, nil, true
	}
	return v.Seq, v, true
}

// Log returns the durable events of a job whose last seq is above after, oldest first: in total at most about limit events and
// items and about job.PageBytes, but at least one event if there is one. Blocks of items are not split, so the first one may
// hold items with a seq up to after. A missing job has no events.
func (j *Journal) Log(ctx context.Context, id job.ID, after uint64, limit int) (records []job.LogRecord, err error) {
	visible, v, known := j.visibleSeq(id)
	if known && after >= visible {
		return nil, ctx.Err()
	}
	err = j.read(ctx, func(db *pebble.DB) error {
		records, err = readLog(ctx, db, id, after, visible, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !known {
		if visible, _, known := j.visibleSeq(id); known {
			// The job was submitted during the read.
			records = slices.DeleteFunc(records, func(r job.LogRecord) bool { return r.Seq > visible })
		}
	}
	if after == 0 && v != nil && len(records) == 0 {
		// The submission is not in the log on disk yet.
		records = []job.LogRecord{submitted(v)}
	}
	return records, nil
}

func readLog(ctx context.Context, db *pebble.DB, id job.ID, after, visible uint64, limit int) ([]job.LogRecord, error) {
	var records []job.LogRecord
	size := 0
	err := scanLog(ctx, db, id, after, func(run uint64, page []job.LogRecord) (bool, error) {
		if run > visible {
			return false, nil
		}
		for _, r := range page {
			if r.Seq <= after {
				continue
			}
			n := int(job.Seqs(r.Event))
			if len(records) > 0 && (n > limit || size >= job.PageBytes) {
				return false, nil
			}
			limit -= n
			size += job.EventBytes(r.Event)
			records = append(records, r)
		}
		return limit > 0 && size < job.PageBytes, nil
	})
	return records, err
}

// scanLog visits the runs of a log that hold events after a seq, until visit returns false.
func scanLog(ctx context.Context, db *pebble.DB, id job.ID, after uint64,
	visit func(run uint64, records []job.LogRecord) (bool, error),
) error {
	if after == ^uint64(0) {
		return nil
	}
	prefix := appendIDKey(nil, spaceLog, id)
	err := scan(ctx, db, appendLogKey(nil, id, after+1), keyAfter(prefix), func(key, value []byte) error {
		seq, records, err := parseRun(key, bytes.Clone(value))
		if err != nil {
			return err
		}
		if more, err := visit(seq, records); !more || err != nil {
			return cmp.Or(err, errStop)
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("read log of job %s: %w", id, err)
	}
	return nil
}

// parseRun decodes a run. The records alias value.
func parseRun(key, value []byte) (seq uint64, records []job.LogRecord, err error) {
	seq, err = parseLogKey(key)
	if err != nil {
		return 0, nil, err
	}
	events, err := job.DecodeEvents(value)
	if err != nil {
		return 0, nil, err
	}
	total := uint64(0)
	for _, e := range events {
		total += job.Seqs(e)
	}
	if total > seq || len(events) == 0 {
		return 0, nil, corrupt("run")
	}
	records = make([]job.LogRecord, 0, len(events))
	at := seq - total
	for _, e := range events {
		at += job.Seqs(e)
		records = append(records, job.LogRecord{Seq: at, Event: e})
	}
	return seq, records, nil
}
