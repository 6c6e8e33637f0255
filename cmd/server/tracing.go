package main

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// openTracing returns a tracer that sends spans over OTLP/HTTP if OTEL_EXPORTER_OTLP_ENDPOINT (or its variant for
// traces) is set; the other OTEL_* variables apply too. Otherwise the tracer is nil and nothing is traced. closeTracing
// sends the remaining spans.
func openTracing(ctx context.Context) (tracer trace.Tracer, closeTracing func(context.Context) error, err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	attrs, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "gather"), attribute.String("service.version", version()),
	), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(attrs))
	return provider.Tracer("gather"), provider.Shutdown, nil
}
