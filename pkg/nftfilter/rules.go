package nftfilter

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// scratch is a register for one value. key is the first register of a lookup's key, in
// registers of four bytes.
const (
	scratch = unix.NFT_REG_1
	key     = unix.NFT_REG32_00
)

// rules returns the rules of S5, in order. S7 adds a reset for packets of a connection that this
// node does not know, as after the address moved here. Conntrack would count such a connection
// as its own and pass it to any endpoint, whose answers are useless to the client: it would
// hang. Conntrack's state of those packets is new. One with the state invalid may belong to a
// known connection, as one outside of the window does before Linux 6.1: a reset would end it.
//
// Every rejecting rule is behind the lookup of the protected addresses, and those elements
// expire: without kvip, the table does nothing. An accept ends this chain only and overrules no
// other chain.
func rules() [][]expr.Any {
	const tcp = unix.IPPROTO_TCP
	reset := &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	unreachable := &expr.Reject{
		Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH,
	}
	return [][]expr.Any{
		rule(accept(), fromLoopback()),
		rule(accept(), isFamily(family4), isUnprotected(family4)),
		rule(accept(), isFamily(family6), isUnprotected(family6)),
		rule(accept(), hasState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)),
		rule(accept(), isProtocol(unix.IPPROTO_ICMP)),
		rule(accept(), isProtocol(unix.IPPROTO_ICMPV6)),                        // neighbour discovery too
		rule(reset, isProtocol(tcp), hasState(expr.CtStateBitNEW), isNotSYN()), // S7
		rule(accept(), isFamily(family4), isAllowed(family4)),
		rule(accept(), isFamily(family6), isAllowed(family6)),
		rule(reset, isProtocol(tcp)),
		rule(unreachable),
	}
}

// rule returns a rule: the action if all conditions are true.
func rule(action expr.Any, conditions ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, c := range conditions {
		all = append(all, c...)
	}
	return append(all, action)
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// fromLoopback matches packets of this host to itself.
func fromLoopback() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return equals(expr.MetaKeyIIFNAME, name)
}

func isFamily(f family) []expr.Any { return equals(expr.MetaKeyNFPROTO, []byte{f.proto}) }

func isProtocol(p byte) []expr.Any { return equals(expr.MetaKeyL4PROTO, []byte{p}) }

func equals(what expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: what, Register: scratch},
		&expr.Cmp{Op: expr.CmpOpEq, Register: scratch, Data: value},
	}
}

// hasState matches packets with one of conntrack's states.
func hasState(states uint32) []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(states)
	none := make([]byte, len(mask))
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: scratch},
		&expr.Bitwise{
			SourceRegister: scratch, DestRegister: scratch, Len: uint32(len(mask)),
			Mask: mask, Xor: none,
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: scratch, Data: none},
	}
}

// isNotSYN matches TCP packets that do not open a connection (RFC 9293 3.1, the flags).
func isNotSYN() []expr.Any {
	const fin, syn, rst, ack, flags = 0x01, 0x02, 0x04, 0x10, 13
	return []expr.Any{
		&expr.Payload{
			DestRegister: scratch, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1,
		},
		&expr.Bitwise{
			SourceRegister: scratch, DestRegister: scratch, Len: 1,
			Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0},
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: scratch, Data: []byte{syn}},
	}
}

func isUnprotected(f family) []expr.Any {
	return []expr.Any{
		f.destination(), &expr.Lookup{SourceRegister: key, SetName: f.addresses, Invert: true},
	}
}

// isAllowed looks up address . protocol . port, which are adjacent in the registers. It does
// not match a packet that is too short to have a port.
func isAllowed(f family) []expr.Any {
	next := key + f.length/4
	return []expr.Any{
		f.destination(),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		&expr.Payload{
			DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2,
		},
		&expr.Lookup{SourceRegister: key, SetName: f.ports},
	}
}

func (f family) destination() expr.Any {
	return &expr.Payload{
		DestRegister: key, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.length,
	}
}
