package directhttp

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestClientFollowsNoRedirect(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	response, err := NewClient().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusFound || requests != 1 {
		t.Errorf("%s after %d requests", response.Status, requests)
	}
	if !response.Close {
		t.Error("the connection is kept")
	}
}

func TestClientUsesNoProxy(t *testing.T) {
	if transport := NewClient().Transport.(*http.Transport); transport.Proxy != nil {
		t.Error("the client uses a proxy")
	}
}
