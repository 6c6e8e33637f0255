package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// Recover visits every unfinished job, in the order of submission, with its spec and its whole log. It must be called before the
// first Append, and ends with the first error of visit or of the disk. Log reads from disk while it is ranged over, and must not
// be used after visit has returned.
func (j *Journal) Recover(ctx context.Context, visit func(view job.Job, spec []byte, log iter.Seq2[job.LogRecord, error]) error) error {
	views := j.jobs.views()
	slices.SortFunc(views, func(a, b *job.Job) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return j.read(ctx, func(db *pebble.DB) error {
		for _, v := range views {
			spec, err := readSpec(db, v.Tenant, v.ID, 0)
			if err != nil {
				return fmt.Errorf("recover job %s: %w", v.ID, err)
			}
			if err := visit(*v, spec, wholeLog(ctx, db, v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// views returns the durable views of all jobs in memory.
func (s *activeJobs) views() []*job.Job {
	s.mu.RLock()
	defer s.mu.RUnlock()
	views := make([]*job.Job, 0, len(s.m))
	for _, a := range s.m {
		if v := a.durable.Load(); v != nil {
			views = append(views, v)
		}
	}
	return views
}

// readSpec returns the spec of a job, finished or not; nil if it is longer than limit, unless limit is 0. It returns
// pebble.ErrNotFound for a missing job, and for a job that ended under an earlier version.
func readSpec(db *pebble.DB, tenant string, id job.ID, limit int) ([]byte, error) {
	key := appendJobKey(nil, spaceActive, tenant, id)
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		key[0] = spaceEnded
		v, closer, err = db.Get(key)
	}
	if err != nil {
		return nil, err
	}
	_, spec, place, err := parseEnded(v)
	if limit > 0 && len(spec) > limit {
		spec = nil
	}
	spec = bytes.Clone(spec)
	switch err := errors.Join(err, closer.Close()); {
	case err != nil:
		return nil, err
	case place == specInline:
		return spec, nil
	case place == specUnknown:
		return nil, pebble.ErrNotFound
	case place == specLarge && limit > 0 && limit <= job.MaxShownSpec:
		return nil, nil
	}
	v, closer, err = db.Get(appendIDKey(nil, spaceSpec, id))
	if err != nil {
		return nil, err
	}
	if limit == 0 || len(v) <= limit {
		spec = bytes.Clone(v)
	}
	return spec, closer.Close()
}

func wholeLog(ctx context.Context, db *pebble.DB, v *job.Job) iter.Seq2[job.LogRecord, error] {
	return func(yield func(job.LogRecord, error) bool) {
		begun, stopped := false, false
		err := scanLog(ctx, db, v.ID, 0, func(_ uint64, records []job.LogRecord) (bool, error) {
			begun = true
			for _, r := range records {
				if stopped = !yield(r, nil); stopped {
					return false, nil
				}
			}
			return true, nil
		})
		switch {
		case stopped:
		case err != nil:
			yield(job.LogRecord{}, err)
		case !begun:
			yield(submitted(v), nil)
		}
	}
}

// submitted returns the first record of a log that is not on disk yet.
func submitted(v *job.Job) job.LogRecord {
	return job.LogRecord{Seq: 1, Event: job.Submitted{Job: job.Job{CreatedAt: v.CreatedAt, State: job.Queued}}}
}
