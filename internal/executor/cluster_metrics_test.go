package executor_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"gather/internal/executor"
	"gather/internal/job"
)

// total sums a counter over nodes.
func total(t *testing.T, name string, regs ...*prometheus.Registry) (sum float64) {
	t.Helper()
	for _, reg := range regs {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return sum
}

// Only the leader reports the metrics of the whole cluster; each node reports its own.
func TestClusterMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		regs := []*prometheus.Registry{prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()}
		e, _ := startNode(t, r, func(c *executor.Config) { c.Workers, c.Registerer = 1, regs[0] })
		startNode(t, r, func(c *executor.Config) { c.Workers, c.Registerer = 1, regs[1] })
		submit(t, e, fakePlan{Tasks: 2})
		submit(t, e, fakePlan{Tasks: 1})
		settle()
		submit(t, e, fakePlan{Tasks: 4, Park: time.Hour, Waiting: 4, Memory: 10})
		settle()
		submit(t, e, fakePlan{Tasks: 3, Block: true})
		settle()
		submit(t, e, fakePlan{Tasks: 5})
		submit(t, e, fakePlan{Tasks: 5}, func(s *job.Submission) { s.StartAfter = time.Now().Add(time.Hour) })
		time.Sleep(10 * time.Second)
		waiting := 0.0
		for _, j := range e.Work().Jobs {
			waiting += float64(j.Waiting)
		}
		if waiting < 1 || waiting > 3 {
			t.Errorf("a node has %v of four waiting tasks", waiting)
		}
		for i, reg := range regs {
			if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
				t.Errorf("lint: %v, %v", problems, err)
			}
			for name, want := range map[string][2]float64{
				"gather_queue_jobs":               {1, 0},
				"gather_queue_oldest_age_seconds": {10, 0},
				"gather_running_jobs":             {2, 0},
				"gather_queue_capacity_jobs":      {100_000, 0},
				"gather_admitted_jobs":            {4, 0},
				// Five of the queued job; this node does not see the running tasks of the other node.
				"gather_queue_tasks":             {5 + (3 - 1) + (4 - waiting), 0},
				"gather_delayed_jobs":            {1, 0},
				"gather_admitted_waiting_items":  {4, 0},
				"gather_waiting_capacity_items":  {4_000_000, 0},
				"gather_admitted_bytes":          {10, 0},
				"gather_admitted_capacity_bytes": {1 << 30, 0},
				"gather_workers":                 {1, 1},
				"gather_workers_busy":            {1, 1},
				"gather_waiting_items":           {waiting, 4 - waiting},
				"gather_jobs_submitted_total":    {6, 0},
			} {
				if got := total(t, name, reg); got != want[i] {
					t.Errorf("node %d: %s is %v, want %v", i, name, got, want[i])
				}
			}
		}
		for name, want := range map[string]float64{
			"gather_jobs_finished_total": 2, "gather_job_wait_seconds": 4, "gather_job_run_seconds": 2,
			"gather_job_duration_seconds": 2, "gather_tasks_finished_total": 3,
		} {
			if got := total(t, name, regs...); got != want {
				t.Errorf("%s is %v on all nodes, want %v", name, got, want)
			}
		}
	})
}

// The spans of a job are children of its request's span: one wait, and one run for each node.
func TestClusterTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
		defer func() { _ = provider.Shutdown(context.Background()) }()
		trace := func(c *executor.Config) { c.Tracer, c.Workers = provider.Tracer("test"), 1 }
		r := newFakeCluster(t)
		e, _ := startNode(t, r, trace)
		startNode(t, r, trace)
		submit(t, e, fakePlan{Tasks: 6, Work: time.Second}, traceParent(sampled))
		submit(t, e, fakePlan{Tasks: 1}, traceParent(strings.TrimSuffix(sampled, "1")+"0")) // not sampled
		time.Sleep(20 * time.Second)
		names := map[string]int{}
		runs := map[string]bool{}
		for _, s := range spans.GetSpans() {
			names[s.Name]++
			if s.Name != "job.task" {
				runs[s.SpanContext.SpanID().String()] = true
				if s.SpanContext.TraceID().String() != traceID || s.Parent.SpanID().String() != requestSpan {
					t.Errorf("%s is in trace %v below %v", s.Name, s.SpanContext.TraceID(), s.Parent.SpanID())
				}
			}
		}
		for _, s := range spans.GetSpans() {
			if s.Name == "job.task" && !runs[s.Parent.SpanID().String()] {
				t.Errorf("job.task is below %v", s.Parent.SpanID())
			}
		}
		if names["job.wait"] != 1 || names["job.run"] != 2 || names["job.task"] != 6 {
			t.Errorf("spans %v, want a wait, a run for each node and six tasks", names)
		}
	})
}
