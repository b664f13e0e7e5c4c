package arp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	wire "github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	ethernetLen = 14
	ipv6Len     = 40
	protoICMPv6 = 58
	hopLimit    = 255 // RFC 4861 7.1: neighbours drop anything less
)

var (
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noHardware  = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// frame is a whole Ethernet frame ready to be sent.
type frame struct {
	vip       netip.Addr
	kind      string
	etherType uint16
	to        net.HardwareAddr
	bytes     []byte
}

// announcement returns the frames that announce vip at mac: both forms of gratuitous ARP, or one
// unsolicited NA. source is an address of the link for the NA's IPv6 header. If it is not valid,
// the VIP itself is used.
func announcement(vip netip.Addr, mac net.HardwareAddr, source netip.Addr) ([]frame, error) {
	if vip.Is6() {
		f, err := advertisement(vip, mac, source)
		return []frame{f}, err
	}
	// RFC 5227 3: sender and target address are both the one announced.
	request, err := arpFrame(vip, KindRequest, wire.OperationRequest, mac, vip)
	if err != nil {
		return nil, err
	}
	reply, err := arpFrame(vip, KindReply, wire.OperationReply, mac, vip)
	return []frame{request, reply}, err
}

// probe returns the frame that asks whether another host uses vip, without claiming it: an ARP
// probe (RFC 5227 2.1.1) or a duplicate address detection (RFC 4862 5.4.2).
func probe(vip netip.Addr, mac net.HardwareAddr) (frame, error) {
	if vip.Is4() {
		return arpFrame(vip, KindProbe, wire.OperationRequest, mac, netip.IPv4Unspecified())
	}
	group, groupMAC := solicitedNode(vip)
	return ndpFrame{
		kind: KindProbe, vip: vip, mac: mac, to: groupMAC, source: netip.IPv6Unspecified(),
		destination: group,
		message:     &ndp.NeighborSolicitation{TargetAddress: vip},
	}.marshal()
}

// arpFrame returns an ARP packet about vip from sender at mac, to all hosts.
func arpFrame(vip netip.Addr, kind string, op wire.Operation, mac net.HardwareAddr,
	sender netip.Addr) (frame, error) {
	target := noHardware
	if op == wire.OperationReply {
		target = mac
	}
	packet, err := wire.NewPacket(op, mac, sender, target, vip)
	if err != nil {
		return frame{}, fmt.Errorf("make ARP packet for %v: %w", vip, err)
	}
	payload, err := packet.MarshalBinary()
	if err != nil {
		return frame{}, fmt.Errorf("marshal ARP packet for %v: %w", vip, err)
	}
	return seal(frame{vip: vip, kind: kind, etherType: etherARP, to: broadcast}, mac, payload)
}

// advertisement returns an unsolicited NA to all nodes with the override flag and the target
// link-layer address (RFC 4861 7.2.6).
func advertisement(vip netip.Addr, mac net.HardwareAddr, source netip.Addr) (frame, error) {
	if !source.IsValid() {
		source = vip
	}
	return ndpFrame{
		kind: KindNA, vip: vip, mac: mac, to: allNodesMAC, source: source, destination: allNodes,
		message: &ndp.NeighborAdvertisement{
			Override: true, TargetAddress: vip,
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
		},
	}.marshal()
}

// solicitedNode returns the multicast group of RFC 4291 2.7.1 and its MAC (RFC 2464 7).
func solicitedNode(vip netip.Addr) (netip.Addr, net.HardwareAddr) {
	a := vip.As16()
	group := [16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
	return netip.AddrFrom16(group), net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// ndpFrame is a neighbour discovery message about vip with its addresses.
type ndpFrame struct {
	kind                string
	vip                 netip.Addr
	mac, to             net.HardwareAddr
	source, destination netip.Addr
	message             ndp.Message
}

// marshal puts an IPv6 header (RFC 8200 3) and an Ethernet header before the message. Built by
// hand, the frame needs no address that is valid on the link.
func (f ndpFrame) marshal() (frame, error) {
	message, err := ndp.MarshalMessageChecksum(f.message, f.source, f.destination)
	if err != nil {
		return frame{}, fmt.Errorf("marshal neighbour discovery message for %v: %w", f.vip, err)
	}
	header := make([]byte, ipv6Len, ipv6Len+len(message))
	header[0] = 6 << 4
	binary.BigEndian.PutUint16(header[4:], uint16(len(message)))
	header[6], header[7] = protoICMPv6, hopLimit
	copy(header[8:], f.source.AsSlice())
	copy(header[24:], f.destination.AsSlice())
	return seal(frame{vip: f.vip, kind: f.kind, etherType: etherIPv6, to: f.to}, f.mac,
		append(header, message...))
}

// seal puts the Ethernet header before the payload and pads to the least length.
func seal(f frame, mac net.HardwareAddr, payload []byte) (frame, error) {
	bytes, err := (&ethernet.Frame{
		Destination: f.to, Source: mac, EtherType: ethernet.EtherType(f.etherType), Payload: payload,
	}).MarshalBinary()
	if err != nil {
		return frame{}, fmt.Errorf("marshal Ethernet frame for %v: %w", f.vip, err)
	}
	f.bytes = bytes
	return f, nil
}
