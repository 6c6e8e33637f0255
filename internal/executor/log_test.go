package executor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// logs collects the log records of all nodes of a test.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) config(c *executor.Config) { c.Logger = slog.New(slog.NewJSONHandler(l, nil)) }

// records returns the log records that have a message.
func (l *logs) records(t *testing.T, message string) (records []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r["msg"] == message {
			records = append(records, r)
		}
	}
	return records
}

// Each failed job is logged once at level info, on one server and in a cluster; other jobs are not.
func TestFailedJobsAreLogged(t *testing.T) {
	for name, cluster := range map[string]bool{"one server": false, "cluster": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l logs
				var e *executor.Executor
				if cluster {
					r := newFakeCluster(t)
					e, _ = startNode(t, r, l.config)
					startNode(t, r, l.config)
				} else {
					e = start(t, newFakeJournal(t), l.config)
				}
				want := map[string]string{}
				for reason, p := range map[string]fakePlan{
					"": {Tasks: 3}, "job-failed": {Tasks: 20, Error: "no luck", Work: time.Second}, "job-panicked": {Tasks: 1, Panic: true},
					"job-timeout": {Tasks: 30, Park: time.Hour, Waiting: 30},
				} {
					id := submit(t, e, p, traceParent(sampled), func(s *job.Submission) { s.RequestID, s.Timeout = "req-"+reason, time.Minute })
					if reason != "" {
						want[id.String()] = reason
					}
				}
				gone := submit(t, e, fakePlan{Tasks: 3, Park: time.Hour, Waiting: 3})
				if _, err := e.Cancel(t.Context(), "acme", gone); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				records := l.records(t, "job failed")
				if len(records) != len(want) {
					t.Errorf("%d records, want %d: %v", len(records), len(want), records)
				}
				for _, r := range records {
					reason := want[r["job_id"].(string)]
					if r["reason"] != reason || r["request_id"] != "req-"+reason || r["trace_id"] != traceID || r["kind"] != "toy" ||
						r["tenant"] != "acme" || r["level"] != "INFO" || r["detail"] == "" || r["duration"] == nil {
						t.Errorf("got %v, want the failure %s of request req-%s", r, reason, reason)
					}
				}
			})
		})
	}
}

// cars is a fakePlanner with a second kind.
type cars struct{ fakePlanner }

func (cars) Names() []string { return []string{"toy", "car"} }

func (c cars) Plan(ctx context.Context, tenant, _ string, spec []byte) (job.Plan, []byte, error) {
	return c.fakePlanner.Plan(ctx, tenant, "toy", spec)
}

func (c cars) Replan(ctx context.Context, tenant, _ string, spec []byte) (job.Plan, error) {
	return c.fakePlanner.Replan(ctx, tenant, "toy", spec)
}

// The first step of a kind that occupies its worker for more than 100 ms is logged as a warning; other steps are not.
func TestLongStepIsLoggedOnce(t *testing.T) {
	const message = "a step of a task took long; further ones of this kind are not reported"
	for name, cluster := range map[string]bool{"one server": false, "cluster": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l logs
				config := func(c *executor.Config) { l.config(c); c.Planner = cars{} }
				var e *executor.Executor
				if cluster {
					e, _ = startNode(t, newFakeCluster(t), config)
				} else {
					e = start(t, newFakeJournal(t), config)
				}
				submit(t, e, fakePlan{Tasks: 8, Work: 100 * time.Millisecond})
				submit(t, e, fakePlan{Tasks: 8, Park: time.Hour, Waiting: 8})
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if got := l.records(t, message); len(got) != 0 {
					t.Errorf("got %v, want no warning of steps of 100 ms, nor of waits", got)
				}
				submit(t, e, fakePlan{Tasks: 8, Work: 450 * time.Millisecond})
				time.Sleep(time.Minute)
				synctest.Wait()
				got := l.records(t, message)
				if len(got) != 1 || got[0]["level"] != "WARN" || got[0]["kind"] != "toy" || got[0]["duration"] != 450e6 {
					t.Errorf("got %v, want one warning of a step of 450 ms", got)
				}
				submit(t, e, fakePlan{Tasks: 8, Work: 200 * time.Millisecond}, func(s *job.Submission) { s.Kind = "car" })
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := l.records(t, message); len(got) != 2 || got[1]["kind"] != "car" || got[1]["duration"] != 200e6 {
					t.Errorf("got %v, want a second warning, of the other kind", got)
				}
			})
		})
	}
}
