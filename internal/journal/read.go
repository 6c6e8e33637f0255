package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Get returns the durable view of a job. The error is job.ErrNotFound when the tenant has no such job, job.ErrExpired
// while the tombstone of one lasts, or one of the disk.
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
	// A job of Pebble may not be durable if it was submitted since; then memory has it.
	if v, known := j.view(id); known && err == nil {
		if v == nil {
			return job.Job{}, job.ErrNotFound
		}
		return *v, nil
	}
	return view, err
}

// view returns the visible state of a job in memory: nil for one that is not durable.
func (j *Journal) view(id job.ID) (v *job.Job, known bool) {
	a := j.jobs.get(id)
	if a == nil {
		return nil, false
	}
	return a.durable.Load(), true
}

// ended reads the view of a job that is not in memory.
func ended(db *pebble.DB, tenant string, id job.ID) (view job.Job, err error) {
	key := appendJobKey(make([]byte, 0, 64), spaceEnded, tenant, id)
	v, closer, err := db.Get(key)
	if err == nil {
		defer func() { _ = closer.Close() }()
		if view, err = job.Decode(v); err != nil {
			return job.Job{}, fmt.Errorf("job %s: %w", id, err)
		}
		return view, nil
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return job.Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	key[0] = spaceTombstone
	_, closer, err = db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return job.Job{}, job.ErrNotFound
	case err != nil:
		return job.Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return job.Job{}, errors.Join(job.ErrExpired, closer.Close())
}

// horizon returns the last seq of a job that readers may see. For a job that is not in memory that is all there is.
func (j *Journal) horizon(id job.ID) (seq uint64, v *job.Job, known bool) {
	v, known = j.view(id)
	switch {
	case !known:
		return ^uint64(0), nil, false
	case v == nil:
		return 0, nil, true
	}
	return v.Seq, v, true
}

// Log returns the durable events of a job whose last seq is above after, oldest first: at most about limit events and
// items, and about job.PageBytes, in all, but at least one event if there is one. Blocks of items come whole, so that the
// first may hold items with a seq up to after. A job that is not there has no events.
func (j *Journal) Log(ctx context.Context, id job.ID, after uint64, limit int) (records []job.LogRecord, err error) {
	horizon, v, known := j.horizon(id)
	if known && after >= horizon {
		return nil, ctx.Err()
	}
	err = j.read(ctx, func(db *pebble.DB) error {
		records, err = readLog(ctx, db, id, after, horizon, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !known {
		if horizon, _, known := j.horizon(id); known {
			// The job was submitted while we were reading.
			records = slices.DeleteFunc(records, func(r job.LogRecord) bool { return r.Seq > horizon })
		}
	}
	if after == 0 && v != nil && len(records) == 0 {
		// The log on disk begins behind the submission.
		records = []job.LogRecord{submitted(v)}
	}
	return records, nil
}

func readLog(ctx context.Context, db *pebble.DB, id job.ID, after, horizon uint64, limit int) ([]job.LogRecord, error) {
	var records []job.LogRecord
	size := 0
	err := scanLog(ctx, db, id, after, func(run uint64, records2 []job.LogRecord) (bool, error) {
		if run > horizon {
			return false, nil
		}
		for _, r := range records2 {
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

// scanLog visits the runs of a log that hold events with a last seq above after, until visit returns false.
func scanLog(ctx context.Context, db *pebble.DB, id job.ID, after uint64,
	visit func(run uint64, records []job.LogRecord) (bool, error),
) error {
	if after == ^uint64(0) {
		return nil
	}
	prefix := appendIDKey(nil, spaceLog, id)
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: appendLogKey(nil, id, after+1), UpperBound: keyAfter(prefix)})
	if err != nil {
		return fmt.Errorf("read log of job %s: %w", id, err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read log of job %s: %w", id, err)
		}
		seq, records, err := parseRun(it.Key(), bytes.Clone(v))
		if err != nil {
			return fmt.Errorf("log of job %s: %w", id, err)
		}
		if more, err := visit(seq, records); !more || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read log of job %s: %w", id, err)
	}
	return nil
}

// parseRun reads a run. The records refer to value.
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
