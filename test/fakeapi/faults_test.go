package fakeapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// get sends a GET request with a bearer token and returns the response, or ctx's error.
func (c *client) get(ctx context.Context, path, token string) (*http.Response, error) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.server.Host+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err == nil {
		c.t.Cleanup(func() { _ = response.Body.Close() })
	}
	return response, err
}

// TestModesWithoutAnswer checks that a request is processed or not, and not answered.
func TestModesWithoutAnswer(t *testing.T) {
	for mode, writes := range map[Mode]int{Hang: 0, DropResponses: 1} {
		c := serve(t)
		c.server.SetMode(mode)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.server.Host+leases,
			strings.NewReader(`{"metadata":{"name":"a"}}`))
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.http.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) || c.server.store.WriteCount() != writes {
			t.Errorf("mode %d: %v, %d writes; want no answer and %d", mode, err,
				c.server.store.WriteCount(), writes)
		}
	}
}

func TestHeldResponses(t *testing.T) {
	c := serve(t)
	c.server.SetMode(HoldResponses)
	go func() {
		for c.server.store.WriteCount() == 0 {
			time.Sleep(time.Millisecond)
		}
		c.server.ReleaseResponses()
	}()
	if code, got := c.do("POST", leases, `{"metadata":{"name":"a"}}`); code != 201 ||
		metadata(got)["name"] != "a" {
		t.Errorf("held answer: %d %v", code, got)
	}
}

func TestTooManyRequestsAndWarnings(t *testing.T) {
	c := serve(t)
	c.server.Warn("v0 is deprecated")
	c.server.SetMode(TooManyRequests)
	response, err := c.get(t.Context(), leases, "")
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" ||
		response.Header.Get("Warning") != `299 - "v0 is deprecated"` {
		t.Errorf("answer %d with %v", response.StatusCode, response.Header)
	}
}

// TestWatchMode checks that only watches are affected, and only while requests are served.
func TestWatchMode(t *testing.T) {
	c := serve(t)
	c.server.SetWatchMode(Forbidden)
	watch := leases + "?watch=1&timeoutSeconds=1"
	for _, step := range []struct {
		mode        Mode
		list, watch int
	}{{Serving, 200, 403}, {Unauthorized, 401, 401}} {
		c.server.SetMode(step.mode)
		for path, want := range map[string]int{leases: step.list, watch: step.watch} {
			if response, err := c.get(t.Context(), path, ""); err != nil ||
				response.StatusCode != want {
				t.Errorf("mode %d, %s: %v %v, want %d", step.mode, path, response, err, want)
			}
		}
	}
	if n := c.server.WatchCount(); n != 2 {
		t.Errorf("WatchCount is %d, want 2", n)
	}
}

func TestRejectedUsers(t *testing.T) {
	c := serve(t)
	c.server.RejectUser("old")
	check := func(token string, want int) {
		t.Helper()
		if response, err := c.get(t.Context(), leases, token); err != nil ||
			response.StatusCode != want {
			t.Errorf("token %q: %v %v, want %d", token, response, err, want)
		}
	}
	check("old", 401)
	check("new", 200)
	check("", 200)
	c.server.RejectUser("")
	check("new", 200)
	check("", 401)
}

// TestServiceAccount checks the life of kvip's rights and tokens.
func TestServiceAccount(t *testing.T) {
	c := serve(t)
	store := c.server.store
	store.SetTokenLifetime(10 * time.Minute)
	store.SetClockLag(time.Minute)
	began := time.Now()
	code, got := c.do("POST", tokenPath, "{}")
	token, _ := status(got)["token"].(string)
	parts := strings.Split(token, ".")
	if code != 201 || len(parts) != 3 {
		t.Fatalf("TokenRequest: %d %v", code, got)
	}
	var claims struct{ Iat, Exp int64 }
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if d := claims.Exp - claims.Iat; err != nil || d < 599 || d > 601 ||
		claims.Iat < began.Unix()-61 || claims.Iat > time.Now().Unix()-60 {
		t.Errorf("claims %+v, %v; want 10 minutes, issued a minute ago", claims, err)
	}
	check := func(step string, want int, allowed bool) {
		t.Helper()
		response, err := c.get(t.Context(), leases, token)
		if err != nil || response.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", step, response, err, want)
		}
		if _, review := c.do("POST", reviewPath, "{}"); status(review)["allowed"] != allowed {
			t.Errorf("%s: review %v, want %t", step, review, allowed)
		}
	}
	check("before RBAC is applied", 403, false)
	const binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kvip"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
		"https://"+c.server.Host+binding+"?fieldManager=kvip", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	response, err := c.http.Do(request)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("apply: %v %v", response, err)
	}
	_ = response.Body.Close()
	check("with RBAC", 200, true)
	store.RevokeRights()
	check("after RevokeRights", 403, false)
	second := store.IssueToken(time.Hour)
	check("after IssueToken", 200, true)
	if all := store.IssuedTokens(); len(all) != 2 || all[0] != token || all[1] != second {
		t.Errorf("IssuedTokens returns %q", all)
	}
	if all := store.AppliedPaths(); len(all) != 1 || all[0] != binding {
		t.Errorf("AppliedPaths returns %q", all)
	}
}

// TestFinalizers checks that an object with a deletionTimestamp ends with its last finalizer.
func TestFinalizers(t *testing.T) {
	const path = "/api/v1/namespaces/a/services/web"
	c := serve(t)
	object := map[string]any{"metadata": map[string]any{"name": "web",
		"finalizers":        []string{"x", "y"},
		"deletionTimestamp": "2026-01-01T00:00:00Z"}}
	if err := c.server.store.Put(path, object); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		body  string
		found bool
	}{{`["y"]`, true}, {`[]`, false}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
			"https://"+c.server.Host+path, strings.NewReader(`{"metadata":{"finalizers":`+step.body+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/merge-patch+json")
		response, err := c.http.Do(request)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("patch: %v %v", response, err)
		}
		_ = response.Body.Close()
		var o map[string]any
		if found, err := c.server.store.Get(path, &o); err != nil || found != step.found {
			t.Errorf("after %s: found %t, %v, want %t", step.body, found, err, step.found)
		}
	}
}

// TestPeers checks the EndpointSlice of the API servers.
func TestPeers(t *testing.T) {
	c := serve(t)
	c.server.store.SetPeers("192.0.2.1:6443", "192.0.2.2:6443", "no port")
	code, got := c.do("GET",
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", "")
	text, err := json.Marshal(got["endpoints"])
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"addresses":["192.0.2.1"]},{"addresses":["192.0.2.2"]}]`; code != 200 ||
		string(text) != want || got["ports"].([]any)[0].(object)["port"] != 6443.0 {
		t.Errorf("%d %v, want endpoints %s", code, got, want)
	}
}
