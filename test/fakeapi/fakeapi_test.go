package fakeapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// client is a server with a plain HTTP client that trusts it.
type client struct {
	t      *testing.T
	server *Server
	http   *http.Client
}

func serve(t *testing.T) *client {
	t.Helper()
	store, err := NewStore()
	if err != nil {
		t.Fatal(err)
	}
	server, err := store.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(store.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "kubernetes"}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, server, &http.Client{Transport: transport}}
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

// do sends body and returns the status code and what was answered.
func (c *client) do(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.server.Host+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil && err != io.EOF {
		c.t.Fatal(err)
	}
	return response.StatusCode, got
}

// The rules of the real API server that drivers rely on.
func TestLeases(t *testing.T) {
	c := serve(t)
	for _, step := range []struct {
		method, path, body string
		code               int
		reason             string
	}{
		{"GET", leases + "/a", "", 404, "NotFound"},
		{"PUT", leases + "/a", `{"metadata":{"name":"a"}}`, 404, "NotFound"},
		{"POST", leases, `{"metadata":{"name":"a"},"spec":{"leaseDurationSeconds":0}}`, 422, "Invalid"},
		{"POST", leases, `{"metadata":{"name":"a"},"spec":{"leaseTransitions":-1}}`, 422, "Invalid"},
		{"POST", leases, `{`, 400, "BadRequest"},
		{"POST", leases, `{"metadata":{"name":"a"},"spec":{"leaseDurationSeconds":5}}`, 201, ""},
		{"POST", leases, `{"metadata":{"name":"a"}}`, 409, "AlreadyExists"},
		{"PUT", leases + "/a", `{"metadata":{"name":"a","resourceVersion":"100"}}`, 409, "Conflict"},
		{"PUT", leases + "/a", `{"metadata":{"name":"a","resourceVersion":"101"}}`, 200, ""},
		{"PUT", leases + "/a", `{"metadata":{"name":"a"}}`, 200, ""},
		{"PATCH", leases + "/a", `{}`, 405, "MethodNotAllowed"},
		{"GET", leases + "/a", "", 200, ""},
		{"DELETE", leases + "/a", "", 200, ""},
		{"DELETE", leases + "/a", "", 404, "NotFound"},
		{"GET", "/apis/apps/v1/deployments", "", 404, "NotFound"},
	} {
		code, got := c.do(step.method, step.path, step.body)
		if reason, _ := got["reason"].(string); code != step.code || reason != step.reason {
			t.Errorf("%s %s %s: %d %s, want %d %s", step.method, step.path, step.body, code, reason, step.code, step.reason)
		}
	}
}

// A version grows with every write, and a list has one although it is empty.
func TestVersions(t *testing.T) {
	c := serve(t)
	version := func(got map[string]any) string { return metadata(got)["resourceVersion"].(string) }
	_, empty := c.do("GET", leases+"?fieldSelector=metadata.name%3Da", "")
	_, made := c.do("POST", leases, `{"metadata":{"name":"a"}}`)
	_, gone := c.do("DELETE", leases+"/a", "")
	if version(empty) != "100" || version(made) != "101" || version(gone) != "102" {
		t.Errorf("versions %s, %s, %s, want 100, 101, 102", version(empty), version(made), version(gone))
	}
}

// A watch tells what happened since a version, 410 when that was forgotten.
func TestWatch(t *testing.T) {
	c := serve(t)
	c.do("POST", leases, `{"metadata":{"name":"a"}}`)
	c.do("POST", leases, `{"metadata":{"name":"b"}}`)
	read := func(version string) (kinds []string) {
		t.Helper()
		response, err := c.http.Get("https://" + c.server.Host + leases + "?watch=1&timeoutSeconds=60&fieldSelector=metadata.name%3Da&resourceVersion=" + version)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		c.do("DELETE", leases+"/a", "")
		for d := json.NewDecoder(response.Body); ; {
			var ev struct{ Type string }
			if err := d.Decode(&ev); err != nil {
				return kinds
			}
			if kinds = append(kinds, ev.Type); ev.Type == "DELETED" {
				c.server.EndWatches()
			}
		}
	}
	if got := strings.Join(read("100"), " "); got != "ADDED DELETED" {
		t.Errorf("watch since 100: %s", got)
	}
	c.server.store.Compact()
	if got := strings.Join(read("100"), " "); got != "ERROR" {
		t.Errorf("watch since a forgotten version: %s", got)
	}
}

func TestModesAndRequests(t *testing.T) {
	c := serve(t)
	for mode, want := range map[Mode]int{Unauthorized: 401, Forbidden: 403, Serves: 200} {
		c.server.Be(mode)
		if code, _ := c.do("GET", leases, ""); code != want {
			t.Errorf("mode %d answers %d, want %d", mode, code, want)
		}
	}
	if n := c.server.Count("GET", "/leases"); n != 3 {
		t.Errorf("%d requests were counted, want 3", n)
	}
	if q := c.server.Requests()[0]; q.ServerName != "kubernetes" || q.Proto != "HTTP/2.0" || q.Client == "" {
		t.Errorf("noted %+v", q)
	}
}
