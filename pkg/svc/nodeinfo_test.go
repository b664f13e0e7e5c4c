package svc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/placement"
)

// excessive returns a NodeInfo beyond each limit.
func excessive() NodeInfo {
	info := NodeInfo{Node: "n1", StatusPort: 70000, FailedAddresses: map[netip.Addr]string{}}
	for i := range 500 {
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		info.Links = append(info.Links, LinkInfo{Name: fmt.Sprintf("eth%d", i), MAC: "no address"})
		info.Links[0].Names = append(info.Links[0].Names, fmt.Sprintf("lan%d", i))
		info.Links[0].Subnets = append(info.Links[0].Subnets, netip.PrefixFrom(addr, 24))
		info.ControlPlane, info.Addresses = append(info.ControlPlane, addr), append(info.Addresses, addr)
	}
	info.Links[1].Name = strings.Repeat("x", 300)
	info.Links[2].Subnets = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), {}}
	for _, text := range []string{"127.0.0.1", "fe80::1%eth0", "::", "224.0.0.1", "::ffff:10.0.0.1"} {
		info.Addresses = append(info.Addresses, netip.MustParseAddr(text))
	}
	info.Addresses = append(info.Addresses, netip.Addr{})
	info.Unavailable = strings.Repeat("é\x1b[2J", 200)
	for _, addr := range info.Addresses[:400] {
		info.FailedAddresses[addr] = "broken\nby the test"
	}
	return info
}

// S2: NodeInfo from another node's Lease is limited, because any node may write any Lease.
func TestNodeInfoIsLimited(t *testing.T) {
	text, err := json.Marshal(excessive())
	if err != nil {
		t.Fatal(err)
	}
	got := readNodeInfo(string(text))
	link := got.Links[0]
	for name, c := range map[string]struct{ got, want int }{
		"links":            {len(got.Links), maxLinks - 1}, // without the one with a long name
		"names":            {len(link.Names), maxNames},
		"subnets":          {len(link.Subnets), maxSubnets},
		"MAC":              {len(link.MAC), 0},
		"invalid subnets":  {len(got.Links[1].Subnets), 0},
		"VIPs":             {len(got.ControlPlane), maxNodeVIPs},
		"addresses":        {len(got.Addresses), maxNodeAddrs},
		"failed addresses": {len(got.FailedAddresses), maxFailed},
		"port":             {got.StatusPort, 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	safe := !strings.ContainsAny(got.Unavailable, "\x1b\n") && strings.HasPrefix(got.Unavailable,
		"é [2J")
	if len(got.Unavailable) > maxExplanation+3 || !safe {
		t.Errorf("unavailable because %q", got.Unavailable)
	}
	if one := got.FailedAddresses[got.Addresses[0]]; one != "broken by the test" {
		t.Errorf("failed because %q", one)
	}
	if again := got.Bounded(); !reflect.DeepEqual(again, got) {
		t.Errorf("the limits are not idempotent: %+v", again)
	}
}

// Limits do not change the caller's value.
func TestBoundedCopies(t *testing.T) {
	info := excessive()
	info.Bounded()
	if want := excessive(); !reflect.DeepEqual(info, want) {
		t.Error("Bounded changed its receiver")
	}
}

func TestReadInvalidNodeInfo(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "not JSON": "{", "another type": `{"node":7}`,
		"too long":        `{"node":"n1","unavailable":"` + strings.Repeat("x", maxNodeInfo) + `"}`,
		"too long a name": `{"node":"` + strings.Repeat("x", 300) + `"}`,
	} {
		if got := readNodeInfo(text); !reflect.DeepEqual(got, NodeInfo{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The text on the wire, which speakers of other versions read.
func TestNodeInfoText(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	info := NodeInfo{
		Node: "n1", Selected: true, StatusPort: 9, Unavailable: "no link",
		Links: []LinkInfo{{
			Name: "eth0", Names: []string{"lan"}, MAC: "02:00:00:00:00:01", Selected: true,
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		}},
		ControlPlane: []netip.Addr{addr}, Addresses: []netip.Addr{addr},
		FailedAddresses: map[netip.Addr]string{addr: "in use"},
	}
	text, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"node":"n1","links":[{"name":"eth0","names":["lan"],"mac":"02:00:00:00:00:01",` +
		`"subnets":["10.0.0.0/24"],"selected":true}],"selected":true,"controlPlane":["10.0.0.1"],` +
		`"addresses":["10.0.0.1"],"unavailable":"no link","failedAddresses":{"10.0.0.1":"in use"},` +
		`"statusPort":9}`
	if string(text) != want {
		t.Errorf("text %s", text)
	}
	if got := readNodeInfo(string(text)); !reflect.DeepEqual(got, info) {
		t.Errorf("read %+v, want %+v", got, info)
	}
}

func TestPlacementLinks(t *testing.T) {
	subnets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	info := NodeInfo{Links: []LinkInfo{
		{Name: "eth0", Names: []string{"lan"}, MAC: "02:00:00:00:00:01", Subnets: subnets,
			Selected: true}, {Name: "eth1"},
	}}
	want := []placement.Link{
		{Name: "eth0", Names: []string{"lan"}, Subnets: subnets, Selected: true}, {Name: "eth1"},
	}
	if got := info.PlacementLinks(); !reflect.DeepEqual(got, want) {
		t.Errorf("links %+v, want %+v", got, want)
	}
}

func FuzzReadNodeInfo(f *testing.F) {
	f.Add(`{"node":"n1","links":[{"name":"eth0","mac":"02:00:00:00:00:01","subnets":["::/64"]}]}`)
	f.Add(`{"failedAddresses":{"10.0.0.1":"x","":"y"},"statusPort":-1}`)
	f.Add(`{"links":[{"name":""}],"addresses":["fe80::1%eth0","::"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got := readNodeInfo(text)
		if again := got.Bounded(); !reflect.DeepEqual(again, got) {
			t.Errorf("%q: %+v, then %+v", text, got, again)
		}
		back, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(back) > maxNodeInfo {
			return // characters that JSON escapes
		}
		if again := readNodeInfo(string(back)); again.Node != got.Node ||
			len(again.Links) != len(got.Links) {
			t.Errorf("%q: written %s, read %+v", text, back, again)
		}
	})
}
