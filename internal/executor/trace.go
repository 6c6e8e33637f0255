package executor

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
)

// Spans of a job are children of the request that submitted it, by the traceparent that the job carries, also after a restart:
//
//	job.wait    from when the job could start to its start
//	job.run     from its start, or its resumption, to its end; a cluster's job has one on each node that runs tasks of it
//	  job.task  one step of a task, for the first maxTaskSpans steps
//
// Without a tracer, or for a request that was not sampled, there are no spans and no allocations.

// maxTaskSpans bounds the spans of one job.run: a sum may have 65 536 tasks.
const maxTaskSpans = 128

// parseTraceParent reads a W3C traceparent: version, trace id, span id, flags. The zero SpanContext is invalid.
func parseTraceParent(s string) trace.SpanContext {
	var c trace.SpanContextConfig
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return trace.SpanContext{}
	}
	var flags [1]byte
	_, err1 := hex.Decode(c.TraceID[:], []byte(s[3:35]))
	_, err2 := hex.Decode(c.SpanID[:], []byte(s[36:52]))
	_, err3 := hex.Decode(flags[:], []byte(s[53:55]))
	if err1 != nil || err2 != nil || err3 != nil {
		return trace.SpanContext{}
	}
	c.TraceFlags, c.Remote = trace.TraceFlags(flags[0]), true
	return trace.NewSpanContext(c)
}

// traced has the spans of a job's execution; the zero value has none. Guarded by jobExecution.mu.
type traced struct {
	parent   context.Context //nolint:containedctx // holds the parent span of the tasks' spans
	span     trace.Span
	tasks    int
	exemplar prometheus.Labels // nil unless the trace is sampled
}

// startTrace begins the spans of a job at its start, or when it is resumed. Caller holds jobExecution.mu.
func (p *plannedJob) startTrace(now time.Time, resumed bool) {
	sc, ok := p.e.sampled(&p.job)
	if !ok {
		return
	}
	about := trace.WithAttributes(
		attribute.String("gather.job.id", p.job.ID.String()),
		attribute.String("gather.job.kind", p.job.Kind),
		attribute.String("gather.job.priority", p.job.Priority.String()),
		attribute.Bool("gather.job.resumed", resumed),
	)
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), sc)
	if !resumed {
		_, wait := p.e.cfg.Tracer.Start(ctx, "job.wait", trace.WithTimestamp(p.job.Due()), about)
		wait.End(trace.WithTimestamp(now))
	}
	parent, span := p.e.cfg.Tracer.Start(ctx, "job.run", trace.WithTimestamp(now), about)
	p.traced.parent, p.traced.span = parent, span //nolint:fatcontext // one execution has one span; the context does not grow
	p.traced.exemplar = exemplarLabels(sc)
}

// sampled returns the parent of a job's spans; false when the job has no spans.
func (e *Executor) sampled(j *job.Job) (trace.SpanContext, bool) {
	if e.cfg.Tracer == nil || j.TraceParent == "" {
		return trace.SpanContext{}, false
	}
	sc := parseTraceParent(j.TraceParent)
	return sc, sc.IsSampled() && sc.IsValid()
}

// exemplarLabels returns the exemplar labels of a trace.
func exemplarLabels(sc trace.SpanContext) prometheus.Labels {
	return prometheus.Labels{"trace_id": sc.TraceID().String()}
}

// traceParent returns the W3C traceparent of the execution, or of the submission if the execution has no span. Caller
// holds jobExecution.mu.
func (p *plannedJob) traceParent() string {
	if p.traced.span == nil {
		return p.job.TraceParent
	}
	sc := p.traced.span.SpanContext()
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String()
}

// startTask begins the span of a step; it returns nil when there is none.
func (x *jobExecution) startTask(task int, now time.Time) trace.Span {
	if x.e.cfg.Tracer == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.traced.span == nil || x.traced.tasks == maxTaskSpans {
		return nil
	}
	x.traced.tasks++
	_, span := x.e.cfg.Tracer.Start(x.traced.parent, "job.task", trace.WithTimestamp(now),
		trace.WithAttributes(attribute.Int("gather.task", task)))
	return span
}

// endTask ends the span of a step.
func endTask(span trace.Span, step *job.Step, err error) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.Int64("gather.items", step.Completed), attribute.Int64("gather.bytes", step.Bytes),
		attribute.Bool("gather.waiting", step.Waits()))
	switch {
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	case step.Retry != nil:
		span.SetStatus(codes.Error, step.Retry.Error)
	}
	span.End()
}

// endTrace ends the span of the execution. Caller holds jobExecution.mu.
func (p *plannedJob) endTrace(how *job.Finished) {
	span := p.traced.span
	if span == nil {
		return
	}
	p.traced.span = nil
	span.SetAttributes(attribute.String("gather.job.state", how.State.String()))
	if how.Failure != nil {
		span.SetStatus(codes.Error, how.Failure.Error())
	}
	span.End(trace.WithTimestamp(how.At))
}

// observe adds to a histogram, with the trace as an exemplar if there is one.
func observe(o prometheus.Observer, seconds float64, example prometheus.Labels) {
	if e, ok := o.(prometheus.ExemplarObserver); ok && example != nil {
		e.ObserveWithExemplar(seconds, example)
		return
	}
	o.Observe(seconds)
}
