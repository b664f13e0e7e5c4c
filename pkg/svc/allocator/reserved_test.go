package allocator

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// putControlPlane writes the Lease of the control plane's election without a holder, as between two
// holders.
func (r *fixture) putControlPlane(name, addresses string) {
	r.T.Helper()
	r.Put(fakecluster.LeasePath(name), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{kubelease.LabelRole: kubelease.RoleControlPlane},
		Annotations: map[string]string{kubelease.AnnotationVIPs: addresses},
	}})
	r.Eventually("the watch shows it", func() bool { return r.cache.Lease(name) != nil })
}

// S4, S5: without an agent on a control-plane node and without a flag, the VIP is known from its
// Lease, with its port, whatever the Lease's name. Agents read it in the ledger.
func TestTheControlPlanesLeaseReservesItsAddress(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.putControlPlane("plndr-cp-lock", "10.0.0.100:8443")
	asks := func(port int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Ports[0].Port = port
			s.Annotations = map[string]string{svc.AnnotationAddresses: "10.0.0.100",
				svc.AnnotationShare: "k"}
		}
	}
	r.PutService("a/free")
	r.PutService("a/clash", asks(8443))
	r.PutService("a/shares", asks(6443))
	r.expect(a, "a/free", "10.0.0.101 Allocated")
	r.expect(a, "a/clash", "PortConflict")
	r.expect(a, "a/shares", "10.0.0.100 Allocated")
	entries := r.cache.Ledger()[first]
	i := slices.IndexFunc(entries, func(h ipam.Entry) bool { return h.Service == ipam.ControlPlane })
	if i < 0 || !slices.Equal(entries[i].Ports, []ipam.Port{{Protocol: "TCP", Number: 8443}}) {
		t.Errorf("the ledger has %v", entries)
	}
}

// S4: the next allocator knows the VIP from the ledger, even if no Lease has it. It forgets the VIP
// after a while without evidence.
func TestTheLedgerRemembersTheControlPlanesAddress(t *testing.T) {
	r := newFixture(t)
	r.PutLedger("0", ipam.Ledger{first: {
		{Service: "a/web", Key: "k", Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}},
		{Service: ipam.ControlPlane, Ports: []ipam.Port{{Protocol: "TCP", Number: 6443}}},
	}})
	r.PutService("a/web", func(s *corev1.Service) {
		s.Annotations = map[string]string{svc.AnnotationAddresses: "10.0.0.100", svc.AnnotationShare: "k"}
	})
	a, _ := r.leader("x")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	if entries := a.store.ledger()[first]; !ipam.WithControlPlane(entries) {
		t.Errorf("the next allocator removed the control plane from the ledger: %v", entries)
	}
	r.advance(vipMaxAge)
	r.until(a, "the control plane is gone from the ledger",
		func() bool { return !ipam.WithControlPlane(a.store.ledger()[first]) })
}

// A Lease that is not written any more, as after a change of its name, reserves its address for a
// while only.
func TestAnAbandonedElectionReservesNothing(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	r.putControlPlane("kvip", "10.0.0.100:6443")
	if got := a.controlPlaneVIPs(a.cfg.Cache.Leases()); got[first] != 6443 {
		t.Errorf("reserved %v", got)
	}
	r.advance(vipMaxAge / 2)
	version := r.cache.Lease("kvip").ResourceVersion
	r.putControlPlane("kvip", "10.0.0.100:6443")
	r.Eventually("the renewal is seen",
		func() bool { return r.cache.Lease("kvip").ResourceVersion != version })
	a.controlPlaneVIPs(a.cfg.Cache.Leases())
	r.advance(vipMaxAge)
	if got := a.controlPlaneVIPs(a.cfg.Cache.Leases()); got[first] != 6443 {
		t.Errorf("after a renewal: reserved %v", got)
	}
	r.advance(1)
	if got := a.controlPlaneVIPs(a.cfg.Cache.Leases()); len(got) != 0 {
		t.Errorf("an abandoned one: reserved %v", got)
	}
}

// S4: so does a node that had the address and died, unless it renews its Lease.
func TestADeadNodeReservesNothing(t *testing.T) {
	h := newVIPHistory()
	node := func(version string) []*svc.Lease {
		return []*svc.Lease{{
			ObjectMeta: metav1.ObjectMeta{Name: "s-node-n1", ResourceVersion: version},
			Role:       svc.RoleNode, Info: svc.NodeInfo{ControlPlane: []netip.Addr{first}},
		}}
	}
	for _, step := range []struct {
		version string
		at      time.Duration
		want    bool
	}{
		{"1", time.Hour, true}, {"2", time.Hour + vipMaxAge, true},
		{"2", time.Hour + 2*vipMaxAge, true}, {"2", time.Hour + 2*vipMaxAge + 1, false},
		{"3", time.Hour + 3*vipMaxAge, true},
	} {
		h.observe(node(step.version), 6443, step.at)
		if e, known := h.evidence[first]; known != step.want || known && e.port != 6443 {
			t.Errorf("version %s at %v: %+v, %v", step.version, step.at, e, known)
		}
	}
}

// What other clients write there is bounded, and invalid values are left out.
func TestReadAddressesOfTheControlPlane(t *testing.T) {
	for text, want := range map[string][]netip.AddrPort{
		"":               nil,
		"x":              nil,
		"10.0.0.100":     nil,
		"10.0.0.100:0":   nil,
		"[fe80::1%a]:1":  nil,
		"10.0.0.100:1,x": {netip.MustParseAddrPort("10.0.0.100:1")},
		"10.0.0.100:6443,[2001:db8::1]:6443": {
			netip.MustParseAddrPort("10.0.0.100:6443"), netip.MustParseAddrPort("[2001:db8::1]:6443"),
		},
	} {
		l := svc.ReadLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{svc.LabelRole: svc.RoleControlPlane},
			Annotations: map[string]string{kubelease.AnnotationVIPs: text},
		}})
		if !slices.Equal(l.ControlPlane, want) {
			t.Errorf("%q gives %v, want %v", text, l.ControlPlane, want)
		}
	}
}
