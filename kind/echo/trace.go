package main

import (
	"context"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// newTracer returns a tracer that sends spans to the collector of OTEL_EXPORTER_OTLP_ENDPOINT, as
// http://collector:4318 (without TLS: the image has no CA certificates), to stderr with
// ECHO_TRACE=stdout, or discards them. flush sends the remaining spans.
func newTracer(ctx context.Context, o options, env func(string) string,
	stderr io.Writer) (tracer trace.Tracer, flush func(context.Context) error, err error) {
	exporter, err := newExporter(ctx, env, stderr)
	if err != nil {
		return nil, nil, err
	}
	if exporter == nil {
		return noop.NewTracerProvider().Tracer("echo"), func(context.Context) error { return nil }, nil
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "echo"), attribute.String("k8s.pod.name", o.pod),
		attribute.String("k8s.node.name", o.node),
	), resource.WithFromEnv())
	if err != nil {
		return nil, nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(about))
	return provider.Tracer("echo"), provider.Shutdown, nil
}

// newExporter returns nil if spans are discarded.
func newExporter(ctx context.Context, env func(string) string,
	stderr io.Writer) (sdktrace.SpanExporter, error) {
	switch kind := env("ECHO_TRACE"); {
	case env("OTEL_EXPORTER_OTLP_ENDPOINT") != "":
		return otlptracehttp.New(ctx) // reads OTEL_EXPORTER_OTLP_* itself
	case kind == "stdout":
		return stdouttrace.New(stdouttrace.WithWriter(stderr))
	case kind != "":
		return nil, fmt.Errorf("ECHO_TRACE=%s: want stdout or no value", kind)
	}
	return nil, nil
}
