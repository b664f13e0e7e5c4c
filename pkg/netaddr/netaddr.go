// Package netaddr decides which IP addresses can be virtual IPs or addresses of Services. It looks
// at the address alone: whether a host has the address already, or may put it on a link, is not
// its job.
package netaddr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
)

// reserved are blocks of addresses that no host has (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// Join returns the texts of addresses, separated by sep.
func Join(list []netip.Addr, sep string) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, sep)
}

// Problem returns why a cannot be a virtual IP, as a phrase that follows "is", or "".
// A usable address is a unicast address in its shortest form, without a zone, that one host on a
// network can have and that clients outside of the link can reach.
func Problem(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "not an IP address"
	case a.Is4In6():
		return "an IPv4 address in IPv6 form"
	case a.Zone() != "":
		return "bound to a zone"
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address, which routers do not forward (RFC 3927 2.7, RFC 4291 2.5.6)"
	case slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) }):
		return "a reserved address (RFC 6890)"
	}
	return ""
}

// Check returns an error that names a and its Problem, or nil.
func Check(a netip.Addr) error {
	if problem := Problem(a); problem != "" {
		return fmt.Errorf("%s is %s", a, problem)
	}
	return nil
}

// SubnetAddresses returns the addresses of an on-link prefix that hosts cannot use, each with its
// name: network and broadcast address of IPv4, subnet-router anycast address of IPv6 (RFC 4291
// 2.6.1). Prefixes of one or two addresses have none (RFC 3021, RFC 6164).
func SubnetAddresses(p netip.Prefix) map[netip.Addr]string {
	p = p.Masked()
	switch {
	case !p.IsValid() || p.Addr().BitLen()-p.Bits() < 2:
		return nil
	case p.Addr().Is4():
		return map[netip.Addr]string{
			p.Addr():               "network address",
			netipx.PrefixLastIP(p): "broadcast address",
		}
	}
	return map[netip.Addr]string{p.Addr(): "subnet-router anycast address"}
}

// Canonical reports whether a is a valid address in its shortest form, without a zone: IPv4 is not
// written as IPv6. Only such addresses are equal if they are the same.
func Canonical(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }
