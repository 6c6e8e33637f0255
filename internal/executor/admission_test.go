package executor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/fields"
	"gather/internal/job"
)

func TestAdmission(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bound  func(*executor.Config)
		job    fakePlan
		fit    int
		want   error
		reason string
	}{
		{"jobs", func(c *executor.Config) { c.MaxJobs = 3 }, fakePlan{Tasks: 1, Block: true}, 3, job.ErrQueueFull, "jobs"},
		{"bytes", func(c *executor.Config) { c.MaxBytes = 100 }, fakePlan{Tasks: 1, Block: true, Memory: 40}, 2, job.ErrQueueFull, "bytes"},
		{
			"waiting", func(c *executor.Config) { c.MaxWaiting = 10 },
			fakePlan{Tasks: 1, Park: time.Hour, Waiting: 4},
			2, job.ErrQueueFull, "waiting",
		},
		{
			"quota", func(c *executor.Config) {
				c.TenantJobs = func(t string) int { return map[string]int{"acme": 2}[t] }
			},
			fakePlan{Tasks: 1, Block: true},
			2, job.ErrQuota, "quota",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeJournal(t)
				e := start(t, l, tt.bound)
				var ids []job.ID
				for range tt.fit {
					ids = append(ids, submit(t, e, tt.job))
				}
				sub := job.Submission{Tenant: "acme", Kind: "toy", Spec: tt.job.spec(), Priority: job.Normal}
				_, err := e.Submit(t.Context(), []job.Submission{sub}, nil, false)
				var r *job.Rejection
				if !errors.As(err, &r) || !errors.Is(err, tt.want) || r.Reason != tt.reason || r.RetryAfter < time.Second {
					t.Fatalf("%v, want %v", err, tt.want)
				}
				if tt.name == "quota" {
					submit(t, e, fakePlan{Tasks: 1}, func(s *job.Submission) { s.Tenant = "other" })
				}
				// When one job ends, one more is admitted, but not a batch of two.
				if _, err := e.Cancel(t.Context(), "acme", ids[0]); err != nil {
					t.Fatal(err)
				}
				settle()
				if _, err := e.Submit(t.Context(), []job.Submission{sub, sub}, nil, false); !errors.Is(err, tt.want) {
					t.Errorf("two: %v, want %v", err, tt.want)
				}
				submit(t, e, tt.job)
			})
		})
	}
}

// heavy plans fakePlans that hold a resource until they are closed.
type heavy struct {
	fakePlanner
	closed atomic.Int32
}

func (h *heavy) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, spec, err := h.fakePlanner.Plan(ctx, tenant, kind, spec)
	return heavyPlan{p, h}, spec, err
}

type heavyPlan struct {
	job.Plan
	h *heavy
}

func (p heavyPlan) Close() error {
	p.h.closed.Add(1)
	return nil
}

// A submission that can never fit is invalid, not rejected.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, newFakeJournal(t), func(c *executor.Config) { c.MaxWaiting, c.MaxBytes = 10, 10 })
		for _, p := range []fakePlan{{Tasks: 1, Waiting: 11}, {Tasks: 1, Memory: 11}} {
			var v *fields.Errors
			sub := job.Submission{Tenant: "acme", Kind: "toy", Spec: p.spec(), Priority: job.Normal}
			if _, err := e.Submit(t.Context(), []job.Submission{sub}, nil, false); !errors.As(err, &v) {
				t.Errorf("%+v: %v, want a ValidationError", p, err)
			}
			if _, err := e.Submit(t.Context(), []job.Submission{sub, sub}, nil, false); !errors.As(err, &v) ||
				len(v.List) != 2 || !strings.HasPrefix(v.List[1].Pointer, "/jobs/1") {
				t.Errorf("%+v twice: %v, want an error in each", p, err)
			}
		}
	})
}

// A rejected submission releases its idempotency key; one in the journal does not.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.MaxJobs = 1 })
		ask := func(key, kind string) {
			sub := job.Submission{Tenant: "acme", Kind: kind, Spec: fakePlan{Tasks: 1, Block: true}.spec(), Priority: job.Normal}
			_, _ = e.Submit(t.Context(), []job.Submission{sub}, &job.Key{Value: key}, false)
		}
		ask("accepted", "toy")
		ask("faulty", "no toy")
		ask("full", "toy")
		if want := []string{"faulty", "full"}; !slices.Equal(l.released, want) {
			t.Errorf("released %q, want %q", l.released, want)
		}
	})
}

func TestConfigFaults(t *testing.T) {
	_, err := executor.New(t.Context(), executor.Config{})
	for _, name := range []string{"workers", "max jobs", "max bytes", "max waiting items"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %q: %v", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		// One job ends each second.
		for range 40 {
			submit(t, e, fakePlan{Tasks: 1, Work: time.Second})
		}
		last := submit(t, e, fakePlan{Tasks: 1, Work: time.Second})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		j := l.job(last)
		place, retryAfter := e.Outlook(&j)
		if d := retryAfter.Seconds(); place == 0 || d < float64(place)*0.8 || d > float64(place)*1.3 {
			t.Errorf("at position %d with one job a second, Retry-After is %v s", place, d)
		}
		time.Sleep(time.Minute)
	})
}

// Retry-After is short for a job that an idle worker is about to run, even if few jobs have ended recently.
func TestRetryAfterOnIdleServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, oneWorker)
		for range 300 { // the worker may take the job before it is looked at
			time.Sleep(10 * time.Second)
			synctest.Wait()
			id := submit(t, e, fakePlan{Tasks: 1, Work: time.Millisecond})
			j := l.job(id)
			if _, d := e.Outlook(&j); d != time.Second {
				t.Fatalf("got %v, want 1 s", d)
			}
		}
	})
}
