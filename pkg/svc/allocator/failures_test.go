package allocator

import (
	"context"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// TestFailedRequestsAreCounted: whatever the allocator asks of an API server.
func TestFailedRequestsAreCounted(t *testing.T) {
	for _, row := range []struct {
		request string
		denials []fakeapi.Denial
		do      func(ctx context.Context, r *rig, a *Allocator)
	}{
		{"update leases", []fakeapi.Denial{{Method: "PUT", Path: "/leases/", Code: 503}}, func(ctx context.Context, r *rig, a *Allocator) {
			r.pass(2 * time.Second)
			a.cfg.Elector.turn(ctx)
		}},
		{"list leases", []fakeapi.Denial{{Method: "GET", Path: "/leases", Code: http.StatusForbidden}}, func(ctx context.Context, r *rig, a *Allocator) {
			a.listElections(ctx, r.clock())
		}},
		{"patch services", []fakeapi.Denial{{Method: "PATCH", Path: "/services/", Code: 503}}, write},
		{"update services", []fakeapi.Denial{{Method: "PATCH", Path: "/services/", Code: http.StatusForbidden}, {Method: "PUT", Path: "/services/", Code: 503}}, write},
		{"get services", []fakeapi.Denial{{Method: "PATCH", Path: "/services/", Code: http.StatusForbidden}, {Method: "GET", Path: "/services/web", Code: 503}}, write},
		{"patch services", []fakeapi.Denial{{Method: "PATCH", Path: "/services/", Code: http.StatusForbidden}}, func(ctx context.Context, r *rig, a *Allocator) {
			a.removeFinalizer(ctx, r.cat.Services()[0])
		}},
		{"get services", []fakeapi.Denial{{Method: "GET", Path: "/services/web", Code: 503}}, func(ctx context.Context, _ *rig, a *Allocator) { a.exists(ctx, "a/web") }},
		{"create events", []fakeapi.Denial{{Method: "POST", Path: "/events", Code: http.StatusForbidden}}, func(ctx context.Context, r *rig, a *Allocator) {
			a.writer.status.events.change(ctx, r.cat.Services()[0], corev1.EventTypeNormal, "Reason", "text")
		}},
		{"patch ippools", []fakeapi.Denial{{Method: "PATCH", Path: "/ippools/", Code: http.StatusForbidden}}, func(ctx context.Context, r *rig, a *Allocator) {
			r.until(a, "the pool's status is refused", func() bool { return r.counted("patch ippools") > 0 })
		}},
		{"get services", nil, func(ctx context.Context, _ *rig, a *Allocator) {
			a.cfg.Router = testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{Store: testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: []string{"/none"}}))}))
			a.exists(ctx, "a/web")
		}},
	} {
		t.Run(row.request, func(t *testing.T) {
			r := newRig(t)
			r.PutService("a/web")
			r.Eventually("the Service is seen", func() bool { return len(r.cat.Services()) == 1 })
			a, _ := r.seated("x")
			r.Server.Deny(row.denials...)
			row.do(t.Context(), r, a)
			if r.counted(row.request) == 0 {
				t.Errorf("%s is not counted; these are: %v", row.request, r.failed)
			}
		})
	}
}

// write has the status of the only Service written.
func write(ctx context.Context, r *rig, a *Allocator) {
	_, _ = a.writer.status.write(ctx, r.cat.Services()[0], wish{ok: true, reason: ReasonAllocated})
}

// TestASeatThatCannotBeMadeIsCounted: also while there is no Lease yet.
func TestASeatThatCannotBeMadeIsCounted(t *testing.T) {
	r := newRig(t)
	r.Server.Deny(fakeapi.Denial{Method: "POST", Path: "/leases", Code: 503})
	k := r.keeper("x")
	k.turn(t.Context())
	r.pass(20 * time.Second)
	if k.turn(t.Context()); r.counted("create leases") == 0 {
		t.Errorf("counted are %v", r.failed)
	}
}

// TestAnswersAreNoFailures: that something does not exist is what was asked, and what is cancelled did not fail.
func TestAnswersAreNoFailures(t *testing.T) {
	r := newRig(t)
	a, _ := r.allocator("x")
	if a.exists(t.Context(), "a/none") {
		t.Error("it exists")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = a.writer.status.write(over, version("7"), wish{})
	if len(r.failed) != 0 {
		t.Errorf("counted are %v", r.failed)
	}
}
