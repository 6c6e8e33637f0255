package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var w3c propagation.TraceContext

// startTrace starts the span of a request, as a child of the client's span if it has one. Without a tracer it does
// nothing, and jobs carry the client's traceparent.
func (s *server) startTrace(x *requestState, r *http.Request) context.Context {
	ctx := x.Context
	if s.Tracer == nil {
		return ctx
	}
	ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, x.span = s.Tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(x.started),
		trace.WithAttributes(
			attribute.String("http.request.method", r.Method),
			attribute.String("url.path", r.URL.Path),
			attribute.String("gather.request_id", x.requestID),
		))
	return ctx
}

// endTrace ends the span. Names and attributes follow the OpenTelemetry semantic conventions for HTTP servers.
func (x *requestState) endTrace() {
	if x.span == nil {
		return
	}
	route := routeOf(x.req)
	x.span.SetName(x.req.Method + " " + route)
	x.span.SetAttributes(attribute.String("http.route", route), attribute.Int("http.response.status_code", x.status))
	if x.status >= http.StatusInternalServerError {
		x.span.SetStatus(codes.Error, http.StatusText(x.status))
	}
	x.span.End()
}

// traceParent returns the traceparent for submitted jobs: the request's span, or the client's own.
func (x *requestState) traceParent() string {
	if x.span == nil {
		return traceParent(x.req.Header)
	}
	sc := x.span.SpanContext()
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

// traceAttr returns the trace id of a request as a log attribute.
func (x *requestState) traceAttr() slog.Attr {
	parent := x.traceParent()
	if parent == "" {
		return slog.Attr{}
	}
	return slog.String("trace_id", parent[3:35])
}
