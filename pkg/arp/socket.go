package arp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// listen opens a packet socket (packet(7)) bound to the link and the EtherType, with
// the filter in place before it is bound.
func listen(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
	link := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC}
	conn, err := packet.Listen(link, packet.Raw, int(etherType), &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket (needs CAP_NET_RAW): %w", err)
	}
	return conn, nil
}

// to returns a packet socket's form of a MAC.
func to(mac net.HardwareAddr) net.Addr { return &packet.Addr{HardwareAddr: mac} }

// linkLocal returns the link's IPv6 link-local address, if it has one.
func linkLocal(index int) netip.Addr {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := link.Addrs()
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

// hostMACs returns the Ethernet addresses of all links of this host.
func hostMACs() ([]net.HardwareAddr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var macs []net.HardwareAddr
	for _, link := range links {
		if len(link.HardwareAddr) == 6 {
			macs = append(macs, link.HardwareAddr)
		}
	}
	return macs, nil
}
