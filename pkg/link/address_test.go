package link

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/sys/unix"
)

// wireV4 is RTM_NEWADDR's body for 10.9.0.100/32 on link 7: proto 107, scope host,
// noprefixroute and deprecated, 4 s valid, label eth0.
var wireV4 = []byte{
	2, 32, 0x20, 254, 7, 0, 0, 0,
	8, 0, 1, 0, 10, 9, 0, 100, // IFA_ADDRESS
	8, 0, 2, 0, 10, 9, 0, 100, // IFA_LOCAL
	9, 0, 3, 0, 'e', 't', 'h', '0', 0, 0, 0, 0, // IFA_LABEL, padded
	5, 0, 11, 0, 107, 0, 0, 0, // IFA_PROTO, padded
	8, 0, 8, 0, 0x20, 2, 0, 0, // IFA_FLAGS
	20, 0, 6, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, // IFA_CACHEINFO
}

// E10: the mark is read as a raw attribute.
func TestParseAddress(t *testing.T) {
	want := HostAddr{
		Prefix: netip.MustParsePrefix("10.9.0.100/32"), Index: 7, Proto: 107, ValidLft: 4, Label: "eth0",
		Scope: unix.RT_SCOPE_HOST, Flags: unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_DEPRECATED,
	}
	if got, ok := parseAddress(wireV4); !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
	peer := []byte{2, 32, 0x80, 0, 7, 0, 0, 0, 8, 0, 1, 0, 10, 9, 0, 1, 8, 0, 2, 0, 10, 9, 0, 2}
	if got, ok := parseAddress(peer); !ok || got.Prefix.Addr() != netip.MustParseAddr("10.9.0.2") ||
		got.ValidLft != Forever {
		t.Errorf("point-to-point: got %+v, %v; want the local end, for ever", got, ok)
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for desc, b := range map[string][]byte{
		"empty":          nil,
		"header only":    wireV4[:8],
		"family MPLS":    append([]byte{28}, wireV4[1:]...),
		"v4 marked v6":   append([]byte{10}, wireV4[1:]...),
		"prefix too big": append([]byte{2, 33}, wireV4[2:]...),
		"3-byte address": {2, 32, 0, 0, 7, 0, 0, 0, 7, 0, 1, 0, 10, 9, 0, 0},
	} {
		if got, ok := parseAddress(b); ok {
			t.Errorf("%s: accepted as %+v", desc, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(wireV4)
	f.Add(wireV4[:len(wireV4)-3])
	f.Add([]byte{2, 32, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0}) // attribute of length 0 must not loop
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := parseAddress(b); ok &&
			(!a.Prefix.IsValid() || a.Prefix.Addr().Is4In6() && a.Prefix.Bits() > 128) {
			t.Errorf("invalid prefix %v accepted", a.Prefix)
		}
		parseLink(b)
		parseEvents(b)
	})
}

func TestAddresses(t *testing.T) {
	lab(t)
	testutil.IP(t, "addr add 10.9.0.100/32 dev eth0 valid_lft 60 preferred_lft 0 label eth0:vip")
	list, err := Addresses()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]HostAddr{}
	for _, a := range list {
		found[a.Prefix.String()] = a
	}
	if a := found["10.9.0.100/32"]; a.Link != "eth0" || a.Label != "eth0:vip" || a.ValidLft < 55 ||
		a.ValidLft > 60 || a.PreferredLft != 0 {
		t.Errorf("the address with a lifetime is %+v", a)
	}
	if a := found["10.0.0.2/8"]; a.Link != "eth1" || a.ValidLft != Forever ||
		a.Flags&unix.IFA_F_PERMANENT == 0 {
		t.Errorf("the permanent address is %+v", a)
	}
	if a := found["2001:db8:9::2/64"]; a.Link != "eth0" || a.Index == 0 {
		t.Errorf("the IPv6 address is %+v", a)
	}
	// E10: this kernel marks its own IPv6 addresses, which shows that it keeps IFA_PROTO.
	if a := found["::1/128"]; a.Link != "lo" || a.Proto != 1 {
		t.Errorf("the loopback address is %+v; want IFAPROT_KERNEL_LO", a)
	}
	for text, a := range found {
		if strings.HasPrefix(text, "fe80::") && a.Proto != 3 {
			t.Errorf("the link-local address is %+v; want IFAPROT_KERNEL_LL", a)
		}
	}
}
