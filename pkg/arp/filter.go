package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
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
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: 0}))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}

func arpFilter(vips []netip.Addr) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: offARPSender, Size: 4}}
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
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offIPv6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: offICMPType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpNA, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
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
