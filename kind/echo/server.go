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

// requestID is the header by which a client knows its own request again.
const requestID = "X-Request-Id"

// answer is what GET / returns.
type answer struct {
	Pod  string `json:"pod"`
	Node string `json:"node,omitempty"`
	// address and port that this pod sees: a node's, where a proxy hides the client's
	Client    string `json:"client"`
	RequestID string `json:"requestId,omitempty"`
	Trace     string `json:"trace,omitempty"` // ID of the trace that the request belongs to
}

// echo answers requests. It begins ready.
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

// handler routes. Probes make no spans.
func (e *echo) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.traced("GET /", e.answer))
	mux.HandleFunc("POST /ready", e.traced("POST /ready", e.setReady))
	mux.HandleFunc("GET /ready", e.showReady)
	mux.HandleFunc("GET /healthz",
		func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
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
	_ = json.NewEncoder(w).Encode(a) // a client that has gone needs no answer
}

// setReady makes GET /ready, and with it the readiness probe, say what the client wants.
func (e *echo) setReady(w http.ResponseWriter, r *http.Request) {
	ready, err := strconv.ParseBool(r.URL.Query().Get("ready"))
	if err != nil {
		say(w, http.StatusBadRequest, "want ?ready=true or ?ready=false")
		return
	}
	e.ready.Store(ready)
	say(w, http.StatusOK, "ready="+strconv.FormatBool(ready))
}

func (e *echo) showReady(w http.ResponseWriter, _ *http.Request) {
	if !e.ready.Load() {
		say(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	say(w, http.StatusOK, "ready")
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// traced makes a request a span below the one that the client names in its traceparent (W3C Trace
// Context), or the first of a trace.
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

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader is http.ResponseWriter's.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
