package controlplane

import (
	"net/netip"
	"testing"

	"github.com/kvip/kvip/pkg/link"
)

func TestCheckOneLink(t *testing.T) {
	at := func(index int, prefix string) link.HostAddr {
		return link.HostAddr{
			Index: index, Link: string(rune('a' + index)), Prefix: netip.MustParsePrefix(prefix),
		}
	}
	isolated := at(3, "10.0.0.9/8")
	isolated.Isolated = true
	vips := []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00::100")}
	for _, one := range []struct {
		host []link.HostAddr
		one  int
		ok   bool
	}{
		{nil, 1, true},
		{[]link.HostAddr{at(2, "10.0.0.1/24")}, 2, true},
		{[]link.HostAddr{at(2, "10.0.0.1/24")}, 1, false},
		{[]link.HostAddr{at(1, "10.0.0.1/24"), at(1, "10.0.0.2/24"), at(1, "fd00::1/64")}, 1, true},
		{[]link.HostAddr{at(1, "10.0.0.1/24"), at(2, "10.0.1.1/24"), at(2, "fd00::1/64")}, 1, false},
		{[]link.HostAddr{at(1, "10.0.0.1/24"), at(2, "10.0.0.100/32")}, 1, true}, // the VIP itself
		{[]link.HostAddr{at(1, "10.0.0.1/24"), at(2, "10.0.0.2/16")}, 1, false},
		{[]link.HostAddr{at(1, "10.0.0.1/24"), at(1, "fd00::1/64"), at(2, "fd00::2/64")}, 1, false},
		{[]link.HostAddr{at(1, "10.0.0.1/24"), isolated}, 1, true},
	} {
		if err := checkOneLink(one.host, one.one, vips); (err == nil) != one.ok {
			t.Errorf("%v: %v", one.host, err)
		}
	}
}
