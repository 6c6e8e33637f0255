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
			spec, err := readSpec(db, v.Tenant, v.ID)
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

func readSpec(db *pebble.DB, tenant string, id job.ID) ([]byte, error) {
	v, closer, err := db.Get(appendJobKey(nil, spaceActive, tenant, id))
	if err != nil {
		return nil, err
	}
	_, spec, long, err := parseActive(v)
	spec = bytes.Clone(spec)
	if err = errors.Join(err, closer.Close()); err != nil || !long {
		return spec, err
	}
	v, closer, err = db.Get(appendIDKey(nil, spaceSpec, id))
	if err != nil {
		return nil, err
	}
	return bytes.Clone(v), closer.Close()
}

// errStop ends a scan whose consumer stopped.
var errStop = errors.New("stop")

func wholeLog(ctx context.Context, db *pebble.DB, v *job.Job) iter.Seq2[job.LogRecord, error] {
	return func(yield func(job.LogRecord, error) bool) {
		begun := false
		err := scanLog(ctx, db, v.ID, 0, func(_ uint64, records []job.LogRecord) (bool, error) {
			begun = true
			for _, r := range records {
				if !yield(r, nil) {
					return false, errStop
				}
			}
			return true, nil
		})
		switch {
		case errors.Is(err, errStop):
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
