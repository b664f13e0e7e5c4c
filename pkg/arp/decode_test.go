package arp

import (
	"net/netip"
	"slices"
	"testing"
)

// patch returns a copy of a frame with bytes replaced from an offset on.
func patch(frame []byte, offset int, b ...byte) []byte {
	c := slices.Clone(frame)
	copy(c[offset:], b)
	return c
}

var decodeCases = map[string]struct {
	frame []byte
	addr  netip.Addr // invalid: no claim
	mac   hardware
}{
	"gratuitous request":     {wireRequest, vip4, hardware(mac1)},
	"gratuitous reply":       {wireReply, vip4, hardware(mac1)},
	"without padding":        {wireRequest[:42], vip4, hardware(mac1)},
	"sender behind a bridge": {patch(wireReply, 6, mac2...), vip4, hardware(mac1)},
	"probe claims nothing":   {wireARPProbe, netip.Addr{}, hardware{}},
	"truncated ARP":          {wireRequest[:41], netip.Addr{}, hardware{}},
	"not Ethernet hardware":  {patch(wireRequest, 14, 0, 6), netip.Addr{}, hardware{}},
	"not IPv4 inside":        {patch(wireRequest, 16, 0x86, 0xdd), netip.Addr{}, hardware{}},
	"long hardware address":  {patch(wireRequest, 18, 8), netip.Addr{}, hardware{}},
	"empty":                  {nil, netip.Addr{}, hardware{}},
	"half an Ethernet header": {
		wireRequest[:13], netip.Addr{}, hardware{}},
	"another EtherType":          {patch(wireRequest, 12, 0x08, 0x00), netip.Addr{}, hardware{}},
	"advertisement":              {wireNA, vip6, hardware(mac1)},
	"advertisement, option wins": {patch(wireNA, 6, mac2...), vip6, hardware(mac1)},
	"advertisement, no option": {
		patch(wireNA[:78], 18, 0, 24), vip6, hardware(mac1)},
	"routed advertisement":      {patch(wireNA, 21, 254), netip.Addr{}, hardware{}},
	"solicitation":              {wireDAD, netip.Addr{}, hardware{}},
	"truncated advertisement":   {wireNA[:85], netip.Addr{}, hardware{}},
	"length beyond the frame":   {patch(wireNA, 18, 0xff, 0xff), netip.Addr{}, hardware{}},
	"option of length zero":     {patch(wireNA, 79, 0), netip.Addr{}, hardware{}},
	"IPv4 header with its type": {patch(wireNA, 14, 0x45), netip.Addr{}, hardware{}},
	"UDP":                       {patch(wireNA, 20, 17), netip.Addr{}, hardware{}},
}

func TestDecode(t *testing.T) {
	for name, c := range decodeCases {
		got, ok := decode(c.frame)
		if ok != c.addr.IsValid() || got.addr != c.addr && ok || got.mac != c.mac && ok {
			t.Errorf("%s: %+v %v, want %v at %x", name, got, ok, c.addr, c.mac)
		}
	}
}

// FuzzDecode: decode neither panics nor invents a claim, and what is announced is decoded as
// announced.
func FuzzDecode(f *testing.F) {
	for _, c := range decodeCases {
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := decode(b)
		if !ok {
			return
		}
		if !c.addr.IsValid() || c.addr.Zone() != "" || c.source != hardware(b[6:12]) {
			t.Fatalf("%x decoded as %+v", b, c)
		}
		if c.addr.Is4In6() {
			return // an NA may contain one; no VIP is one
		}
		frames, err := announcement(c.addr, c.mac[:], linkAddr)
		if err != nil {
			return // an unspecified or multicast target, which no VIP is
		}
		for _, again := range frames {
			if back, ok := decode(again.bytes); !ok || back.addr != c.addr || back.mac != c.mac {
				t.Fatalf("announced %+v, decoded %+v %v", c, back, ok)
			}
		}
	})
}
