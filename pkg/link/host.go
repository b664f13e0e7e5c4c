package link

import (
	"fmt"
	"net"
	"net/netip"
)

// HostMACs returns the Ethernet addresses of all links of this host.
func HostMACs() ([]net.HardwareAddr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var macs []net.HardwareAddr
	for _, l := range links {
		if len(l.HardwareAddr) == 6 {
			macs = append(macs, l.HardwareAddr)
		}
	}
	return macs, nil
}

// LinkLocal returns an IPv6 link-local address of the link with that index, without its zone. The
// zero Addr means that there is none, or that it cannot be read.
func LinkLocal(index int) netip.Addr {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := l.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			return prefix.Addr().WithZone("")
		}
	}
	return netip.Addr{}
}
