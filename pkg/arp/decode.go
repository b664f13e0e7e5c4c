package arp

import (
	"encoding/binary"
	"net/netip"

	wire "github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
)

// hardware is an Ethernet address that can be a map key.
type hardware [6]byte

// claim is the content of a frame: this MAC has this address.
type claim struct {
	addr   netip.Addr
	mac    hardware
	source hardware // of the Ethernet frame, which a bridge or a proxy may set itself
}

// decode reads a received frame. It returns false for frames that claim no address or are
// malformed, which are normal on a shared network.
func decode(b []byte) (claim, bool) {
	if len(b) < ethernetLen {
		return claim{}, false
	}
	c := claim{source: hardware(b[6:12])}
	switch binary.BigEndian.Uint16(b[12:]) {
	case etherARP:
		return decodeARP(c, b[ethernetLen:])
	case etherIPv6:
		return decodeIPv6(c, b[ethernetLen:])
	default:
		return claim{}, false
	}
}

// decodeARP reads an ARP packet. It claims its sender's address, request or reply. A probe claims
// none (RFC 5227 2.4).
func decodeARP(c claim, b []byte) (claim, bool) {
	var p wire.Packet
	if err := p.UnmarshalBinary(b); err != nil {
		return claim{}, false
	}
	if p.HardwareType != 1 || p.ProtocolType != 0x0800 || len(p.SenderHardwareAddr) != 6 ||
		!p.SenderIP.Is4() || p.SenderIP.IsUnspecified() {
		return claim{}, false
	}
	c.addr, c.mac = p.SenderIP, hardware(p.SenderHardwareAddr)
	return c, true
}

// decodeIPv6 reads a neighbour advertisement. It claims its target, at the MAC in its option or
// else of the frame (RFC 4861 7.1.2, 7.2.5). The network card verifies the checksum.
func decodeIPv6(c claim, b []byte) (claim, bool) {
	if len(b) < ipv6Len || b[0]>>4 != 6 || b[6] != protoICMPv6 || b[7] != hopLimit {
		return claim{}, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < ipv6Len+length {
		return claim{}, false
	}
	message, err := ndp.ParseMessage(b[ipv6Len : ipv6Len+length])
	if err != nil {
		return claim{}, false
	}
	na, ok := message.(*ndp.NeighborAdvertisement)
	if !ok || !na.TargetAddress.Is6() {
		return claim{}, false
	}
	c.addr, c.mac = na.TargetAddress.WithZone(""), c.source
	for _, option := range na.Options {
		if lla, ok := option.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target &&
			len(lla.Addr) == 6 {
			c.mac = hardware(lla.Addr)
		}
	}
	return c, true
}
