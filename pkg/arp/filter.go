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

// Offsets in an Ethernet frame.
const (
	offARPSender = 28 // RFC 826, sender protocol address
	offIPv6Next  = 20
	offICMPType  = 54
	offNATarget  = 62 // RFC 4861 4.4
	icmpNA       = 136
)

// filter returns the socket filter for an EtherType: it passes frames that claim one of
// the VIPs and drops all others in the kernel, so that an idle agent is never woken.
func filter(etherType uint16, vips []netip.Addr) ([]bpf.RawInstruction, error) {
	var program []bpf.Instruction
	if etherType == etherARP {
		program = arpFilter(vips)
	} else {
		program = advertisementFilter(vips)
	}
	return assemble(append(program, bpf.RetConstant{Val: 0}))
}

func assemble(program []bpf.Instruction) ([]bpf.RawInstruction, error) {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}

// untaggedOnly goes on behind it only for frames of the link's own network. A frame of a VLAN that this
// host has no link for keeps its tag in the kernel's notes or, on a socket for one EtherType, is only
// marked as another host's (__netif_receive_skb_core): the same address may well be used in that VLAN.
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

func arpFilter(vips []netip.Addr) []bpf.Instruction {
	program := append(untaggedOnly(), bpf.LoadAbsolute{Off: offARPSender, Size: 4})
	for _, vip := range vips {
		if !vip.Is4() {
			continue
		}
		a := vip.As4()
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a[:]), SkipFalse: 1},
			bpf.RetConstant{Val: snapLen})
	}
	return program
}

func advertisementFilter(vips []netip.Addr) []bpf.Instruction {
	program := advertisementsOnly()
	for _, vip := range vips {
		if !vip.Is6() {
			continue
		}
		a := vip.As16()
		for word := range uint32(4) { // from the last word on: those of one site begin alike
			i := 3 - word
			program = append(program,
				bpf.LoadAbsolute{Off: offNATarget + 4*i, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a[4*i:]), SkipFalse: uint8(2*(3-word) + 1)})
		}
		program = append(program, bpf.RetConstant{Val: snapLen})
	}
	return program
}

// advertisementsOnly goes on behind it only for neighbour advertisements.
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

// span is the lowest and the highest of many addresses of one family.
type span struct{ low, high netip.Addr }

// with returns the span that contains a as well.
func (s span) with(a netip.Addr) span {
	if !s.low.IsValid() || a.Less(s.low) {
		s.low = a
	}
	if !s.high.IsValid() || s.high.Less(a) {
		s.high = a
	}
	return s
}

// spanFilter is the filter for more addresses than a program can name: it passes ARP whose
// sender is within the span, and all neighbour advertisements, which are rare.
func spanFilter(etherType uint16, s span) ([]bpf.RawInstruction, error) {
	if etherType != etherARP {
		return assemble(append(advertisementsOnly(), bpf.RetConstant{Val: snapLen}))
	}
	low, high := s.low.As4(), s.high.As4()
	return assemble(append(untaggedOnly(),
		bpf.LoadAbsolute{Off: offARPSender, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: binary.BigEndian.Uint32(low[:]), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: binary.BigEndian.Uint32(high[:]), SkipTrue: 1},
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	))
}
