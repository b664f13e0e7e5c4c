package tokenmanager

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestCheckPermissions: a denial counts only if the API server is ready.
func TestCheckPermissions(t *testing.T) {
	const reviewPath, failed = "/selfsubjectaccessreviews", http.StatusInternalServerError
	for _, c := range []struct {
		name                 string
		change               func(f *fixture, text string)
		denied, inconclusive bool
		says                 string
	}{
		{"all permissions", func(*fixture, string) {}, false, false, ""},
		{"unknown token", func(f *fixture, text string) {
			f.server.RejectUser(text)
		}, true, false, "provide credentials"},
		{"missing permission", func(f *fixture, _ string) {
			f.api.RevokeRights()
		}, true, false, "it may not get leases kvip in kube-system"},
		{"anonymous requests are denied", func(f *fixture, text string) {
			f.server.RejectUser(text)
			f.server.RejectUser("")
		}, true, true, "the readiness of the API server is unknown"},
		{"not ready", func(f *fixture, text string) {
			f.server.RejectUser(text)
			f.server.Deny(fakeapi.DenyRule{Method: "GET", Path: "/readyz", Code: failed})
		}, false, false, "whether it is ready"},
		{"the review fails", func(f *fixture, _ string) {
			f.server.Deny(fakeapi.DenyRule{Method: "POST", Path: reviewPath, Code: failed})
		}, false, false, "ask whether it may"},
		{"down", func(f *fixture, _ string) { f.server.Close() }, false, false, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			text := f.api.IssueToken(0)
			creds := apiclient.TokenCredentials("own", text, f.api.CA())
			server := testutil.Must(creds.Server(f.server.Host))
			defer server.Close()
			c.change(f, text)
			err := checkPermissions(t.Context(), creds, server, permissions(objects()))
			if errors.Is(err, errDenied) != c.denied || errors.Is(err, errInconclusive) != c.inconclusive {
				t.Errorf("denied %v, unsure %v: %v", errors.Is(err, errDenied), errors.Is(err, errInconclusive),
					err)
			}
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// TestRequest: the lifetime is the API server's, the age is measured by this node's clock.
func TestRequest(t *testing.T) {
	f := newFixture(t)
	f.api.SetClockLag(10 * time.Minute)
	creds := apiclient.TokenCredentials("own", f.api.IssueToken(0), f.api.CA())
	server := testutil.Must(creds.Server(f.server.Host))
	defer server.Close()
	before := time.Now().Add(-time.Second)
	got, err := request(t.Context(), server, "kube-system", "kvip")
	ok(t, err)
	if got.issued.Before(before) || !got.expires.After(got.issued) || got.text != f.lastIssued() {
		t.Errorf("issued %v, expires %v", got.issued, got.expires)
	}
	f.server.SetMode(fakeapi.Forbidden)
	if _, err = request(t.Context(), server, "kube-system", "kvip"); !apiclient.IsDenied(err) {
		t.Errorf("a denied request: %v", err)
	}
}
