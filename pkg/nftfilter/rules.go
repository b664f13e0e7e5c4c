package nftfilter

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// scratch is a register for one value; key is where the value for a lookup begins, in the
// registers of four bytes.
const (
	scratch = unix.NFT_REG_1
	key     = unix.NFT_REG32_00
)

// rules are S5, in order, and for packets in the middle of a connection that this node does not know, as
// when the address has come from another node, what S7 says: a reset. Conntrack would take such a connection
// for its own and pass it to any endpoint, which answers nothing that the client could use: it would hang.
// It calls those packets new. One that it calls invalid may belong to a connection that it knows, as before
// Linux 6.1 one outside the window does: a reset would end that connection.
// All that refuses stands behind the question whether the address is
// protected, and those elements time out: without kvip, the table does nothing at all.
// An accept ends this chain only; it overrules nobody else's refusal.
func rules() [][]expr.Any {
	return [][]expr.Any{
		then(accept(), fromLoopback()),
		then(accept(), isFamily(family4), isUnprotected(family4)),
		then(accept(), isFamily(family6), isUnprotected(family6)),
		then(accept(), isUnderWay()),
		then(accept(), isProtocol(unix.IPPROTO_ICMP)),
		then(accept(), isProtocol(unix.IPPROTO_ICMPV6)), // neighbour discovery too
		then(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}, isProtocol(unix.IPPROTO_TCP), hasState(expr.CtStateBitNEW), beginsNothing()), // S7
		then(accept(), isFamily(family4), isAllowed(family4)),
		then(accept(), isFamily(family6), isAllowed(family6)),
		then(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}, isProtocol(unix.IPPROTO_TCP)),
		then(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}),
	}
}

// then is one rule: a verdict if all conditions hold.
func then(verdict expr.Any, conditions ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, c := range conditions {
		all = append(all, c...)
	}
	return append(all, verdict)
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// fromLoopback holds for what this host sends to itself.
func fromLoopback() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return is(expr.MetaKeyIIFNAME, name)
}

func isFamily(f family) []expr.Any { return is(expr.MetaKeyNFPROTO, []byte{f.proto}) }

func isProtocol(p byte) []expr.Any { return is(expr.MetaKeyL4PROTO, []byte{p}) }

func is(what expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: what, Register: scratch},
		&expr.Cmp{Op: expr.CmpOpEq, Register: scratch, Data: value},
	}
}

// isUnderWay holds for packets of a connection that both sides have seen, and errors about one.
func isUnderWay() []expr.Any {
	return hasState(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
}

// hasState holds for packets to which conntrack gives one of the states.
func hasState(states uint32) []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(states)
	none := make([]byte, len(mask))
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: scratch},
		&expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: uint32(len(mask)), Mask: mask, Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: scratch, Data: none},
	}
}

// beginsNothing holds for a TCP packet that does not ask for a connection (RFC 9293 3.1, the flags).
func beginsNothing() []expr.Any {
	const fin, syn, rst, ack, flags = 0x01, 0x02, 0x04, 0x10, 13
	return []expr.Any{
		&expr.Payload{DestRegister: scratch, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: scratch, Data: []byte{syn}},
	}
}

func isUnprotected(f family) []expr.Any {
	return []expr.Any{f.destination(), &expr.Lookup{SourceRegister: key, SetName: f.addresses, Invert: true}}
}

// isAllowed looks up address . protocol . port, side by side in the registers. A packet too
// short to have a port does not match.
func isAllowed(f family) []expr.Any {
	behind := key + f.length/4
	return []expr.Any{
		f.destination(),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: behind},
		&expr.Payload{DestRegister: behind + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: key, SetName: f.ports},
	}
}

func (f family) destination() expr.Any {
	return &expr.Payload{DestRegister: key, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.length}
}

func familyOf(a netip.Addr) family {
	if a.Unmap().Is4() {
		return family4
	}
	return family6
}
