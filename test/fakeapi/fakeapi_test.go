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
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "kubernetes"},
		ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, server, &http.Client{Transport: transport}}
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

// do sends a request and returns the code and body of the answer.
func (c *client) do(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.server.Host+path,
		strings.NewReader(body))
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

// TestLeases checks rules of the real API server that drivers rely on.
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
			t.Errorf("%s %s %s: %d %s, want %d %s", step.method, step.path, step.body, code, reason,
				step.code, step.reason)
		}
	}
}

// TestVersions checks that each write increments the version, and that an empty list has one.
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

// TestWatch checks that a watch sends the changes since a version, or 410 after a compaction.
func TestWatch(t *testing.T) {
	c := serve(t)
	c.do("POST", leases, `{"metadata":{"name":"a"}}`)
	c.do("POST", leases, `{"metadata":{"name":"b"}}`)
	read := func(version string) (kinds []string) {
		t.Helper()
		response, err := c.http.Get("https://" + c.server.Host + leases +
			"?watch=1&timeoutSeconds=60&fieldSelector=metadata.name%3Da&resourceVersion=" + version)
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
		t.Errorf("watch since a compacted version: %s", got)
	}
}

func TestModesAndRequests(t *testing.T) {
	c := serve(t)
	for mode, want := range map[Mode]int{Unauthorized: 401, Forbidden: 403, Serving: 200} {
		c.server.SetMode(mode)
		if code, _ := c.do("GET", leases, ""); code != want {
			t.Errorf("mode %d answers %d, want %d", mode, code, want)
		}
	}
	if n := c.server.RequestCount("GET", "/leases"); n != 3 {
		t.Errorf("RequestCount is %d, want 3", n)
	}
	if q := c.server.Requests()[0]; q.ServerName != "kubernetes" || q.Proto != "HTTP/2.0" ||
		q.Client == "" {
		t.Errorf("recorded %+v", q)
	}
}

// TestStatuses checks conflicts of managers, an apply and an update of one name included, and that
// an apply removes the fields that it no longer has.
func TestStatuses(t *testing.T) {
	const services = "/api/v1/namespaces/a/services"
	c := serve(t)
	c.do("POST", services, `{"metadata":{"name":"web"}}`)
	apply := services + "/web/status?fieldManager=kvip&force=false"
	address := func(ip string) string {
		return `{"status":{"loadBalancer":{"ingress":[{"ip":"` + ip +
			`"}]}}}`
	}
	for _, step := range []struct {
		method, path, body string
		code               int
		want               string // the address then
	}{
		{"PATCH", apply, address("10.0.0.1"), 200, "10.0.0.1"},
		{"PATCH", apply, `{"metadata":{"resourceVersion":"1"}}`, 409, "10.0.0.1"},
		{"PATCH", apply, address("10.0.0.2"), 200, "10.0.0.2"},
		{"PATCH", services + "/web/status?fieldManager=other", address("10.0.0.3"), 409, "10.0.0.2"},
		{"PATCH", services + "/web/status?fieldManager=other", address("10.0.0.2"), 200, "10.0.0.2"},
		{"PATCH", apply, `{"status":{}}`, 200, "10.0.0.2"},
		{"PATCH", services + "/web/status?fieldManager=other", `{"status":{}}`, 200, ""},
		{"PUT", services + "/web/status?fieldManager=kvip", address("10.0.0.4"), 200, "10.0.0.4"},
		{"PATCH", apply, address("10.0.0.5"), 409, "10.0.0.4"},
		{"PATCH", apply, `{"status":{}}`, 200, "10.0.0.4"},
		{"PATCH", services + "/no/status?fieldManager=kvip", `{}`, 404, ""},
	} {
		code, answer := c.do(step.method, step.path, step.body)
		if code != step.code {
			t.Errorf("%s %s: %d %v, want %d", step.method, step.body, code, answer, step.code)
		}
		if details, ok := answer["details"].(object); code == 409 &&
			strings.Contains(answer["message"].(string), "Apply failed") != (ok &&
				details["causes"] != nil) {
			t.Errorf("%s %s: conflict without cause: %v", step.method, step.body, answer)
		}
		if code == 404 {
			continue
		}
		_, o := c.do("GET", services+"/web", "")
		got := ""
		if balancer, ok := status(o)["loadBalancer"].(object); ok {
			got = balancer["ingress"].([]any)[0].(object)["ip"].(string)
		}
		if got != step.want {
			t.Errorf("after %s %s: %q, want %q", step.method, step.body, got, step.want)
		}
	}
}

// TestSelectors checks lists of one namespace or all, by name and by label.
func TestSelectors(t *testing.T) {
	c := serve(t)
	for _, o := range []string{"a/services web", "b/services web", "a/configmaps web",
		"kube-system/leases l"} {
		place, name, _ := strings.Cut(o, " ")
		group := "/api/v1/namespaces/"
		if strings.HasSuffix(place, "leases") {
			group = "/apis/coordination.k8s.io/v1/namespaces/"
		}
		c.do("POST", group+place, `{"metadata":{"name":"`+name+`","labels":{"k":"v"}}}`)
	}
	for path, want := range map[string]int{
		"/api/v1/services": 2, "/api/v1/namespaces/a/services": 1, "/api/v1/namespaces/c/services": 0,
		"/api/v1/configmaps":        1,
		leases + "?labelSelector=k": 1, leases + "?labelSelector=k%3Dv": 1,
		leases + "?labelSelector=k%3Dw": 0, leases + "?labelSelector=x": 0,
		"/api/v1/services?fieldSelector=metadata.name%3Dweb": 2,
		"/api/v1/services?fieldSelector=metadata.name%3Deb":  0,
	} {
		if _, got := c.do("GET", path, ""); len(got["items"].([]any)) != want {
			t.Errorf("%s: %v", path, got["items"])
		}
	}
	c.server.Deny(DenyRule{Method: "GET", Path: "/services", Code: 403})
	if code, got := c.do("GET", "/api/v1/services", ""); code != 403 || got["reason"] != "Forbidden" {
		t.Errorf("denied: %d %v", code, got)
	}
	if code, _ := c.do("GET", "/api/v1/configmaps", ""); code != 200 {
		t.Errorf("a request that no rule matches: %d", code)
	}
}

// TestWatchList checks for objects, a bookmark and then changes, after a stall too.
func TestWatchList(t *testing.T) {
	c := serve(t)
	c.do("POST", leases, `{"metadata":{"name":"a"}}`)
	response, err := c.http.Get("https://" + c.server.Host + leases +
		"?watch=1&timeoutSeconds=60&sendInitialEvents=true&allowWatchBookmarks=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	d := json.NewDecoder(response.Body)
	next := func() string {
		var ev struct {
			Type   string
			Object struct {
				Metadata struct{ Name, ResourceVersion string }
			}
		}
		if err := d.Decode(&ev); err != nil {
			t.Fatal(err)
		}
		return ev.Type + " " + ev.Object.Metadata.Name + " " + ev.Object.Metadata.ResourceVersion
	}
	if got := next() + ", " + next(); got != "ADDED a 101, BOOKMARK  101" {
		t.Errorf("first events: %s", got)
	}
	c.server.StallWatches(true)
	c.do("POST", leases, `{"metadata":{"name":"b"}}`)
	c.server.StallWatches(false)
	if got := next(); got != "ADDED b 102" {
		t.Errorf("after the stall: %s", got)
	}
}
