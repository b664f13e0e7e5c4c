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

// FuzzDecode: whatever arrives, decode neither panics nor invents a claim, and what we
// announce is decoded as announced.
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
			return // an NA may say so; no VIP does
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

// TestFilterPassesWhatConcernsAVIP runs the socket filters in x/net's virtual machine.
func TestFilterPassesWhatConcernsAVIP(t *testing.T) {
	other4, other6 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	many := []netip.Addr{other4, other6}
	for i := byte(20); i < 140; i++ {
		many = append(many, netip.AddrFrom4([4]byte{192, 0, 2, i}), netip.AddrFrom16([16]byte{0x20, 1, 15: i}))
	}
	for name, c := range map[string]struct {
		etherType uint16
		vips      []netip.Addr
		frame     []byte
		pass      bool
	}{
		"request":                   {etherARP, []netip.Addr{vip4}, wireRequest, true},
		"reply":                     {etherARP, []netip.Addr{vip6, vip4}, wireReply, true},
		"probe":                     {etherARP, []netip.Addr{vip4}, wireARPProbe, false},
		"of another address":        {etherARP, []netip.Addr{other4}, wireRequest, false},
		"last of many":              {etherARP, append(slices.Clone(many), vip4), wireRequest, true},
		"none of many":              {etherARP, many, wireRequest, false},
		"truncated":                 {etherARP, []netip.Addr{vip4}, wireRequest[:30], false},
		"advertisement":             {etherIPv6, []netip.Addr{vip4, vip6}, wireNA, true},
		"of another IPv6 address":   {etherIPv6, []netip.Addr{other6}, wireNA, false},
		"last of many IPv6":         {etherIPv6, append(slices.Clone(many), vip6), wireNA, true},
		"none of many IPv6":         {etherIPv6, many, wireNA, false},
		"solicitation":              {etherIPv6, []netip.Addr{vip6}, wireDAD, false},
		"UDP with the same bytes":   {etherIPv6, []netip.Addr{vip6}, patch(wireNA, 20, 17), false},
		"differing in the top word": {etherIPv6, []netip.Addr{vip6}, patch(wireNA, 62, 0x30), false},
	} {
		raw, err := filter(c.etherType, c.vips)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vm, err := virtual(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.pass {
			t.Errorf("%s: %d bytes pass, %v, want pass %v", name, n, err, c.pass)
		}
	}
}

func TestFilterOfMostVIPsFitsTheKernel(t *testing.T) {
	var vips []netip.Addr
	for i := range MaxVIPs {
		vips = append(vips, netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}))
	}
	if raw, err := filter(etherIPv6, vips); err != nil || len(raw) > 4096 {
		t.Errorf("%d instructions, %v", len(raw), err)
	}
}
