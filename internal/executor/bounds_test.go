package executor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// TestBounds: what is used is the sum of the admitted jobs, on one server and on every node of a cluster.
func TestBounds(t *testing.T) {
	limits := func(c *executor.Config) {
		c.MaxJobs, c.MaxBytes, c.MaxWaiting = 10, 1000, 100
		c.TenantJobs = func(tenant string) int { return map[string]int{"acme": 5}[tenant] }
	}
	plan := fakePlan{Tasks: 1, Park: time.Hour, Waiting: 4, Memory: 40}
	want := job.Bounds{
		Jobs: job.Usage{Used: 3, Limit: 10}, Bytes: job.Usage{Used: 120, Limit: 1000}, WaitingItems: job.Usage{Used: 12, Limit: 100},
	}
	submitAll := func(t *testing.T, e *executor.Executor) {
		t.Helper()
		submit(t, e, plan)
		submit(t, e, plan)
		submit(t, e, plan, func(s *job.Submission) { s.Tenant = "other" })
	}
	check := func(t *testing.T, e *executor.Executor) {
		t.Helper()
		for tenant, own := range map[string]job.Usage{"acme": {Used: 2, Limit: 5}, "other": {Used: 1}, "none": {}} {
			want := want
			want.TenantJobs = own
			if got := e.Bounds(tenant); got != want {
				t.Errorf("bounds of %s: got %+v, want %+v", tenant, got, want)
			}
		}
	}
	t.Run("one server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := start(t, newFakeJournal(t), limits)
			submitAll(t, e)
			check(t, e)
		})
	})
	t.Run("cluster", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFakeCluster(t)
			first, _ := startNode(t, r, limits)
			second, _ := startNode(t, r, limits)
			submitAll(t, first)
			check(t, first)
			check(t, second)
			submit(t, first, plan)
			check(t, first) // for a second
			time.Sleep(time.Second)
			if got := second.Bounds("acme").Jobs.Used; got != 4 {
				t.Errorf("jobs after a second: got %d, want 4", got)
			}
		})
	})
}
