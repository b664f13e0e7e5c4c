package config

import (
	"fmt"
	"net/netip"
)

// CheckVIPs refuses, with a *UsageError, addresses that can never be virtual IPs and two of one
// family. An empty list is accepted: commands that need a VIP use Validate.
func CheckVIPs(vips []netip.Addr) error {
	var first [2]netip.Addr
	for _, vip := range vips {
		if why := unfit(vip); why != "" {
			return invalid("vip", fmt.Sprintf("%s is %s", vip, why), "give a free address of the nodes' network")
		}
		family := 0
		if vip.Is6() {
			family = 1
		}
		if first[family].IsValid() {
			return invalid("vip", fmt.Sprintf("%s and %s are of one family", first[family], vip), "give one IPv4, one IPv6, or one of each")
		}
		first[family] = vip
	}
	return nil
}

// CheckInSubnet refuses, with a *UsageError, a VIP that is the network or broadcast address of a
// prefix on its link, or the subnet-router anycast address (RFC 4291 2.6.1). Prefixes that have
// neither (/31 and /32 by RFC 3021, /127 and /128 by RFC 6164) refuse nothing.
func CheckInSubnet(vip netip.Addr, on netip.Prefix) error {
	if !on.Contains(vip) || on.Addr().BitLen()-on.Bits() < 2 {
		return nil
	}
	const hint = "give a free address between the first and the last"
	if vip == on.Masked().Addr() {
		return invalid("vip", fmt.Sprintf("%s is the network address of %s", vip, on.Masked()), hint)
	}
	if vip.Is4() && vip == lastOf(on) {
		return invalid("vip", fmt.Sprintf("%s is the broadcast address of %s", vip, on.Masked()), hint)
	}
	return nil
}

func (c Config) checkVIPs() error {
	if len(c.VIPs) == 0 && c.Services {
		return nil
	}
	if len(c.VIPs) == 0 {
		return invalid("vip", "no virtual IP address given", "add one like --vip 192.0.2.10")
	}
	return CheckVIPs(c.VIPs)
}

// unfit says why no host of any network could have this address, or returns "".
func unfit(a netip.Addr) string {
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
	case a.Is4() && a.As4()[0] == 0:
		return "a network address (RFC 1122 3.2.1.3)"
	case a.Is6() && a.IsLinkLocalUnicast():
		return "a link-local address, which clients cannot reach without a zone"
	}
	return ""
}

// lastOf returns the highest address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(raw)
}
