package netaddr

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
)

func TestProblem(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.10":        "",
		"10.0.0.0":          "",
		"223.255.255.255":   "",
		"2001:db8::10":      "",
		"fd00::1":           "",
		"::ffff:192.0.2.10": "IPv6 form",
		"2001:db8::1%eth0":  "zone",
		"0.0.0.0":           "unspecified",
		"::":                "unspecified",
		"127.0.0.53":        "loopback",
		"::1":               "loopback",
		"224.0.0.1":         "multicast",
		"ff02::1":           "multicast",
		"255.255.255.255":   "the broadcast",
		"169.254.1.1":       "link-local",
		"fe80::1":           "link-local",
		"0.1.2.3":           "reserved",
		"240.0.0.1":         "reserved",
	} {
		a := netip.MustParseAddr(text)
		got := Problem(a)
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		err := Check(a)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), text+" is ") {
			t.Errorf("%s: Check returns %v", text, err)
		}
	}
	if got := Problem(netip.Addr{}); got != "not an IP address" {
		t.Errorf("the zero address: %q", got)
	}
}

func TestSubnetAddresses(t *testing.T) {
	addr := netip.MustParseAddr
	for text, want := range map[string]map[netip.Addr]string{
		"192.0.2.7/24": {
			addr("192.0.2.0"): "network address", addr("192.0.2.255"): "broadcast address",
		},
		"192.0.2.4/30": {
			addr("192.0.2.4"): "network address", addr("192.0.2.7"): "broadcast address",
		},
		"192.0.2.4/31":    nil,
		"192.0.2.4/32":    nil,
		"2001:db8::7/64":  {addr("2001:db8::"): "subnet-router anycast address"},
		"2001:db8::7/127": nil,
		"2001:db8::7/128": nil,
	} {
		if got := SubnetAddresses(netip.MustParsePrefix(text)); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if got := SubnetAddresses(netip.Prefix{}); got != nil {
		t.Errorf("the zero prefix: %v", got)
	}
}

func TestCanonical(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": true, "fe80::1": true,
		"::ffff:192.0.2.1": false, "fe80::1%eth0": false,
	} {
		if Canonical(netip.MustParseAddr(text)) != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
	if Canonical(netip.Addr{}) {
		t.Error("the zero Addr counts as canonical")
	}
}

func TestJoin(t *testing.T) {
	one, two := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00::100")
	for want, list := range map[string][]netip.Addr{
		"": nil, "10.0.0.100": {one}, "10.0.0.100 or fd00::100": {one, two},
	} {
		if got := Join(list, " or "); got != want {
			t.Errorf("%v: %q, want %q", list, got, want)
		}
	}
}
