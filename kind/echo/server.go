package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// requestID is the header that the answer copies from the request.
const requestID = "X-Request-Id"

// answer is the body of GET /.
type answer struct {
	Pod  string `json:"pod"`
	Node string `json:"node,omitempty"`
	// Client has the address and port that this pod sees. It is a node's address behind a proxy.
	Client    string `json:"client"`
	RequestID string `json:"requestId,omitempty"`
	Trace     string `json:"trace,omitempty"` // ID of the request's trace
}

// echo answers requests. It is ready at first.
type echo struct {
	pod, node string
	tracer    trace.Tracer
	ready     atomic.Bool
}

func newEcho(pod, node string, tracer trace.Tracer) *echo {
	e := &echo{pod: pod, node: node, tracer: tracer}
	e.ready.Store(true)
	return e
}

// handler returns the routes. Probes create no spans.
func (e *echo) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.traced("GET /", e.answer))
	mux.HandleFunc("POST /ready", e.traced("POST /ready", e.setReady))
	mux.HandleFunc("GET /ready", e.getReady)
	mux.HandleFunc("GET /healthz",
		func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") })
	return mux
}

func (e *echo) answer(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(requestID)
	w.Header().Set("Content-Type", "application/json")
	if id != "" {
		w.Header().Set(requestID, id)
	}
	a := answer{Pod: e.pod, Node: e.node, Client: r.RemoteAddr, RequestID: id}
	if span := trace.SpanContextFromContext(r.Context()); span.HasTraceID() {
		a.Trace = span.TraceID().String()
	}
	_ = json.NewEncoder(w).Encode(a) // the client may have disconnected
}

// setReady sets the result of GET /ready, which is the readiness probe.
func (e *echo) setReady(w http.ResponseWriter, r *http.Request) {
	ready, err := strconv.ParseBool(r.URL.Query().Get("ready"))
	if err != nil {
		writeText(w, http.StatusBadRequest, "want ?ready=true or ?ready=false")
		return
	}
	e.ready.Store(ready)
	writeText(w, http.StatusOK, "ready="+strconv.FormatBool(ready))
}

func (e *echo) getReady(w http.ResponseWriter, _ *http.Request) {
	if !e.ready.Load() {
		writeText(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	writeText(w, http.StatusOK, "ready")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// traced adds a span for each request: a child of the span in the client's traceparent (W3C Trace
// Context), or the first span of a trace.
func (e *echo) traced(name string, next http.HandlerFunc) http.HandlerFunc {
	var w3c propagation.TraceContext
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := w3c.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := e.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(
				attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path),
				attribute.String("client.address", r.RemoteAddr),
				attribute.String("http.request.header.x-request-id", r.Header.Get(requestID)),
			))
		defer span.End()
		recorded := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(recorded, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", recorded.status))
	}
}

// statusWriter records the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
