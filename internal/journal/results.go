package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// resultBytes counts the bytes of stored results by tenant, with job.ResultBytes. The count of a finished job is stored in the
// space r, so that its deletion subtracts the same number; the count of an unfinished job is the sum over its log.
type resultBytes struct {
	mu      sync.Mutex
	tenants map[string]int64
	// freeing holds the jobs whose deletion is not durable yet. Another deletion of the same job frees nothing.
	freeing map[job.ID]bool
}

func (r *resultBytes) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tenants, r.freeing = make(map[string]int64), make(map[job.ID]bool)
}

func (r *resultBytes) add(tenant string, bytes int64) {
	if bytes == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tenants[tenant] += bytes; r.tenants[tenant] == 0 {
		delete(r.tenants, tenant)
	}
}

// claimDelete reports whether the caller's deletion of a job frees its results: false if another deletion is in progress.
func (r *resultBytes) claimDelete(id job.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.freeing[id] {
		return false
	}
	r.freeing[id] = true
	return true
}

// finish ends the claims, and subtracts the bytes if the jobs were deleted.
func (r *resultBytes) finish(jobs []freedJob, freed bool) {
	for _, f := range jobs {
		if freed {
			r.add(f.tenant, -f.bytes)
		}
		r.mu.Lock()
		delete(r.freeing, f.id)
		r.mu.Unlock()
	}
}

// A freedJob is a job whose deletion frees the bytes of its results.
type freedJob struct {
	jobRef
	bytes int64
}

// Results returns the bytes of the appended results of an unfinished job, 0 for any other job, and of all counted jobs of a
// tenant that are not deleted. Jobs that ended under a version without counts are not counted.
func (j *Journal) Results(tenant string, id job.ID) (ofJob, ofTenant int64) {
	if a := j.jobs.get(id); a != nil {
		if v := a.durable.Load(); v == nil || !v.State.Terminal() {
			ofJob = a.results.Load()
		}
	}
	j.results.mu.Lock()
	defer j.results.mu.Unlock()
	return ofJob, j.results.tenants[tenant]
}

// Stats returns the counts of a tenant's jobs since Open.
func (j *Journal) Stats(ctx context.Context, tenant string) (job.Stats, error) {
	return j.meter.Stats(tenant, j.h.wall()), ctx.Err()
}

// countsResults reports whether new jobs of a tenant are counted.
func (j *Journal) countsResults(tenant string) bool {
	return j.c.CountResults == nil || j.c.CountResults(tenant)
}

// count adds the results of an event to the counts of its job and its tenant.
func (b *builder) count(a *active, ev job.Event) {
	if n := job.ResultBytes(ev); n > 0 {
		a.results.Add(n)
		if a.counted {
			b.j.results.add(a.head.Tenant, n)
		}
	}
}

// storeResults adds the count of a job that has ended to the batch.
func (b *builder) storeResults(w *write, a *active) {
	if n := a.results.Load(); n > 0 && a.counted {
		b.key = appendJobKey(b.key[:0], spaceResults, a.head.Tenant, a.id)
		b.value = appendResults(b.value[:0], n, b.j.due(a.head.ExpiresAt, a.head.ExpiresAt.Sub(a.head.FinishedAt)))
		b.set(w, b.key, b.value)
	}
}

// free adds the deletion of a job's count to the batch, and records the count in the last element of freed.
func (r *removal) free(db *pebble.DB, d jobRef) error {
	key := appendJobKey(nil, spaceResults, d.tenant, d.id)
	_, err := get(db, key, func(v []byte) error {
		n, _, err := parseResults(v)
		if err != nil {
			return err
		}
		r.freed[len(r.freed)-1].bytes = n
		return r.Delete(key, nil)
	})
	if err != nil {
		return fmt.Errorf("results of job %s: %w", d.id, err)
	}
	return nil
}

// loadResults adds up the counts of the finished jobs.
func (j *Journal) loadResults() error {
	now := j.now()
	return scanSpace(context.Background(), j.db, spaceResults, func(key, value []byte) error {
		tenant, id, err := parseJobKey(key)
		if err != nil {
			return err
		}
		n, due, err := parseResults(value)
		if err != nil {
			return fmt.Errorf("results of job %s: %w", id, err)
		}
		if !now.Before(due) {
			// An earlier version may have deleted the job without its count.
			left, err := j.existing([]jobRef{{tenant: tenant, id: id}})
			if err != nil || len(left) == 0 {
				return err
			}
		}
		j.results.add(tenant, n)
		return nil
	})
}

func appendResults(dst []byte, n int64, due time.Time) []byte {
	return binary.AppendVarint(binary.AppendUvarint(dst, uint64(n)), due.UnixMilli())
}

func parseResults(v []byte) (n int64, due time.Time, err error) {
	bytes, w := binary.Uvarint(v)
	if w <= 0 || int64(bytes) <= 0 {
		return 0, due, corrupt("results")
	}
	ms, w2 := binary.Varint(v[w:])
	if w2 <= 0 || w+w2 != len(v) {
		return 0, due, corrupt("results")
	}
	return int64(bytes), time.UnixMilli(ms), nil
}
