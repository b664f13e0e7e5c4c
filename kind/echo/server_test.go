package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace/noop"
)

// ask sends one request to an echo and returns the answer.
func ask(t *testing.T, e *echo, method, path string,
	header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = "192.0.2.7:4711"
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	e.handler().ServeHTTP(w, r)
	return w
}

func untraced() *echo { return newEcho("echo-1", "worker", noop.NewTracerProvider().Tracer("")) }

func TestAnswer(t *testing.T) {
	w := ask(t, untraced(), http.MethodGet, "/", http.Header{requestID: {"42"}})
	var got answer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := (answer{Pod: "echo-1", Node: "worker", Client: "192.0.2.7:4711",
		RequestID: "42"}); got != want {
		t.Errorf("answer %+v, want %+v", got, want)
	}
	if w.Code != http.StatusOK || w.Header().Get(requestID) != "42" ||
		w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	if w := ask(t, untraced(), http.MethodGet, "/", nil); strings.Contains(w.Body.String(),
		"requestId") || w.Header().Get(requestID) != "" {
		t.Errorf("a request without an ID got one: %s", w.Body)
	}
}

func TestRoutes(t *testing.T) {
	e := untraced()
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/healthz", 200, "ok"},
		{http.MethodGet, "/ready", 200, "ready"},
		{http.MethodPost, "/ready", 400, "want ?ready=true or ?ready=false"},
		{http.MethodPost, "/ready?ready=maybe", 400, "want ?ready=true or ?ready=false"},
		{http.MethodGet, "/ready", 200, "ready"}, // what was not understood changes nothing
		{http.MethodPost, "/ready?ready=false", 200, "ready=false"},
		{http.MethodGet, "/ready", 503, "not ready"},
		{http.MethodGet, "/healthz", 200, "ok"}, // else the kubelet would restart it
		{http.MethodGet, "/", 200, `"pod":"echo-1"`},
		{http.MethodPost, "/ready?ready=true", 200, "ready=true"},
		{http.MethodGet, "/ready", 200, "ready"},
		{http.MethodPost, "/", 405, ""},
		{http.MethodGet, "/other", 404, ""},
	} {
		w := ask(t, e, c.method, c.path, nil)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
