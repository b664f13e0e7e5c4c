package kubelease

import (
	"net/netip"
	"slices"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/election"
)

// S4: the Services part finds the virtual IPs at the control plane's Lease, whatever its name is: from when it
// is made, and after an upgrade from the next write on.
func TestTheLeaseNamesItsAddresses(t *testing.T) {
	l := newLab(t, 1)
	read := func() []netip.AddrPort {
		var got coordinationv1.Lease
		if ok, err := l.store.Get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kvip", &got); err != nil || !ok {
			t.Fatalf("no Lease: %v", err)
		}
		return Addresses(&got)
	}
	l.holding()
	if got := read(); len(got) > 0 {
		t.Errorf("a Lease of an earlier version names %v", got)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.10:6443"), netip.MustParseAddrPort("[2001:db8::10]:6443")}
	l.driver.cfg.Addresses = want
	l.renew()
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("after a renewal it names %v", got)
	}
	l.store.Delete("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kvip")
	if got := l.write(election.Action{Kind: election.Create, Record: tenure()}); got != election.OutcomeOK {
		t.Fatalf("create: outcome %d", got)
	}
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("made anew it names %v", got)
	}
}
