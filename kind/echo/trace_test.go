package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// parent is the example of the W3C recommendation, Trace Context level 1, 3.2.
const (
	parent  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// TestSpanHasParent: the span of a request with a traceparent is its child, with the status.
func TestSpanHasParent(t *testing.T) {
	var out bytes.Buffer
	tracer, flush, err := newTracer(t.Context(), options{pod: "echo-1", node: "worker"},
		only("ECHO_TRACE", "stdout"), &out)
	if err != nil {
		t.Fatal(err)
	}
	e := newEcho("echo-1", "worker", tracer)
	if w := ask(t, e, http.MethodGet, "/",
		http.Header{"Traceparent": {parent}}); !strings.Contains(w.Body.String(), `"trace":"`+traceID+
		`"`) {
		t.Errorf("the answer does not name the trace: %s", w.Body)
	}
	ask(t, e, http.MethodPost, "/ready", nil)
	ask(t, e, http.MethodGet, "/healthz", nil)
	if err := flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Name":"GET /"`, `"TraceID":"` + traceID + `"`,
		`"SpanID":"00f067aa0ba902b7"`, `"Value":200`, `"Value":400`, `"k8s.pod.name"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), `"SpanKind"`); n != 2 {
		t.Errorf("%d spans, want one a request and none for probes: %s", n, out.String())
	}
}

// TestSpansReachTheCollector: flush sends the spans that are still queued.
func TestSpansReachTheCollector(t *testing.T) {
	got := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(body)
		}
		text, _ := io.ReadAll(body)
		got <- r.URL.Path + " " + string(text)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	url, term, ended, _ := started(t, 0)
	if status := get(url + "/"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	term()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	select {
	case sent := <-got:
		if !strings.HasPrefix(sent, "/v1/traces ") || !strings.Contains(sent, "GET /") ||
			!strings.Contains(sent, "k8s.node.name") {
			t.Errorf("the collector got %q", sent)
		}
	default:
		t.Error("the collector got nothing")
	}
}

func TestSpansAreDiscarded(t *testing.T) {
	var out bytes.Buffer
	tracer, flush, err := newTracer(t.Context(), options{}, only("", ""), &out)
	if err != nil {
		t.Fatal(err)
	}
	if w := ask(t, newEcho("p", "n", tracer), http.MethodGet, "/", nil); w.Code != http.StatusOK ||
		strings.Contains(w.Body.String(), "trace") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := flush(t.Context()); err != nil || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
}

// only is an environment of one variable.
func only(name, value string) func(string) string {
	return func(asked string) string {
		if asked == name {
			return value
		}
		return ""
	}
}
