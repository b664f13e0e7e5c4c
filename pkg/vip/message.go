package vip

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attrProto is IFA_PROTO of linux/if_addr.h, which the netlink package does not know (E10).
const attrProto = 11

// addHeader adds struct ifaddrmsg and the address itself (rtnetlink(7)).
func addHeader(request *nl.NetlinkRequest, a Address, scope uint8) {
	family := uint8(unix.AF_INET6)
	if a.VIP.Is4() {
		family = unix.AF_INET
	}
	header := nl.NewIfAddrmsg(int(family))
	header.Prefixlen = uint8(a.VIP.BitLen())
	header.Scope = scope
	header.Index = uint32(a.LinkIndex)
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a.VIP.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a.VIP.AsSlice()))
}

// addressRequest is the one message of a Replace, with E10's attributes. IPv6 with a preferred
// lifetime of 0 is not chosen as a source, and without duplicate detection it is usable at once. The
// lifetimes are always sent: without them the address would be permanent.
func addressRequest(a Address, scope uint8, valid uint32, label string) *nl.NetlinkRequest {
	request := writeRequest(a, scope, valid, Proto)
	if label != "" {
		request.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(label)))
	}
	return request
}

// writeRequest is the same with any mark and without a label.
func writeRequest(a Address, scope uint8, valid uint32, proto uint8) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	flags := uint32(unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD)
	if a.VIP.Is4() {
		flags = unix.IFA_F_NOPREFIXROUTE
	}
	addHeader(request, a, scope)
	request.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)))
	cacheInfo := make([]byte, unix.SizeofIfaCacheinfo) // ifa_prefered stays 0
	binary.NativeEndian.PutUint32(cacheInfo[4:], valid)
	request.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, cacheInfo))
	request.AddData(nl.NewRtAttr(attrProto, []byte{proto}))
	return request
}

// deleteRequest takes an address away from its link.
func deleteRequest(a Address) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.RTM_DELADDR, unix.NLM_F_ACK)
	addHeader(request, a, 0)
	return request
}
