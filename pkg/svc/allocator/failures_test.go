package allocator

import (
	"context"
	"net/http"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
	"github.com/kvip/kvip/test/testutil"
)

// Every request of the allocator counts if it fails.
func TestFailedRequestsAreCounted(t *testing.T) {
	for _, c := range []struct {
		request string
		denials []fakeapi.DenyRule
		do      func(ctx context.Context, r *fixture, a *Allocator)
	}{
		{"update leases", []fakeapi.DenyRule{{Method: "PUT", Path: "/leases/", Code: 503}},
			func(ctx context.Context, r *fixture, a *Allocator) {
				r.advance(2 * time.Second)
				a.cfg.Elector.reconcile(ctx)
			}},
		{"list leases", []fakeapi.DenyRule{{Method: "GET", Path: "/leases", Code: http.StatusForbidden}},
			func(ctx context.Context, r *fixture, a *Allocator) {
				_ = a.listServiceLeases(ctx, r.clock())
			}},
		{"patch services", []fakeapi.DenyRule{{Method: "PATCH", Path: "/services/", Code: 503}}, write},
		{"update services", []fakeapi.DenyRule{{Method: "PATCH", Path: "/services/",
			Code: http.StatusForbidden}, {Method: "PUT", Path: "/services/", Code: 503}}, write},
		{"get services", []fakeapi.DenyRule{{Method: "PATCH", Path: "/services/",
			Code: http.StatusForbidden}, {Method: "GET", Path: "/services/web", Code: 503}}, write},
		{"patch services", []fakeapi.DenyRule{{Method: "PATCH", Path: "/services/",
			Code: http.StatusForbidden}}, func(ctx context.Context, r *fixture, a *Allocator) {
			a.removeFinalizer(ctx, r.cache.Services()[0])
		}},
		{"get services", []fakeapi.DenyRule{{Method: "GET", Path: "/services/web", Code: 503}},
			func(ctx context.Context, _ *fixture, a *Allocator) { a.exists(ctx, "a/web") }},
		{"create events", []fakeapi.DenyRule{{Method: "POST", Path: "/events",
			Code: http.StatusForbidden}},
			func(ctx context.Context, r *fixture, a *Allocator) {
				a.events.postChange(ctx, r.cache.Services()[0], corev1.EventTypeNormal, "Reason", "text")
			}},
		{"patch ippools", []fakeapi.DenyRule{{Method: "PATCH", Path: "/ippools/",
			Code: http.StatusForbidden}}, func(ctx context.Context, r *fixture, a *Allocator) {
			r.until(a, "the pool's status is refused", func() bool { return r.counted("patch ippools") > 0 })
		}},
		{"get services", nil, func(ctx context.Context, _ *fixture, a *Allocator) {
			a.cfg.Router = unreachable()
			a.exists(ctx, "a/web")
		}},
	} {
		t.Run(c.request, func(t *testing.T) {
			r := newFixture(t)
			r.PutService("a/web")
			r.Eventually("the Service is seen", func() bool { return len(r.cache.Services()) == 1 })
			a, _ := r.leader("x")
			r.Server.Deny(c.denials...)
			c.do(t.Context(), r, a)
			if r.counted(c.request) == 0 {
				t.Errorf("%s is not counted, but %v", c.request, r.failures)
			}
		})
	}
}

// write writes the status of the only Service.
func write(ctx context.Context, r *fixture, a *Allocator) {
	_, _ = a.queue.client.write(ctx, r.cache.Services()[0],
		desiredStatus{isReady: true, reason: ReasonAllocated})
}

// A failure counts also while there is no Lease yet.
func TestAFailedCreateOfTheLeaseIsCounted(t *testing.T) {
	r := newFixture(t)
	r.Server.Deny(fakeapi.DenyRule{Method: "POST", Path: "/leases", Code: 503})
	k := r.elector("x")
	k.reconcile(t.Context())
	r.advance(20 * time.Second)
	if k.reconcile(t.Context()); r.counted("create leases") == 0 {
		t.Errorf("counted %v", r.failures)
	}
}

// An object that does not exist is not a failure, and neither is a cancelled request.
func TestNotFoundIsNotAFailure(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	if a.exists(t.Context(), "a/none") {
		t.Error("it exists")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = a.queue.client.write(over, version("7"), desiredStatus{})
	if len(r.failures) != 0 {
		t.Errorf("counted %v", r.failures)
	}
}

// The requests of the store count, as do those that cannot be sent.
func TestRequestsOfTheStoreAreCounted(t *testing.T) {
	r := newFixture(t)
	client, err := countedLeases(r.elector("x").cfg)()
	if err != nil {
		t.Fatal(err)
	}
	r.Server.Deny(fakeapi.DenyRule{Path: "/leases", Code: 503})
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "x",
		Namespace: fakecluster.Namespace}}
	_, _ = client.List(t.Context(), metav1.ListOptions{})
	_, _ = client.Create(t.Context(), lease, metav1.CreateOptions{})
	_, _ = client.Update(t.Context(), lease, metav1.UpdateOptions{})
	for _, request := range []string{"list leases", "create leases", "update leases"} {
		if r.counted(request) != 1 {
			t.Errorf("%s is counted %d times", request, r.counted(request))
		}
	}
	cfg := r.elector("x").cfg
	cfg.Router = unreachable()
	if _, err := countedLeases(cfg)(); err == nil || r.counted("list leases") != 2 {
		t.Errorf("without a server: %v, counted %v", err, r.failures)
	}
}

// unreachable returns a Router without credentials.
func unreachable() *apiclient.Router {
	store := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: []string{"/none"}}))
	return testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{Store: store}))
}
