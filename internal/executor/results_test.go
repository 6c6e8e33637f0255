package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/fields"
	"gather/internal/job"
)

func sumResults(log []job.LogRecord) (n int64) {
	for _, r := range log {
		n += job.ResultBytes(r.Event)
	}
	return n
}

// resultsOf returns the sizes of the results of a job and of a tenant; read returns the view and the log of a stored job.
func resultsOf[J any](jobs map[job.ID]J, tenant string, id job.ID, read func(J) (job.Job, []job.LogRecord)) (ofJob, ofTenant int64) {
	for i, j := range jobs {
		if view, log := read(j); view.Tenant == tenant {
			ofTenant += sumResults(log)
			if i == id {
				ofJob = sumResults(log)
			}
		}
	}
	return ofJob, ofTenant
}

// Results is executor.Config.Results.
func (l *fakeJournal) Results(tenant string, id job.ID) (ofJob, ofTenant int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return resultsOf(l.jobs, tenant, id, func(p *page) (job.Job, []job.LogRecord) { return p.view, p.log })
}

// Results is executor.Config.Results.
func (r *fakeCluster) Results(tenant string, id job.ID) (ofJob, ofTenant int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return resultsOf(r.jobs, tenant, id, func(s *fakeJob) (job.Job, []job.LogRecord) { return s.view, s.log })
}

// withResults runs a test on both sources; the cluster has two nodes.
func withResults(t *testing.T, change func(*executor.Config), test func(t *testing.T, e *executor.Executor, s source)) {
	t.Helper()
	onBothSources(t, change, func(t *testing.T, e *executor.Executor, s source) {
		if c, ok := s.(*fakeCluster); ok {
			c.partitions = 1 // a node counts what the log has: tasks that end at the same time may exceed a bound together
			c.next(t, func(ec *executor.Config) { ec.Results = c.Results; change(ec) })
		}
		test(t, e, s)
	})
}

// The result of a task of a fakePlan has 2 bytes; the reduction has a byte for each digit of the number of tasks.
func TestResultBytes(t *testing.T) {
	quota := func(n int64) func(*executor.Config) {
		return func(c *executor.Config) {
			c.TenantResultBytes = func(t string) int64 { return map[string]int64{"acme": n}[t] }
		}
	}
	limit := func(n int64) func(*executor.Config) { return func(c *executor.Config) { c.MaxResultBytes = n } }
	for _, tt := range []struct {
		name  string
		bound func(*executor.Config)
		tasks int
		fails string
	}{
		{"limit, one task", limit(1), 1, "more than 1 bytes, the limit"},
		{"limit, the reduction of one task", limit(2), 1, "more than 2 bytes, the limit"},
		{"limit, one task fits", limit(3), 1, ""},
		{"limit, tasks", limit(5), 9, "more than 5 bytes, the limit"},
		{"limit, reduction", limit(18), 9, "more than 18 bytes, the limit"},
		{"limit, fits", limit(19), 9, ""},
		{"quota, one task", quota(2), 1, "more than 2 bytes, your quota"},
		{"quota, tasks", quota(5), 9, "more than 5 bytes, your quota"},
		{"quota, reduction", quota(18), 9, "more than 18 bytes, your quota"},
		{"quota, fits", quota(19), 9, ""},
		{"no tasks", limit(1), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withResults(t, tt.bound, func(t *testing.T, e *executor.Executor, s source) {
				id := submit(t, e, fakePlan{Tasks: tt.tasks, Work: time.Millisecond})
				settle()
				v := s.job(id)
				switch {
				case tt.fails == "" && v.State != job.Succeeded:
					t.Errorf("the job is %v (%v), want it succeeded", v.State, v.Failure)
				case tt.fails != "" && (v.Failure == nil || v.Failure.Reason != job.FailedResultTooLarge || !strings.Contains(v.Failure.Detail, tt.fails)):
					t.Errorf("the job is %v (%v), want it failed: %s", v.State, v.Failure, tt.fails)
				}
			})
		})
	}
}

// Stored results count for later jobs of the same tenant. The quota of a tenant bounds each job too, when the server allows
// more or has no limit.
func TestResultQuota(t *testing.T) {
	for _, limit := range []int64{0, 1000} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) { testResultQuota(t, limit) })
	}
}

