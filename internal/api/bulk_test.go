package api_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"gather/internal/api"
	"gather/internal/job"
)

// bulk sends bulk requests until no jobs are left, and returns the sum of the answers and their number.
func (s *service) bulk(action, query string) (sum api.BulkResult, requests int) {
	s.t.Helper()
	token := ""
	for {
		a := s.do("POST", "/v1/jobs:"+action+"?"+query+token, "")
		if a.status != 200 {
			s.t.Fatalf("%d: %s", a.status, a.body)
		}
		r := decode[api.BulkResult](s.t, a.body)
		sum.Matched, sum.Changed, requests = sum.Matched+r.Matched, sum.Changed+r.Changed, requests+1
		if r.NextPageToken == nil {
			return sum, requests
		}
		token = "&page_token=" + url.QueryEscape(*r.NextPageToken)
	}
}

// TestBulk cancels and deletes filtered sets, after a count.
func TestBulk(t *testing.T) {
	s := newService(t)
	for i := range 250 { // more than a page
		s.do("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"sleep_batch","count":1,"duration":"10m","labels":{"team":"t%d"}}`, i%2))
	}
	other := s.finished(`{"kind":"squares","numbers":[1],"labels":{"team":"t0"}}`)
	for _, c := range []struct {
		action, query    string
		matched, changed int64
	}{
		{"cancel", "label=team:t0&validate_only=true", 125, 0},
		{"cancel", "kind=sleep_batch&validate_only=true", 250, 0},
		{"cancel", "validate_only=true", 250, 0},
		// Filters of which no counts are kept.
		{"cancel", "priority=high&validate_only=true", 0, 0},
		{"cancel", "priority=low&priority=normal&validate_only=true", 250, 0},
		{"cancel", "group=none&validate_only=true", 0, 0},
		{"cancel", "created_before=2001-01-01T00:00:00Z&validate_only=true", 0, 0},
		{"cancel", "created_after=2999-01-01T00:00:00Z&validate_only=true", 0, 0},
		{"delete", "finished_after=2999-01-01T00:00:00Z&validate_only=true", 0, 0},
		{"cancel", "state=succeeded&state=failed", 0, 0},
		{"cancel", "label=team:t0&label=team:t1", 0, 0},
		{"cancel", "label=team:t0&state=running&state=running&state=queued&state=succeeded", 125, 125},
		{"cancel", "label=team:t0", 0, 0}, // again
		{"cancel", "validate_only=true", 125, 0},
		{"cancel", "", 125, 125},
		{"delete", "state=running", 0, 0},
		{"delete", "label_prefix=team:t0&validate_only=true", 126, 0},
		{"delete", "state=cancelled&label=team:t0", 125, 125},
		{"delete", "state=cancelled&label=team:t0", 0, 0},
		{"delete", "kind=squares&validate_only=true", 1, 0},
		{"delete", "", 126, 126},
		{"delete", "", 0, 0},
	} {
		if c.action == "delete" && !strings.HasPrefix(c.query, "finished_after") {
			s.ended()
		}
		got, _ := s.bulk(c.action, c.query)
		if got.Matched != c.matched || got.Changed != c.changed {
			t.Errorf("%s ?%s: matched %d and changed %d, want %d and %d", c.action, c.query, got.Matched, got.Changed, c.matched, c.changed)
		}
	}
	if a := s.do("GET", path(other, ""), ""); a.status != 410 {
		t.Errorf("a job after the deletion of all: %d, want 410", a.status)
	}
}

// ended waits until no job is unfinished.
func (s *service) ended() {
	s.t.Helper()
	for {
		list := decode[api.JobList](s.t, s.do("GET", "/v1/jobs?state=queued&state=running&state=cancelling&page_size=1", "").body)
		if len(list.Jobs) == 0 {
			return
		}
		s.do("GET", path(list.Jobs[0], ""), "", "Prefer: wait=30")
	}
}

// pagedJobs counts deletions of jobs that it does not have, in pages of 200; the deletion of some fails.
type pagedJobs struct {
	api.Jobs
	left    atomic.Int64
	deleted atomic.Int64
	fail    func(n int64) error
}

func (p *pagedJobs) List(_ context.Context, q job.Query) ([]job.Job, job.ID, error) {
	jobs := make([]job.Job, min(int64(q.Limit), p.left.Load()))
	for i := range jobs {
		jobs[i] = job.Job{ID: job.NewID(), Tenant: q.Tenant, State: job.Failed}
	}
	if p.left.Add(-int64(len(jobs))) == 0 {
		return jobs, job.ID{}, nil
	}
	return jobs, jobs[len(jobs)-1].ID, nil
}

func (p *pagedJobs) Delete(context.Context, string, job.ID) error { return p.fail(p.deleted.Add(1)) }

// TestBulkResumes: a request ends after a number of jobs with the token of the next, skips jobs that others have changed, and stops
// at an error.
func TestBulkResumes(t *testing.T) {
	jobs := &pagedJobs{fail: func(n int64) error {
		return []error{nil, job.ErrNotFinished, job.ErrNotFound, fmt.Errorf("deleted: %w", job.ErrExpired)}[n%4]
	}}
	s := newService(t, func(_ *service, c *api.Config) { c.Jobs = jobs })
	jobs.left.Store(25_000)
	sum, requests := s.bulk("delete", "label=a:b")
	if sum.Matched != 25_000 || sum.Changed != 6_250 || jobs.deleted.Load() != 25_000 || requests < 3 {
		t.Errorf("matched %d, changed %d, %d deletions, %d requests; want 25000, 6250, 25000 and at least 3", sum.Matched, sum.Changed, jobs.deleted.Load(), requests)
	}
	jobs.left.Store(25_000)
	jobs.deleted.Store(0)
	jobs.fail = func(int64) error { return &job.Rejection{Err: job.ErrStorage, Detail: "the disk is full"} }
	a := s.do("POST", "/v1/jobs:delete", "")
	if a.status != 503 || !strings.Contains(string(a.body), "disk is full") || jobs.deleted.Load() > 200 {
		t.Errorf("with a full disk: %d after %d deletions, want 503 after the first: %s", a.status, jobs.deleted.Load(), a.body)
	}
	if a := s.do("POST", "/v1/jobs:delete?page_token=AgGgQGfneQdHKbi8BYUuk2I&state=failed", ""); a.status != 400 {
		t.Errorf("a foreign page token: %d, want 400", a.status)
	}
}
