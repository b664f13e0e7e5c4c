package ipam

import (
	"net/netip"
	"testing"

	"github.com/kvip/kvip/pkg/netaddr"
)

// Usage counts by family, without addresses that no Service gets. Large sizes are powers of two.
func TestUsage(t *testing.T) {
	node := netip.MustParseAddr("192.0.2.9")
	reserved := Reserved{Addresses: map[netip.Addr]Reservation{
		node: {UsedBy: "node w1"}, netip.MustParseAddr("192.0.2.10"): {Service: ControlPlane},
		netip.MustParseAddr("198.51.100.1"): {UsedBy: "node w2"},
	}}
	for a, what := range netaddr.SubnetAddresses(netip.MustParsePrefix("192.0.2.0/28")) {
		reserved.Addresses[a] = Reservation{UsedBy: what, Reason: SubnetAddress}
	}
	used := Ledger{netip.MustParseAddr("192.0.2.15"): {{Service: "a/web"}},
		netip.MustParseAddr("192.0.2.3"): {{Service: "b/web"}}}
	for ranges, want := range map[string][2]string{
		"192.0.2.0/28":                {"2/14", "0/0"}, // .15 is in use, .0 and .9 are not allocated
		"2001:db8::/64":               {"0/0", "0/2^64"},
		"::/0":                        {"0/0", "0/2^128"},
		"2001:db8::/126":              {"0/0", "0/4"},
		"10.0.0.0/8":                  {"0/2^24", "0/0"},
		"2001:db8::-2001:db8::2:ffff": {"0/0", "0/196608"},
	} {
		r, err := ParseRange(ranges)
		if err != nil {
			t.Fatal(err)
		}
		p := Pool{Name: "p", Ranges: []Range{r}}
		for _, f := range []Family{IPv4, IPv6} {
			if got := p.Usage(f, used, reserved).String(); got != want[f] {
				t.Errorf("%s has %s of %s, want %s", ranges, got, f, want[f])
			}
		}
	}
}
