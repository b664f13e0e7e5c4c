package speaker

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// routed is in no network of the node.
var routed = netip.MustParseAddr("203.0.113.5")

// fakeRoutes records what is announced to routers.
type fakeRoutes struct {
	journal *journal
	list    []policy.Address
}

func (f *fakeRoutes) SetAddresses(s advertiser.Source, list []policy.Address) {
	before := map[netip.Addr]policy.Address{}
	for _, a := range f.list {
		before[a.Addr] = a
	}
	for _, a := range list {
		was, had := before[a.Addr]
		if delete(before, a.Addr); had && was.Worse == a.Worse {
			continue
		}
		how := ""
		if a.Worse {
			how = " worse"
		}
		f.journal.add("route %v%s", a.Addr, how)
	}
	for _, a := range f.list {
		if _, gone := before[a.Addr]; gone {
			f.journal.add("withdraw route %v", a.Addr)
		}
	}
	f.list = list
}

// putPool makes pool "routed" announce its addresses in a way, and waits until that is seen.
func (f *fixture) putPool(how v1alpha1.Announcement) {
	f.T.Helper()
	f.Put("/apis/kvip.dev/v1alpha1/ippools/routed", &v1alpha1.IPPool{
		ObjectMeta: metav1.ObjectMeta{Name: "routed", Labels: map[string]string{"site": "a"}},
		Spec: v1alpha1.IPPoolSpec{
			Addresses: []v1alpha1.Addresses{"203.0.113.0/28"}, Announcement: how,
		},
	})
	f.Eventually("the pool is seen", func() bool {
		found := f.cache.Announcement(routed)
		return found.Pool == "routed" && found.BGP == (how == v1alpha1.BGP)
	})
}

// TestB3RouteFollowsTheAddress: filter, address, route; and in the reverse order when the node is
// not to serve the address any more (B4).
func TestB3RouteFollowsTheAddress(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.reconcile()
	f.renew()
	f.expect("protect [203.0.113.5], add 203.0.113.5, route 203.0.113.5")
	want := policy.Address{
		Addr: routed, Pool: "routed", PoolLabels: map[string]string{"site": "a"},
		Services: []map[string]string{nil}, WithoutEndpoints: true,
	}
	if !reflect.DeepEqual(f.routes.list, []policy.Address{want}) {
		t.Errorf("announced %+v", f.routes.list)
	}
	f.assign(routed)                                              // no Service has it any more
	f.expect("protect [203.0.113.5], withdraw route 203.0.113.5") // the filter has no port for it
	f.advanceRunning(overlap)
	f.renew()
	f.expect("protect [203.0.113.5], remove 203.0.113.5, protect []")
}

// TestEveryNodeServesARoutedAddress, also beside others, and on no link of its own.
func TestEveryNodeServesARoutedAddress(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.start()
	f.addPeer("other", peerMAC)
	f.renew()
	f.reconcile()
	if got := f.speaker.Report("a/web").Addresses; len(got) != 1 || !got[0].Present ||
		got[0].Reason != "Routed" || fmt.Sprint(got[0].Eligible) != "[me other]" {
		t.Errorf("reported %+v", got)
	}
	if present, err := f.service.Present(); err != nil || len(present) != 1 ||
		present[0].LinkName != "lo" {
		t.Errorf("present: %+v, %v", present, err)
	}
	if len(f.announcer.announced) != 0 {
		t.Errorf("announced to neighbours: %v", f.announcer.announced)
	}
}

// TestB5CordonMakesThePathWorse, at once, and the node goes on serving.
func TestB5CordonMakesThePathWorse(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.start()
	f.journal.drain()
	f.cordon("me", true)
	f.expect("route 203.0.113.5 worse")
	f.cordon("me", false)
	f.expect("route 203.0.113.5")
}

// TestRoutedLocal: with externalTrafficPolicy Local only a node with an endpoint has the address.
func TestRoutedLocal(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.PutService("a/web", func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	f.assign(routed, "a/web")
	f.start()
	f.expect("")
	if f.kernel.Has(routed) {
		t.Fatal("a node without an endpoint has the address")
	}
	f.PutSlice("a/web", "me")
	f.Eventually("the endpoint is seen", func() bool { return len(f.cache.Endpoints()) > 0 })
	f.expect("protect [203.0.113.5], add 203.0.113.5, route 203.0.113.5")
	if f.routes.list[0].WithoutEndpoints {
		t.Error("announced as without endpoints")
	}
	f.PutSlice("a/web")
	f.Eventually("it is gone", func() bool {
		for _, endpoints := range f.cache.Endpoints() {
			if len(endpoints) > 0 {
				return false
			}
		}
		return true
	})
	f.expect("withdraw route 203.0.113.5")
}

// TestPoolChangesItsAnnouncement: the node keeps the address on the way.
func TestPoolChangesItsAnnouncement(t *testing.T) {
	f := newFixture(t)
	f.links[0].Subnets = append(f.links[0].Subnets, netip.MustParsePrefix("198.51.100.0/24"))
	f.speaker.cfg.Fallback = nil
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.start()
	f.journal.drain()
	f.speaker.cfg.Interface = "eth0" // takes addresses of no network
	f.speaker.readLinks()
	f.renew()
	f.reconcile()
	f.journal.drain()
	f.putPool(v1alpha1.Layer2)
	f.expect("add 203.0.113.5, remove 203.0.113.5, announce 203.0.113.5, withdraw route 203.0.113.5")
	f.putPool(v1alpha1.BGP)
	f.expect("add 203.0.113.5, remove 203.0.113.5, withdraw 203.0.113.5, route 203.0.113.5")
	if present, _ := f.service.Present(); len(present) != 1 || present[0].LinkName != "lo" {
		t.Errorf("present: %+v", present)
	}
}

// TestRestartKeepsRoutedAddresses, silent until a fresh view.
func TestRestartKeepsRoutedAddresses(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.start()
	f.routes.list = nil // the process ends
	f.restart()
	f.journal.drain()
	f.expect("")
	if !f.kernel.Has(routed) || len(f.routes.list) != 0 {
		t.Errorf("has it: %v, announced %v", f.kernel.Has(routed), f.routes.list)
	}
	f.renew()
	f.expect("protect [203.0.113.5], route 203.0.113.5")
}

// TestReleaseWithdrawsRoutesFirst: a node that leaves for good keeps the address for the overlap.
func TestReleaseWithdrawsRoutesFirst(t *testing.T) {
	f := newFixture(t)
	f.putPool(v1alpha1.BGP)
	f.assign(routed, "a/web")
	f.start()
	f.journal.drain()
	if err := f.speaker.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.journal.drain(); got != "withdraw route 203.0.113.5, remove addresses, remove filter" {
		t.Errorf("actions %q", got)
	}
}
