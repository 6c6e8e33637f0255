package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"gather/internal/job"
)

// Bounds of one bulk request. A response after one of them has a token with which the next request continues.
const (
	bulkTime = 2 * time.Second
	bulkJobs = 10_000
	// bulkParallel is the number of jobs that a bulk request changes at the same time: they share syncs of the disk.
	bulkParallel = 64
)

// A bulkAction changes all jobs that match a query and are in one of its states.
type bulkAction struct {
	states []job.State
	// change changes a job, and reports whether it has. It skips a job that has moved to another state.
	change func(ctx context.Context, tenant string, id job.ID) (bool, error)
}

// cancelJobs implements POST /v1/jobs:cancel.
func (s *server) cancelJobs(x *requestState) error {
	return s.bulk(x, bulkAction{[]job.State{job.Queued, job.Running}, func(ctx context.Context, tenant string, id job.ID) (bool, error) {
		j, err := s.Executor.Cancel(ctx, tenant, id)
		return err == nil && (j.State == job.Cancelling || j.State == job.Cancelled), err
	}})
}

// deleteJobs implements POST /v1/jobs:delete.
func (s *server) deleteJobs(x *requestState) error {
	return s.bulk(x, bulkAction{[]job.State{job.Succeeded, job.Failed, job.Cancelled}, func(ctx context.Context, tenant string, id job.ID) (bool, error) {
		err := s.Jobs.Delete(ctx, tenant, id)
		return err == nil, err
	}})
}

// bulk applies an action to the jobs that match the filters of the request, newest first, and responds with their number. With
// validate_only it counts them.
func (s *server) bulk(x *requestState, a bulkAction) error {
	q, possible, err := listQuery(x)
	if err != nil {
		return err
	}
	listed := q // has the filters of the page token
	q.States = slices.DeleteFunc(slices.Clone(a.states), func(s job.State) bool {
		return len(listed.States) > 0 && !slices.Contains(listed.States, s)
	})
	possible = possible && len(q.States) > 0
	if possible && s.Replica != nil { // jobs that other nodes have accepted match too
		if err := s.Replica.ReadBarrier(x); err != nil {
			return err
		}
	}
	var result BulkResult
	switch {
	case !possible:
	case x.validateOnly() && q.Countable():
		n, err := s.Jobs.Count(x, q.Tenant, q.Kinds)
		if err != nil {
			return err
		}
		for _, state := range q.States {
			result.Matched += n[state]
		}
	default:
		next, err := s.visitPages(x, q, a, &result)
		if err != nil {
			return err
		}
		if next != (job.ID{}) {
			token := pageToken(&listed, next)
			result.NextPageToken = &token
		}
	}
	x.Header()["Cache-Control"] = privateNoCache
	return x.writeJSON(http.StatusOK, result)
}

// visitPages applies an action, unless the request has validate_only, to pages of matching jobs until a bound of bulk requests. It
// returns the job to continue before; the zero ID after the last.
func (s *server) visitPages(x *requestState, q job.Query, a bulkAction, result *BulkResult) (next job.ID, err error) {
	q.Limit = maxPage
	if err := x.reserveRead(int64(q.Limit) * jobMemory); err != nil {
		return next, err
	}
	for began := time.Now(); ; {
		jobs, before, err := s.Jobs.List(x, q)
		if err != nil {
			return next, err
		}
		result.Matched += int64(len(jobs))
		if !x.validateOnly() {
			changed, failure := a.changeAll(x, jobs)
			if result.Changed += changed; failure != nil {
				return next, failure
			}
		}
		if before == (job.ID{}) || result.Matched >= bulkJobs || time.Since(began) > bulkTime {
			return before, nil
		}
		q.Before = before
	}
}

// changeAll changes jobs, several at the same time, and returns the number of jobs that it has changed. After an error it begins
// no other change.
func (a bulkAction) changeAll(ctx context.Context, jobs []job.Job) (changed int64, err error) {
	next := make(chan *job.Job)
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return err != nil
	}
	for range min(bulkParallel, len(jobs)) {
		wg.Go(func() {
			for j := range next {
				done, failure := a.change(ctx, j.Tenant, j.ID)
				if errors.Is(failure, job.ErrNotFound) || errors.Is(failure, job.ErrExpired) || errors.Is(failure, job.ErrNotFinished) {
					failure = nil // another request has changed it
				}
				mu.Lock()
				if done {
					changed++
				}
				err = errors.Join(err, failure)
				mu.Unlock()
			}
		})
	}
	for i := range jobs {
		if failed() {
			break
		}
		next <- &jobs[i]
	}
	close(next)
	wg.Wait()
	return changed, err
}
