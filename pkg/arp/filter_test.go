package arp

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// TestSocketFilter runs the socket filters in x/net's virtual machine.
func TestSocketFilter(t *testing.T) {
	other4, other6 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	many := []netip.Addr{other4, other6}
	for i := byte(20); i < 140; i++ {
		many = append(many, netip.AddrFrom4([4]byte{192, 0, 2, i}),
			netip.AddrFrom16([16]byte{0x20, 1, 15: i}))
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
		vm, err := machine(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.pass {
			t.Errorf("%s: %d bytes pass, %v, want pass %v", name, n, err, c.pass)
		}
	}
}

// TestSocketFilterLength: the programs of 256 addresses name each of them, more have a range
// filter, and no filter has more instructions than maxExact.
func TestSocketFilterLength(t *testing.T) {
	subnets := func(n int) (list []netip.Addr) {
		for i := range 256 {
			list = append(list, netip.AddrFrom16([16]byte{0x20, 1, 11: byte(i * n / 256), 15: byte(i)}))
		}
		return list
	}
	ipv4 := func(n int) (list []netip.Addr) {
		for i := range n {
			list = append(list, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		return list
	}
	for name, c := range map[string]struct {
		etherType uint16
		addrs     []netip.Addr
		exact     bool
	}{
		"256 of IPv4":                {etherARP, ipv4(256), true},
		"2560 of IPv4":               {etherARP, ipv4(2560), false},
		"256 of IPv6 in one subnet":  {etherIPv6, subnets(1), true},
		"256 of IPv6 in 6 subnets":   {etherIPv6, subnets(6), true},
		"256 of IPv6 in 256 subnets": {etherIPv6, subnets(256), false},
	} {
		raw, err := filter(c.etherType, c.addrs)
		if err != nil || len(raw) > maxExact || (len(raw) > len(c.addrs)) != c.exact {
			t.Errorf("%s: %d instructions, %v, want exact %v", name, len(raw), err, c.exact)
		}
	}
}

// TestExactFilter compares the filter of random addresses of IPv6 with a set.
func TestExactFilter(t *testing.T) {
	addr := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 5: byte(i % 2), 10: byte(i / 2 % 3),
			15: byte(i / 6 % 5)})
	}
	var set []netip.Addr
	for i := 0; i < 30; i += 4 {
		set = append(set, addr(i))
	}
	raw, err := filter(etherIPv6, set)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := machine(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		frames, err := announcement(addr(i), mac2, linkAddr)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(frames[0].bytes); err != nil || (n > 0) != slices.Contains(set, addr(i)) {
			t.Errorf("%v passes: %d bytes, %v, and is in the set: %v", addr(i), n, err,
				slices.Contains(set, addr(i)))
		}
	}
}

// TestRangeFilter: two comparisons for any number of IPv4 addresses, every advertisement for IPv6.
func TestRangeFilter(t *testing.T) {
	below, above := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.11")
	far := netip.MustParseAddr("203.0.113.1")
	for name, c := range map[string]struct {
		etherType uint16
		of        []netip.Addr
		frame     []byte
		pass      bool
	}{
		"alone":          {etherARP, []netip.Addr{vip4}, wireRequest, true},
		"between":        {etherARP, []netip.Addr{above, below}, wireReply, true},
		"lowest":         {etherARP, []netip.Addr{far, vip4}, wireRequest, true},
		"highest":        {etherARP, []netip.Addr{below, vip4}, wireRequest, true},
		"below":          {etherARP, []netip.Addr{above, far}, wireRequest, false},
		"above":          {etherARP, []netip.Addr{below}, wireRequest, false},
		"probe":          {etherARP, []netip.Addr{below, above}, wireARPProbe, false},
		"truncated":      {etherARP, []netip.Addr{vip4}, wireRequest[:30], false},
		"advertisement":  {etherIPv6, []netip.Addr{linkAddr}, wireNA, true},
		"solicitation":   {etherIPv6, []netip.Addr{vip6}, wireDAD, false},
		"not for ICMPv6": {etherIPv6, []netip.Addr{vip6}, patch(wireNA, 20, 17), false},
	} {
		program := naRangeFilter(rangeOf(c.of))
		if c.etherType == etherARP {
			program = arpRangeFilter(rangeOf(c.of))
		}
		raw, err := bpf.Assemble(program)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vm, err := machine(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.pass {
			t.Errorf("%s: %d bytes pass, %v, want pass %v", name, n, err, c.pass)
		}
	}
}
