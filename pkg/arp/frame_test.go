package arp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var (
	vip4     = netip.MustParseAddr("192.0.2.10")
	vip6     = netip.MustParseAddr("2001:db8::10")
	mac1     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	mac2     = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	linkAddr = netip.MustParseAddr("fe80::1")
)

// Frames as they are on the wire, spelt out field by field.
var (
	wireRequest = unhex("ffffffffffff 020000000001 0806" + // broadcast, from mac1, ARP
		"0001 0800 06 04 0001" + // Ethernet, IPv4, lengths, request
		"020000000001 c000020a" + // sender: mac1, the VIP
		"000000000000 c000020a" + // target: none, the VIP
		"000000000000000000000000000000000000") // padding to 60 bytes
	wireReply = unhex("ffffffffffff 020000000001 0806" +
		"0001 0800 06 04 0002" +
		"020000000001 c000020a" +
		"020000000001 c000020a" +
		"000000000000000000000000000000000000")
	wireARPProbe = unhex("ffffffffffff 020000000001 0806" +
		"0001 0800 06 04 0001" +
		"020000000001 00000000" + // sender address 0.0.0.0: claims nothing
		"000000000000 c000020a" +
		"000000000000000000000000000000000000")
	wireNA = unhex("333300000001 020000000001 86dd" + // all nodes
		"60000000 0020 3a ff" + // IPv6, 32 bytes, ICMPv6, hop limit 255
		"fe800000000000000000000000000001 ff020000000000000000000000000001" +
		"88 00 2854 20000000" + // NA, checksum, override alone
		"20010db8000000000000000000000010" +
		"02 01 020000000001") // target link-layer address
	wireDAD = unhex("3333ff000010 020000000001 86dd" + // solicited-node group of the VIP
		"60000000 0018 3a ff" +
		"00000000000000000000000000000000 ff0200000000000000000001ff000010" +
		"87 00 4ccf 00000000" + // NS, checksum
		"20010db8000000000000000000000010") // no option: the source is unspecified
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestAnnouncementOnTheWire(t *testing.T) {
	for _, c := range []struct {
		vip   netip.Addr
		kinds []string
		want  [][]byte
	}{
		{vip4, []string{KindRequest, KindReply}, [][]byte{wireRequest, wireReply}},
		{vip6, []string{KindNA}, [][]byte{wireNA}},
	} {
		frames, err := announcement(c.vip, mac1, linkAddr)
		if err != nil || len(frames) != len(c.want) {
			t.Fatalf("%v: %d frames, %v", c.vip, len(frames), err)
		}
		for i, f := range frames {
			if f.kind != c.kinds[i] || string(f.bytes) != string(c.want[i]) || f.vip != c.vip {
				t.Errorf("%v: %s\n got %x\nwant %x", c.vip, f.kind, f.bytes, c.want[i])
			}
			if string(f.to) != string(f.bytes[:6]) {
				t.Errorf("%s is addressed to %v, its header says %x", f.kind, f.to, f.bytes[:6])
			}
		}
	}
}

func TestAdvertisementWithoutLinkLocalAddress(t *testing.T) {
	frames, err := announcement(vip6, mac1, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	b := frames[0].bytes
	if got, _ := netip.AddrFromSlice(b[22:38]); got != vip6 {
		t.Errorf("source %v, want the VIP itself", got)
	}
	if sum := checksum(b[ethernetLen:]); sum != 0xffff {
		t.Errorf("checksum adds up to %#x", sum)
	}
}

// checksum adds up an IPv6 packet's ICMPv6 message and pseudo header (RFC 8200 8.1);
// 0xffff means that the checksum inside is right.
func checksum(p []byte) uint32 {
	length := int(p[4])<<8 | int(p[5])
	b := append(append([]byte{}, p[8:40]...), 0, 0, p[4], p[5], 0, 0, 0, protoICMPv6)
	b = append(b, p[40:40+length]...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

func TestProbeOnTheWire(t *testing.T) {
	for vip, want := range map[netip.Addr][]byte{vip4: wireARPProbe, vip6: wireDAD} {
		f, err := probe(vip, mac1)
		if err != nil || string(f.bytes) != string(want) || string(f.to) != string(want[:6]) {
			t.Errorf("%v: %v\n got %x\nwant %x", vip, err, f.bytes, want)
		}
	}
}

func TestFramesRefuseBadMACs(t *testing.T) {
	for _, vip := range []netip.Addr{vip4, vip6} {
		if _, err := announcement(vip, net.HardwareAddr{1, 2}, linkAddr); err == nil {
			t.Errorf("%v announced at a MAC of 2 bytes", vip)
		}
	}
}
