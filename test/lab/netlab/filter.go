package netlab

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Actions of a direct-action classifier: tc-bpf(8), linux/pkt_cls.h.
const (
	actPass = 0xffffffff // TC_ACT_UNSPEC: continue as without a filter
	actDrop = 2          // TC_ACT_SHOT
)

// dropRule drops frames from a host.
type dropRule struct {
	from net.HardwareAddr
	drop
}

// prepareFilter adds the queueing discipline to which filters are attached.
func (f *networkSwitch) prepareFilter(index int) error {
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := f.nl.QdiscAdd(q); err != nil {
		return fmt.Errorf("prepare filter (kernel needs NET_SCH_INGRESS and NET_CLS_BPF): %w", err)
	}
	return nil
}

// setFilter replaces the classic BPF program at a port's egress with one that applies the rules. It
// needs no firewall tool.
func (f *networkSwitch) setFilter(index int, rules []dropRule) error {
	ops, err := bpf.Assemble(program(rules))
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	err = f.ns.do(func() error { // nl.Request opens its socket in the thread's namespace
		_, err := filterRequest(index, ops).Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("set filter: %w", err)
	}
	return nil
}

// filterRequest builds the RTM_NEWTFILTER message. The type of package netlink has no classic BPF.
func filterRequest(index int, ops []bpf.RawInstruction) *nl.NetlinkRequest {
	const protoAll = unix.ETH_P_ALL << 8 // ETH_P_ALL in network byte order, for tcm_info
	req := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER,
		unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{
		Family: unix.AF_UNSPEC, Ifindex: int32(index), Handle: 1,
		Parent: netlink.HANDLE_MIN_EGRESS, Info: 1<<16 | protoAll,
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_OPS_LEN, nl.Uint16Attr(uint16(len(ops))))
	options.AddRtAttr(nl.TCA_BPF_OPS, encode(ops))
	options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	req.AddData(options)
	return req
}

// encode returns instructions as struct sock_filter.
func encode(ops []bpf.RawInstruction) []byte {
	var b []byte
	for _, op := range ops {
		b = binary.NativeEndian.AppendUint16(b, op.Op)
		b = append(b, op.Jt, op.Jf)
		b = binary.NativeEndian.AppendUint32(b, op.K)
	}
	return b
}

// program applies the rules. Each rule is a block that jumps to the next block if it does not
// match.
func program(rules []dropRule) []bpf.Instruction {
	var prog []bpf.Instruction
	for _, r := range rules {
		prog = append(prog, block(r)...)
	}
	return append(prog, bpf.RetConstant{Val: actPass})
}

func block(d dropRule) []bpf.Instruction {
	body := []bpf.Instruction{bpf.RetConstant{Val: actDrop}}
	if d.percent > 0 {
		body = append([]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtRand},
			bpf.JumpIf{
				Cond: bpf.JumpGreaterOrEqual, Val: uint32(d.percent) * (math.MaxUint32 / 100), SkipTrue: 1,
			},
		}, body...)
	}
	if len(d.ports) > 0 {
		body = slices.Concat(transport(unix.ETH_P_IP, 23, ports4(d.ports, actDrop)),
			transport(unix.ETH_P_IPV6, 20, ports6(d.ports, actDrop)))
	}
	n := uint8(len(body))
	head := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 4}, // source MAC, bytes 0 to 3
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(d.from), SkipTrue: n + 2},
		bpf.LoadAbsolute{Off: 10, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(d.from[4:])), SkipTrue: n},
	}
	return append(head, body...)
}

// transport runs body for TCP and UDP in the given EtherType, whose protocol byte is at off.
func transport(etherType, off uint32, body []bpf.Instruction) []bpf.Instruction {
	n := uint8(len(body))
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherType, SkipTrue: n + 3},
		bpf.LoadAbsolute{Off: off, Size: 1},
		bpf.JumpIf{Val: unix.IPPROTO_TCP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: n},
	}, body...)
}

// ports4 returns the action if one of the two ports matches, after an IPv4 header of any length.
func ports4(ports []uint16, action uint32) []bpf.Instruction {
	body := []bpf.Instruction{bpf.LoadMemShift{Off: 14}}
	for _, off := range []uint32{14, 16} {
		body = append(body, bpf.LoadIndirect{Off: off, Size: 2})
		body = append(body, match(ports, action)...)
	}
	return body
}

// ports6 is ports4 for an IPv6 header without extensions.
func ports6(ports []uint16, action uint32) []bpf.Instruction {
	var body []bpf.Instruction
	for _, off := range []uint32{54, 56} {
		body = append(body, bpf.LoadAbsolute{Off: off, Size: 2})
		body = append(body, match(ports, action)...)
	}
	return body
}

// match returns the action if the loaded port is one of the ports.
func match(ports []uint16, action uint32) []bpf.Instruction {
	var body []bpf.Instruction
	for _, p := range ports {
		body = append(body,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1},
			bpf.RetConstant{Val: action})
	}
	return body
}
