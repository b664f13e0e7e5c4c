package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func addrs(texts ...string) []netip.Addr {
	var result []netip.Addr
	for _, text := range texts {
		result = append(result, netip.MustParseAddr(text))
	}
	return result
}

// lab makes a namespace with two veth pairs: eth0 with 10.9.0.2/24 and 2001:db8:9::2/64,
// and eth1 with 10.0.0.2/8; the other ends are peer0 and peer1.
func lab(t *testing.T) *testutil.Netns {
	t.Helper()
	ns := testutil.NewNetns(t)
	for _, args := range []string{
		"link add eth0 type veth peer name peer0", "link add eth1 type veth peer name peer1",
		"link set eth0 up", "link set peer0 up", "link set eth1 up", "link set peer1 up",
		"addr add 10.9.0.2/24 dev eth0", "addr add 2001:db8:9::2/64 dev eth0 nodad",
		"addr add 10.0.0.2/8 dev eth1",
	} {
		testutil.IP(t, args)
	}
	return ns
}

func TestSelect(t *testing.T) {
	lab(t)
	testutil.IP(t, "route add default via 10.0.0.1 dev eth1")
	testutil.IP(t, "route add default via 10.9.0.1 dev eth0 metric 50")
	testutil.IP(t, "-6 route add default via 2001:db8:9::1 dev eth0")
	testutil.IP(t, "route add 192.0.2.0/24 dev eth1 proto static")
	testutil.IP(t, "addr add 203.0.113.7/32 dev eth1") // a VIP on the wrong link
	testutil.IP(t, "addr add 198.51.100.1/24 dev lo")
	for _, test := range []struct {
		desc, name, want string
		vips             []netip.Addr
	}{
		{"the longest on-link prefix", "", "eth0", addrs("10.9.0.100")},
		{"another prefix", "", "eth1", addrs("10.10.0.100")},
		{"IPv6 prefix", "", "eth0", addrs("2001:db8:9::100")},
		{"either family's prefix", "", "eth1", addrs("2001:db8:1::1", "10.10.0.1")},
		{"an on-link route", "", "eth1", addrs("192.0.2.9")},
		{"the default route with the lowest metric", "", "eth1", addrs("172.16.0.1")},
		{"the IPv6 default route", "", "eth0", addrs("2001:db8:1::1")},
		{"not by the VIP itself", "", "eth1", addrs("203.0.113.7")},
		{"never the loopback", "", "eth1", addrs("198.51.100.9")},
		{"never by the link-local prefix", "", "eth0", addrs("fe80::1234")},
		{"by name", "peer1", "peer1", addrs("10.9.0.100")},
		{"IPv4-mapped", "", "eth0", addrs("::ffff:10.9.0.100")},
	} {
		got, err := Select(test.name, test.vips)
		if err != nil || got.Name != test.want || !got.Usable || got.Reason != "" || len(got.MAC) != 6 ||
			got.MTU != 1500 || got.Index == 0 {
			t.Errorf("%s: Select(%q, %v) = %+v, %v; want %s", test.desc, test.name, test.vips, got, err,
				test.want)
		}
	}
}

func TestSelectFindsNothing(t *testing.T) {
	testutil.NewNetns(t)
	for _, test := range []struct{ name, want string }{
		{"eth9", `find link "eth9": no such link`}, {"", "10.9.0.1 or 2001:db8::1"},
	} {
		_, err := Select(test.name, addrs("10.9.0.1", "2001:db8::1"))
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Select(%q): error %v; want ErrNotFound with %q", test.name, err, test.want)
		}
	}
}

func TestSelectPrefersAUsableLink(t *testing.T) {
	lab(t)
	testutil.IP(t, "addr add 10.9.0.3/24 dev eth1")
	testutil.IP(t, "link set eth0 down")
	if got, err := Select("", addrs("10.9.0.100")); err != nil || got.Name != "eth1" {
		t.Errorf("Select = %+v, %v; want eth1, as eth0 is down", got, err)
	}
}

func TestSelectSaysWhyALinkIsNotUsable(t *testing.T) {
	lab(t)
	testutil.IP(t, "link set eth0 down")
	testutil.IP(t, "link set peer1 down")
	for name, want := range map[string]string{
		"eth0": "administratively down", "eth1": "no carrier", "lo": "is the loopback",
	} {
		if got, err := Select(name, nil); err != nil || got.Usable || got.Reason != want {
			t.Errorf("Select(%s) = %+v, %v; want the reason %q", name, got, err, want)
		}
	}
}

// TestSelectFollowsTheMaster of a port, by the port's name and by the address that stayed on it.
func TestSelectFollowsTheMaster(t *testing.T) {
	lab(t)
	testutil.IP(t, "link add br0 type bridge")
	testutil.IP(t, "link set br0 up")
	testutil.IP(t, "link set eth0 master br0")
	for _, name := range []string{"eth0", ""} {
		if got, err := Select(name, addrs("10.9.0.100")); err != nil || got.Name != "br0" || !got.Usable {
			t.Errorf("Select(%q) = %+v, %v; want br0", name, got, err)
		}
	}
	port, err := byName("eth0")
	if err != nil || port.Usable || port.Master == 0 ||
		port.Reason != "is a port of the bridge br0: use that one" {
		t.Errorf("the port is %+v, %v", port, err)
	}
}

func TestNoARPIsNotUsable(t *testing.T) {
	lab(t)
	testutil.IP(t, "link set eth0 arp off")
	if got, err := Select("eth0", nil); err != nil || got.Usable || got.Reason != reasonNoARP {
		t.Errorf("Select = %+v, %v", got, err)
	}
}

