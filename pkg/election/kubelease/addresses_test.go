package kubelease

import (
	"net/netip"
	"slices"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
)

const leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kvip"

// S4: the Services part finds the VIPs on the control plane's Lease under any name, once it is
// created, or after an upgrade once it is written again.
func TestTheLeaseNamesItsAddresses(t *testing.T) {
	l := newLab(t, 1)
	read := func() []netip.AddrPort {
		var got coordinationv1.Lease
		if ok, err := l.store.Get(leasePath, &got); err != nil || !ok {
			t.Fatalf("no Lease: %v", err)
		}
		return Addresses(&got)
	}
	l.holding()
	if got := read(); len(got) > 0 {
		t.Errorf("a Lease of an earlier version names %v", got)
	}
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.10:6443"), netip.MustParseAddrPort("[2001:db8::10]:6443"),
	}
	l.driver.cfg.Addresses = want
	l.renew()
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("after a renewal it names %v", got)
	}
	l.store.Delete(leasePath)
	l.create()
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("created again it names %v", got)
	}
}
