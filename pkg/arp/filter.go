package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// snapLen is how much of an accepted frame is received: more than any claim needs.
const snapLen = 256

// maxExact is the longest program that names each address: 296 addresses of IPv4, or of IPv6 in a
// few subnets. The kernel stores a converted program of up to five times that size with the socket,
// which its default net.core.optmem_max of 20 KiB must hold.
const maxExact = 600

// Offsets in an Ethernet frame.
const (
	offARPSender = 28 // RFC 826, sender protocol address
	offIPv6Next  = 20
	offICMPType  = 54
	offNATarget  = 62 // RFC 4861 4.4
	icmpNA       = 136
)

// filter returns the socket filter for the addresses of the EtherType's family among addrs. It
// passes frames that claim one of them and drops all others in the kernel, so that an idle agent
// is never woken. If the addresses are too many to name it passes ARP whose sender is in their
// range, or all neighbour advertisements, which are rare.
func filter(etherType uint16, addrs []netip.Addr) ([]bpf.RawInstruction, error) {
	exact, inRange := arpFilter, arpRangeFilter
	if etherType == etherIPv6 {
		exact, inRange = naFilter, naRangeFilter
	}
	var family []netip.Addr
	for _, a := range addrs {
		if a.Is6() == (etherType == etherIPv6) {
			family = append(family, a)
		}
	}
	var program []bpf.Instruction
	if 2*len(family) <= maxExact {
		program = exact(family)
	}
	if program == nil || len(program) > maxExact {
		program = inRange(rangeOf(family))
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}

// untaggedOnly drops frames of other networks than the link's own. A frame of a VLAN that this
// host has no link for keeps its tag in the kernel's metadata or, on a socket for one EtherType,
// is only marked as another host's (__netif_receive_skb_core): that VLAN may use the same address.
func untaggedOnly() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// advertisementsOnly drops all but neighbour advertisements.
func advertisementsOnly() []bpf.Instruction {
	return append(untaggedOnly(),
		bpf.LoadAbsolute{Off: offIPv6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: offICMPType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpNA, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	)
}

// acceptIfEqual accepts the frame if the loaded word is val.
func acceptIfEqual(val uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: 1},
		bpf.RetConstant{Val: snapLen},
	}
}

func arpFilter(addrs []netip.Addr) []bpf.Instruction {
	program := append(untaggedOnly(), bpf.LoadAbsolute{Off: offARPSender, Size: 4})
	for _, a := range addrs {
		program = append(program, acceptIfEqual(word(a, 0))...)
	}
	return append(program, bpf.RetConstant{Val: 0})
}

// naFilter compares the first three words of a target once for neighbouring addrs that share
// them, and the last word with each.
func naFilter(addrs []netip.Addr) []bpf.Instruction {
	program := advertisementsOnly()
	for len(addrs) > 0 {
		same := 1
		for same < len(addrs) && prefix96(addrs[same]) == prefix96(addrs[0]) {
			same++
		}
		last := []bpf.Instruction{bpf.LoadAbsolute{Off: offNATarget + 12, Size: 4}}
		for _, a := range addrs[:same] {
			last = append(last, acceptIfEqual(word(a, 3))...)
		}
		for i := range uint32(3) {
			skip := uint32(len(last)) + 3*(2-i) // the last words, and the comparisons in between
			program = append(program,
				bpf.LoadAbsolute{Off: offNATarget + 4*i, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: word(addrs[0], i), SkipTrue: 1},
				bpf.Jump{Skip: skip})
		}
		program = append(program, last...)
		addrs = addrs[same:]
	}
	return append(program, bpf.RetConstant{Val: 0})
}

// prefix96 returns the first three words of an IPv6 address.
func prefix96(a netip.Addr) [12]byte {
	b := a.As16()
	return [12]byte(b[:12])
}

// word returns the i-th four bytes of an address.
func word(a netip.Addr, i uint32) uint32 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	return binary.BigEndian.Uint32(b[4*i:])
}

// addrRange is the lowest and the highest of some addresses of one family.
type addrRange struct{ low, high netip.Addr }

func rangeOf(addrs []netip.Addr) addrRange {
	r := addrRange{addrs[0], addrs[0]}
	for _, a := range addrs {
		if a.Less(r.low) {
			r.low = a
		}
		if r.high.Less(a) {
			r.high = a
		}
	}
	return r
}

func arpRangeFilter(r addrRange) []bpf.Instruction {
	return append(untaggedOnly(),
		bpf.LoadAbsolute{Off: offARPSender, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: word(r.low, 0), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: word(r.high, 0), SkipTrue: 1},
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	)
}

func naRangeFilter(addrRange) []bpf.Instruction {
	return append(advertisementsOnly(), bpf.RetConstant{Val: snapLen})
}