// TestPortMACs lists the ports of one master and no other link.
func TestPortMACs(t *testing.T) {
	lab(t)
	for _, args := range []string{
		"link add br0 type bridge", "link add br1 type bridge",
		"link set eth0 address 02:00:00:00:00:10 master br0",
		"link set eth1 address 02:00:00:00:00:11 master br0", "link set peer0 master br1",
	} {
		testutil.IP(t, args)
	}
	br0, err := byName("br0")
	if err != nil {
		t.Fatal(err)
	}
	macs, err := portMACs(br0.Index)
	var got []string
	for _, mac := range macs {
		got = append(got, mac.String())
	}
	bond, errBond := describe(&netlink.Bond{LinkAttrs: netlink.LinkAttrs{Index: br0.Index,
		Name: "bond0"}})
	if errBond != nil || len(bond.PortMACs) != len(macs) || len(br0.PortMACs) != 0 {
		t.Errorf("of a bond %v, of a bridge %v; %v", bond.PortMACs, br0.PortMACs, errBond)
	}
	if slices.Sort(got); err != nil ||
		strings.Join(got, " ") != "02:00:00:00:00:10 02:00:00:00:00:11" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCandidates(t *testing.T) {
	lab(t)
	testutil.IP(t, "addr add 10.9.0.3/16 dev eth1")
	testutil.IP(t, "route add default via 10.0.0.1 dev eth1")
	testutil.IP(t, "route add 192.0.2.0/24 dev eth0")
	words := func(routes bool, vips ...string) string {
		all, err := Candidates("", addrs(vips...), routes)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, c := range all {
			list = append(list, fmt.Sprintf("%s by %s/%d", c.Name, c.Basis, c.Bits))
		}
		return strings.Join(list, ", ")
	}
	for _, row := range []struct {
		vip    string
		routes bool
		want   string
	}{
		{"10.9.0.100", true,
			"eth0 by the prefix of an own address/24, eth1 by the prefix of an own address/16"},
		{"10.10.0.1", true, "eth1 by the prefix of an own address/8"},
		{"192.0.2.9", true, "eth0 by an on-link route/24, eth1 by the default route/0"},
		{"192.0.2.9", false, ""},
		{"172.16.0.1", true, "eth1 by the default route/0"},
	} {
		if got := words(row.routes, row.vip); got != row.want {
			t.Errorf("%s, routes %v: %s; want %s", row.vip, row.routes, got, row.want)
		}
	}
}

func TestUnusable(t *testing.T) {
	const up = unix.IFF_UP | unix.IFF_RUNNING
	for _, test := range []struct {
		flags              uint32
		mac                int
		master, kind, want string
	}{
		{up, 6, "", "", ""},
		{up, 6, "blue", "vrf", ""},
		{up, 6, "bond0", "bond", "is a port of the bond bond0: use that one"},
		{unix.IFF_RUNNING, 6, "", "", reasonDown},
		{unix.IFF_UP, 6, "", "", reasonNoCarrier},
		{up, 0, "", "", reasonNoMAC},
		{up | unix.IFF_LOOPBACK, 6, "", "", reasonLoopback},
		{up | unix.IFF_NOARP, 6, "", "", reasonNoARP},
		{up, 6, "ovs-system", "openvswitch", "is a port of the openvswitch ovs-system: use that one"},
	} {
		if got := unusable(test.flags, test.mac, test.master, test.kind); got != test.want {
			t.Errorf("unusable(%#x, %d, %q, %q) = %q; want %q", test.flags, test.mac, test.master, test.kind,
				got, test.want)
		}
	}
}

func TestNodeAddress(t *testing.T) {
	lab(t)
	eth0, err := Select("eth0", nil)
	if err != nil {
		t.Fatal(err)
	}
	testutil.IP(t, "addr add 10.9.0.5/24 dev eth0")
	testutil.IP(t, "addr add 10.9.0.6/32 dev eth0 scope host")
	addresses, err := Addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want    string
		family4 bool
		not     []netip.Addr
	}{
		{"10.9.0.2", true, nil}, {"10.9.0.5", true, addrs("10.9.0.2")}, {"2001:db8:9::2", false, nil},
		{"", true, addrs("10.9.0.2", "10.9.0.5")}, {"", false, addrs("2001:db8:9::2")},
	} {
		got, ok := NodeAddress(addresses, eth0.Index, test.family4, test.not)
		if ok != (test.want != "") || ok && got != netip.MustParseAddr(test.want) {
			t.Errorf("NodeAddress(%v, not %v) = %v, %v; want %q", test.family4, test.not, got, ok, test.want)
		}
	}
}

func TestNodeAddressPrefersPermanentOverLeased(t *testing.T) {
	leased := HostAddr{Prefix: netip.MustParsePrefix("10.9.0.7/24"), Index: 2}
	old := HostAddr{Prefix: netip.MustParsePrefix("10.9.0.8/24"), Index: 2,
		Flags: unix.IFA_F_DEPRECATED}
	permanent := HostAddr{Prefix: netip.MustParsePrefix("10.9.0.9/24"), Index: 2,
		Flags: unix.IFA_F_PERMANENT | unix.IFA_F_SECONDARY}
	if got, ok := NodeAddress([]HostAddr{old, leased, permanent}, 2, true, nil); !ok ||
		got != permanent.Prefix.Addr() {
		t.Errorf("got %v, %v; want the permanent address", got, ok)
	}
	if got, ok := NodeAddress([]HostAddr{old, leased}, 2, true, nil); !ok ||
		got != leased.Prefix.Addr() {
		t.Errorf("got %v, %v; want the leased address of a DHCP node", got, ok)
	}
	if got, ok := NodeAddress([]HostAddr{permanent}, 3, true, nil); ok {
		t.Errorf("got %v of another link", got)
	}
}
