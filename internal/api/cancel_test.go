package api_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

// Cancel implements api.Executor. The job was already ending, and is returned as it is on disk.
func (s *still) Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error) {
	return s.Get(ctx, tenant, id)
}

// A stopping server does not wait for the end of a job, and reports that it is shutting down.
func TestCancelOfEndingJobWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is the subject
		stopping, stop := context.WithCancel(t.Context())
		s, h := newStill(t, func(c *api.Config) { c.Stopping = stopping })
		s.apply(job.Started{At: time.Now()})
		time.AfterFunc(time.Second, stop)
		w := httptest.NewRecorder()
		began := time.Now()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/v1/jobs/"+s.job.ID.String()+"/cancel", nil))
		if took := time.Since(began); w.Code != 503 || !strings.Contains(w.Body.String(), "/problems/shutting-down") || took != time.Second {
			t.Errorf("%d after %s, want 503 shutting-down after 1s: %s", w.Code, took, w.Body)
		}
	})
}

// The response of a cancel never has a running job: the cancel waits for an end that is about to be durable.
func TestCancelOfEndingJob(t *testing.T) {
	for _, c := range []struct {
		name   string
		event  job.Event // appended a second after the request
		status int
		state  api.State
		took   time.Duration
	}{
		{"ends", job.Finished{State: job.Succeeded}, 200, api.StateSucceeded, time.Second},
		{"is cancelled", job.CancelRequested{}, 202, api.StateCancelling, time.Second},
		{"does not end", job.TaskProgress{}, 503, "", 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the subject
				s, h := newStill(t)
				s.apply(job.Started{At: time.Now()})
				time.AfterFunc(time.Second, func() { s.apply(c.event) })
				r := httptest.NewRequest("POST", "/v1/jobs/"+s.job.ID.String()+"/cancel", nil)
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, r)
				if took := time.Since(began); w.Code != c.status || took != c.took {
					t.Errorf("%d after %s, want %d after %s: %s", w.Code, took, c.status, c.took, w.Body)
				}
				if c.status == 503 {
					if got := w.Header().Get("Retry-After"); got != "1" {
						t.Errorf("Retry-After %q, want 1", got)
					}
				} else if j := decode[api.Job](t, w.Body.Bytes()); j.State != c.state {
					t.Errorf("state %s, want %s", j.State, c.state)
				}
			})
		})
	}
}
