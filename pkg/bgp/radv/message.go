package radv

import (
	"net"
	"net/netip"
)

// Types of messages and of options (RFC 4861 sections 4.1, 4.2 and 4.6.1).
const (
	typeSolicitation    = 133
	typeAdvertisement   = 134
	optionSourceAddress = 1
)

// Groups of all nodes and of all routers on a link (RFC 4291 section 2.7.1).
var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// advertisement returns a router advertisement that leaves everything unspecified: the hop limit,
// times and prefixes. The router lifetime is 0. The kernel adds the checksum.
func advertisement(mac net.HardwareAddr) []byte {
	m := make([]byte, 16)
	m[0] = typeAdvertisement
	return appendSource(m, mac)
}

// solicitation returns a router solicitation.
func solicitation(mac net.HardwareAddr) []byte {
	m := make([]byte, 8)
	m[0] = typeSolicitation
	return appendSource(m, mac)
}

// appendSource appends the option of the sender's link-layer address, of a link with Ethernet
// addresses.
func appendSource(m []byte, mac net.HardwareAddr) []byte {
	const ethernet, unit = 6, 1 // the length of an address, and of the option in units of 8 octets
	if len(mac) != ethernet {
		return m
	}
	return append(append(m, optionSourceAddress, unit), mac...)
}
