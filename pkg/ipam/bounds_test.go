package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// S4: an address has at most so many holders and ports, and only who exceeds that is refused.
func TestBoundsOfAnAddress(t *testing.T) {
	w := newWorld()
	a, b := netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("192.0.2.1")
	tell(t, w, "pool p 192.0.2.0/30")
	for i := range MaxHolders + 1 {
		owner := Owner(fmt.Sprintf("a/%03d", i))
		w.requests[owner] = Request{Owner: owner, Namespace: "a", Families: []Family{IPv4}, ShareKey: "k", Ports: []Port{{"TCP", uint16(i + 1)}}}
	}
	got := w.plan()
	if len(got.Ledger[a]) != MaxHolders || len(got.Ledger[b]) != 1 {
		t.Errorf("%d and %d holders", len(got.Ledger[a]), len(got.Ledger[b]))
	}
	last := w.requests["a/256"]
	last.Addresses = []netip.Addr{a}
	w.requests["a/256"] = last
	got = w.plan()
	if no := got.Refused["a/256"]; no.Reason != LimitExceeded || !strings.Contains(no.Message, "at most 256 Services with 1000 ports") || len(got.Refused) != 1 {
		t.Errorf("refused %v", got.Refused)
	}
}

func TestBoundsOfPorts(t *testing.T) {
	ports := func(from, n int) (list []Port) {
		for i := range n {
			list = append(list, Port{"TCP", uint16(from + i)})
		}
		return list
	}
	w := newWorld()
	tell(t, w, `
		pool p 192.0.2.0/28
		vip 192.0.2.9 6443`)
	put := func(owner Owner, ports []Port, asked string) {
		r := Request{Owner: owner, Namespace: "a", Families: []Family{IPv4}, ShareKey: string(owner[:1]), Ports: ports}
		if asked != "" {
			r.Addresses = []netip.Addr{netip.MustParseAddr(asked)}
		}
		w.requests[owner] = r
	}
	put("a/alone", ports(1, 20_000), "")
	put("b/1", ports(1, MaxPorts-1), "192.0.2.1")
	put("b/2", ports(30_000, 2), "192.0.2.1")
	put("b/3", ports(40_000, 1), "192.0.2.1")
	put("c/1", ports(20_001, MaxPorts), "192.0.2.9")
	put("c/2", ports(20_001, MaxPorts-1), "192.0.2.9")
	tell(t, w, `
		want a/alone 192.0.2.0
		want b/1 192.0.2.1
		want b/2 LimitExceeded
		want b/3 192.0.2.1
		want c/1 LimitExceeded
		want c/2 192.0.2.9`)
	put("b/3", ports(40_000, 2), "192.0.2.1") // it changed: it has to leave
	tell(t, w, `
		want b/1 192.0.2.1
		want b/3 LimitExceeded`)
}
