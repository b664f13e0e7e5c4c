package netdev

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// scratch is the register of matches, which rules may use for other things afterwards.
const scratch = unix.NFT_REG_1

// Protocol matches an EtherType.
func Protocol(etherType uint16) []expr.Any { return protocol(expr.CmpOpEq, etherType) }

// NotProtocol matches all other EtherTypes.
func NotProtocol(etherType uint16) []expr.Any { return protocol(expr.CmpOpNeq, etherType) }

func protocol(op expr.CmpOp, etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: scratch},
		&expr.Cmp{Op: op, Register: scratch, Data: BigEndian(etherType)},
	}
}

// Transport matches a protocol above IPv4, or IPv6 if six.
func Transport(six bool, protocol byte) []expr.Any {
	etherType := uint16(unix.ETH_P_IP)
	if six {
		etherType = unix.ETH_P_IPV6
	}
	return append(Protocol(etherType),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: scratch},
		&expr.Cmp{Op: expr.CmpOpEq, Register: scratch, Data: []byte{protocol}})
}

// Neighbour matches ICMPv6 messages of a type (RFC 4861 4).
func Neighbour(icmpType byte) []expr.Any {
	return append(Transport(true, unix.IPPROTO_ICMPV6),
		LoadTransport(scratch, 0, 1),
		&expr.Cmp{Op: expr.CmpOpEq, Register: scratch, Data: []byte{icmpType}})
}

// LoadLink loads bytes of the Ethernet header into a register.
func LoadLink(register, offset, length uint32) expr.Any {
	return load(register, expr.PayloadBaseLLHeader, offset, length)
}

// LoadNetwork loads bytes of the IP header, or of an ARP packet, into a register.
func LoadNetwork(register, offset, length uint32) expr.Any {
	return load(register, expr.PayloadBaseNetworkHeader, offset, length)
}

// LoadTransport loads bytes of the header above IP into a register.
func LoadTransport(register, offset, length uint32) expr.Any {
	return load(register, expr.PayloadBaseTransportHeader, offset, length)
}

func load(register uint32, base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

// StoreLink writes a register into the Ethernet header.
func StoreLink(register, offset, length uint32) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register,
		Base: expr.PayloadBaseLLHeader, Offset: offset, Len: length,
	}
}

// Accept ends a chain: the packet goes on to those of other programs.
func Accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// Drop drops the packet.
func Drop() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

// KeyType returns the type of sets of addresses of the family of a.
func KeyType(a netip.Addr) nftables.SetDatatype {
	if a.Is4() {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

// BigEndian returns a number as it is in packets.
func BigEndian(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