func testResultQuota(t *testing.T, limit int64) {
	t.Helper()
	const quota = 10
	withResults(t, func(c *executor.Config) {
		c.TenantResultBytes, c.MaxResultBytes = func(string) int64 { return quota }, limit
	}, func(t *testing.T, e *executor.Executor, s source) {
		stored := func() int64 { _, n := s.Results("acme", job.ID{}); return n }
		ask := func(p fakePlan, n int) error {
			subs := make([]job.Submission, n)
			for i := range subs {
				subs[i] = job.Submission{Tenant: "acme", Kind: "toy", Spec: p.spec(), Priority: job.Normal, Retention: time.Hour}
			}
			_, err := e.Submit(t.Context(), subs, nil, false)
			settle()
			return err
		}
		rejected := func(what string, err error) {
			t.Helper()
			r, ok := errors.AsType[*job.Rejection](err)
			if !ok || !errors.Is(err, job.ErrQuota) || r.Reason != "quota" || r.RetryAfter < time.Second || !strings.Contains(r.Detail, "of at most 10 bytes") {
				t.Errorf("%s: error %v (%+v), want ErrQuota", what, err, r)
			}
		}
		for what, ask := range map[string]error{"job": ask(fakePlan{Results: 11}, 1), "batch": ask(fakePlan{Results: 6}, 2)} {
			if v, ok := errors.AsType[*fields.Errors](ask); !ok || !strings.HasSuffix(v.Error(), "split the "+what) {
				t.Errorf("a %s that never fits: error %v, want a field error that suggests to split the %s", what, ask, what)
			}
		}
		if err := ask(fakePlan{Tasks: 2}, 1); err != nil || stored() != 5 {
			t.Fatalf("the first job: error %v, %d bytes stored, want 5", err, stored())
		}
		rejected("6 bytes are announced and 5 have room", ask(fakePlan{Results: 6}, 1))
		id := submit(t, e, fakePlan{Tasks: 9, Work: time.Millisecond})
		settle()
		if v := s.job(id); v.Failure == nil || v.Failure.Reason != job.FailedResultTooLarge || stored() > quota {
			t.Errorf("a job that crosses the quota is %v (%v), %d bytes stored, want it failed and at most %d", v.State, v.Failure, stored(), quota)
		}
		for range 3 { // up to the last byte
			if stored() < quota {
				_ = ask(fakePlan{}, int(quota-stored()))
			}
		}
		if stored() != quota {
			t.Fatalf("%d bytes stored, want %d", stored(), quota)
		}
		rejected("the quota is used up", ask(fakePlan{}, 1))
		if _, err := e.Submit(t.Context(), []job.Submission{
			{Tenant: "other", Kind: "toy", Spec: fakePlan{Tasks: 1}.spec(), Priority: job.Normal, Retention: time.Hour},
		}, nil, false); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		settle()
	})
}

// The results that a task stored before its executor ended count together with later ones, even if the journal or the
// node's replica does not report them yet.
func TestResultsOfResumedTask(t *testing.T) {
	stay := func(limit int64) func(*executor.Config) {
		return func(c *executor.Config) { c.Planner, c.MaxResultBytes, c.Results = stages{}, limit, nil }
	}
	// end runs a job of one task that its first executor leaves after two items of five.
	for name, end := range map[string]func(t *testing.T, limit int64) (j job.Job, log []job.LogRecord){
		"alone": func(t *testing.T, limit int64) (job.Job, []job.LogRecord) {
			l := newFakeJournal(t)
			e := start(t, l, stay(limit))
			id := submit(t, e, fakePlan{Tasks: 1, Waiting: 5})
			time.Sleep(2500 * time.Millisecond)
			none, cancel := context.WithCancel(t.Context())
			cancel()
			_ = e.Stop(none)
			start(t, l, stay(limit))
			time.Sleep(20 * time.Second)
			synctest.Wait()
			return l.job(id), l.jobs[id].log
		},
		"shared": func(t *testing.T, limit int64) (job.Job, []job.LogRecord) {
			r := newFakeCluster(t)
			e, first := startNode(t, r, stay(limit))
			id := submit(t, e, fakePlan{Tasks: 1, Waiting: 5})
			time.Sleep(2500 * time.Millisecond)
			startNode(t, r, stay(limit))
			r.kill(first)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			return r.job(id), r.jobs[id].log
		},
	} {
		t.Run(name, func(t *testing.T) {
			var total int64
			synctest.Test(t, func(t *testing.T) {
				j, log := end(t, 0)
				if total = sumResults(log); j.State != job.Succeeded || total < 5 {
					t.Errorf("without a limit the job is %v with %d bytes, want it succeeded with 5 at least", j.State, total)
				}
			})
			for limit, want := range map[int64]job.State{total: job.Succeeded, total - 1: job.Failed} {
				synctest.Test(t, func(t *testing.T) {
					if j, _ := end(t, limit); j.State != want {
						t.Errorf("with %d bytes of at most %d the job is %v (%v), want %v", total, limit, j.State, j.Failure, want)
					}
				})
			}
		})
	}
}
