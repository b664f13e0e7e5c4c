package ipam

import (
	"net/netip"
	"testing"
)

// sharedLedger has 192.0.2.0 with two entries, 192.0.2.1 with one, and an IPv6 address.
func sharedLedger(t *testing.T) (*world, Ledger) {
	t.Helper()
	w := newWorld()
	replay(t, w, `
		pool p 192.0.2.0/30 2001:db8::/64
		service a/1 80 v4,v6 key=k
		service a/2 81 key=k
		service a/3 82 pool=p
		want a/3 192.0.2.1`)
	return w, w.ledger
}

func TestLedgerEqual(t *testing.T) {
	_, ledger := sharedLedger(t)
	clone := ledger.Clone()
	if !clone.Equal(ledger) || !ledger.Equal(clone) {
		t.Error("a clone is not equal")
	}
	shared := netip.MustParseAddr("192.0.2.0")
	for name, change := range map[string]func(Ledger){
		"port":    func(l Ledger) { l[shared][0].Ports[0].Number++ },
		"ports":   func(l Ledger) { l[shared][0].Ports = nil },
		"key":     func(l Ledger) { l[shared][0].Key = "x" },
		"pool":    func(l Ledger) { l[shared][0].Pool = "x" },
		"terms":   func(l Ledger) { l[shared][0].Terms = "x" },
		"service": func(l Ledger) { l[shared][0].Service = "x/x" },
		"entry":   func(l Ledger) { l[shared] = l[shared][1:] },
		"deleted": func(l Ledger) { delete(l, shared) },
		"added":   func(l Ledger) { l[netip.MustParseAddr("192.0.2.9")] = nil },
	} {
		other := ledger.Clone()
		change(other)
		if other.Equal(ledger) || ledger.Equal(other) {
			t.Errorf("%s: the change is not detected", name)
		}
		if !clone.Equal(ledger) {
			t.Fatalf("%s: a change of a clone changed the ledger", name)
		}
	}
}

func TestLedgerUsed(t *testing.T) {
	w, ledger := sharedLedger(t)
	for ranges, want := range map[string]int{
		"192.0.2.0/30": 2, "192.0.2.0": 1, "192.0.2.2/31": 0, "2001:db8::/64": 1, "::/0": 1,
	} {
		if got := ledger.Used(Pool{Ranges: []Range{mustRange(t, ranges)}}); got != want {
			t.Errorf("%s: %d addresses are used, want %d", ranges, got, want)
		}
	}
	if used := ledger.Used(w.pools["p"]); used != 3 {
		t.Errorf("%d addresses of the pool are used, want 3", used)
	}
}

// S4: the ledger names the control plane at an address that it shares, and nowhere else.
func TestLedgerWithControlPlane(t *testing.T) {
	w := newWorld()
	replay(t, w, `
		pool p 192.0.2.0/30
		vip 192.0.2.1 6443
		service a/1 80 key=k ask=192.0.2.1
		service a/2 80
		want a/1 192.0.2.1
		want a/2 192.0.2.0`)
	for addr, want := range map[string]bool{"192.0.2.0": false, "192.0.2.1": true,
		"192.0.2.2": false} {
		if got := WithControlPlane(w.ledger[netip.MustParseAddr(addr)]); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	entries := w.ledger[netip.MustParseAddr("192.0.2.1")]
	want := Entry{Service: ControlPlane, Ports: []Port{{"TCP", 6443}}}
	if len(entries) != 2 || entries[0].Service != "a/1" || !entries[1].equal(want) {
		t.Errorf("entries %v", entries)
	}
}

// A Service is recorded with terms only if the address is shared.
func TestSharersAreRecordedWithTheirTerms(t *testing.T) {
	_, ledger := sharedLedger(t)
	one := ledger[netip.MustParseAddr("192.0.2.1")]
	if len(one) != 1 || !one[0].equal(Entry{Service: "a/3", Pool: "p"}) {
		t.Errorf("a single entry is recorded as %+v", one)
	}
	two := ledger[netip.MustParseAddr("192.0.2.0")]
	want := Entry{Service: "a/2", Key: "k", Ports: []Port{{"TCP", 81}}, Terms: "Cluster//"}
	if len(two) != 2 || !two[1].equal(want) {
		t.Errorf("two entries are recorded as %+v", two)
	}
}
