package executor_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"gather/internal/executor"
	"gather/internal/job"
)

const (
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	requestSpan = "b7ad6b7169203331"
	sampled     = "00-" + traceID + "-" + requestSpan + "-01"
)

func traceParent(s string) func(*job.Submission) {
	return func(sub *job.Submission) { sub.TraceParent = s }
}

// The spans of a job are children of its request's span, also after a restart.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
		defer func() { _ = provider.Shutdown(context.Background()) }()
		trace := func(c *executor.Config) { c.Tracer, c.Workers = provider.Tracer("test"), 1 }
		l := newFakeJournal(t)
		e := start(t, l, trace)
		submit(t, e, fakePlan{Tasks: 1, Work: 2 * time.Second})
		synctest.Wait()
		submit(t, e, fakePlan{Tasks: 5, Work: time.Second}, traceParent(sampled))
		submit(t, e, fakePlan{Tasks: 1}, traceParent(strings.TrimSuffix(sampled, "1")+"0")) // not sampled
		submit(t, e, fakePlan{Tasks: 1}, traceParent("nonsense"))
		time.Sleep(3500 * time.Millisecond)
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		e = start(t, l, trace)
		time.Sleep(5 * time.Second)
		_ = e

		names := map[string]int{}
		runs := map[string]bool{}
		for _, s := range spans.GetSpans() {
			names[s.Name]++
			for _, a := range s.Attributes {
				if !strings.HasPrefix(string(a.Key), "gather.") {
					t.Errorf("%s has the attribute %q, want it to begin with \"gather.\"", s.Name, a.Key)
				}
			}
			if s.SpanContext.TraceID().String() != traceID {
				t.Errorf("%s is in trace %v", s.Name, s.SpanContext.TraceID())
			}
			switch s.Name {
			case "job.wait":
				if d := s.EndTime.Sub(s.StartTime); d != 2*time.Second || s.Parent.SpanID().String() != requestSpan {
					t.Errorf("job.wait: %v below %v", d, s.Parent.SpanID())
				}
			case "job.run":
				runs[s.SpanContext.SpanID().String()] = true
				if s.Parent.SpanID().String() != requestSpan {
					t.Errorf("job.run is below %v", s.Parent.SpanID())
				}
			}
		}
		for _, s := range spans.GetSpans() {
			if s.Name == "job.task" && !runs[s.Parent.SpanID().String()] {
				t.Errorf("job.task is below %v", s.Parent.SpanID())
			}
		}
		if names["job.wait"] != 1 || names["job.run"] != 2 || names["job.task"] != 5 {
			t.Errorf("spans %v, want a wait, two runs (one after the restart) and five tasks", names)
		}
	})
}

// Latency metrics have traced jobs as exemplars.
func TestExemplars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := sdk.NewTracerProvider()
		defer func() { _ = provider.Shutdown(context.Background()) }()
		reg := prometheus.NewRegistry()
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.Tracer, c.Registerer = provider.Tracer("test"), reg })
		submit(t, e, fakePlan{Tasks: 1}, traceParent(sampled))
		settle()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, f := range families {
			for _, m := range f.Metric {
				for _, b := range m.GetHistogram().GetBucket() {
					for _, label := range b.GetExemplar().GetLabel() {
						found[f.GetName()] = label.GetName() == "trace_id" && label.GetValue() == traceID
					}
				}
			}
		}
		for _, name := range []string{"gather_job_wait_seconds", "gather_job_run_seconds", "gather_job_duration_seconds"} {
			if !found[name] {
				t.Errorf("%s has no exemplar", name)
			}
		}
	})
}

// Log records about a job name the job, the request and the trace.
func TestLogsTellTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newFakeJournal(t)
		e := start(t, l, func(c *executor.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
		id := submit(t, e, fakePlan{Tasks: 1, Panic: true}, traceParent(sampled), func(s *job.Submission) { s.RequestID = "req-1" })
		settle()
		for _, part := range []string{id.String(), "req-1", traceID, "fakeTask"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log lacks %q:\n%s", part, log.String())
			}
		}
	})
}
