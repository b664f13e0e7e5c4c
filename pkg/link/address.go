package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attrProto is IFA_PROTO of linux/if_addr.h (kernel 5.18), which the netlink package does not
// know (E10).
const attrProto = 11

// Forever is the lifetime of an address that does not expire.
const Forever uint32 = math.MaxUint32

// HostAddr is one address of this host.
type HostAddr struct {
	// Prefix is the address itself (not masked) with its prefix length.
	Prefix netip.Prefix
	// Link and Index identify the link; Link is empty if it was removed meanwhile.
	Link  string
	Index int
	// Proto is IFA_PROTO, the program that added the address; 0 if it is not known.
	Proto uint8
	// ValidLft and PreferredLft are seconds left, rounded up by the kernel, or Forever.
	ValidLft, PreferredLft uint32
	// Label is IFA_LABEL, of IPv4 only; by default the link's name.
	Label string
	// Scope is an RT_SCOPE_ value of rtnetlink(7).
	Scope uint8
	// Flags are IFA_F_ values of linux/if_addr.h.
	Flags uint32
	// Isolated reports whether the link receives nothing from other machines: the loopback, a
	// link that is down, or a broadcast link without ARP, such as a dummy link. kube-proxy in
	// IPVS mode adds the address of every Service to such a link, kube-ipvs0.
	Isolated bool
}

// global reports whether other hosts may know this node by the address.
func (a HostAddr) global() bool {
	const bad = unix.IFA_F_TEMPORARY | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED |
		unix.IFA_F_DEPRECATED
	flags := a.Flags
	if a.Prefix.Addr().Is4() {
		flags &^= unix.IFA_F_SECONDARY // the same bit as IFA_F_TEMPORARY, harmless for IPv4
	}
	return a.Scope == unix.RT_SCOPE_UNIVERSE && flags&bad == 0
}

// Addresses returns every IPv4 and IPv6 address of this network namespace. The listing is
// consistent: a dump that changed while it was read is read again.
func Addresses() ([]HostAddr, error) {
	messages, err := consistent(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	names := nameCache{}
	defer names.close()
	result := make([]HostAddr, 0, len(messages))
	for _, message := range messages {
		if a, ok := parseAddress(message); ok {
			entry := names.get(a.Index)
			a.Link, a.Isolated = entry.name, entry.isolated
			result = append(result, a)
		}
	}
	return result, nil
}

// parseAddress decodes the body of RTM_NEWADDR or RTM_DELADDR (struct ifaddrmsg and its
// attributes, rtnetlink(7)) except for the link's name. It returns false for other address
// families and malformed messages.
func parseAddress(b []byte) (HostAddr, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return HostAddr{}, false
	}
	family, bits := b[0], int(b[1])
	result := HostAddr{
		Flags: uint32(b[2]), Scope: b[3], Index: int(binary.NativeEndian.Uint32(b[4:])),
		ValidLft: Forever, PreferredLft: Forever,
	}
	var address, local netip.Addr
	eachAttr(b[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_LOCAL: // on a point-to-point link IFA_ADDRESS is the peer's
			local, _ = netip.AddrFromSlice(value)
		default:
			result.setAttr(kind, value)
		}
	})
	if local.IsValid() {
		address = local
	}
	is4 := family == unix.AF_INET
	if !address.IsValid() || address.Is4() != is4 || !is4 && family != unix.AF_INET6 {
		return HostAddr{}, false
	}
	result.Prefix = netip.PrefixFrom(address, bits)
	return result, result.Prefix.IsValid()
}

// setAttr sets the field of an attribute other than the address.
func (a *HostAddr) setAttr(kind uint16, value []byte) {
	switch {
	case kind == attrProto && len(value) >= 1:
		a.Proto = value[0]
	case kind == unix.IFA_FLAGS && len(value) >= 4: // replaces the 8 bits of the header
		a.Flags = binary.NativeEndian.Uint32(value)
	case kind == unix.IFA_LABEL:
		a.Label = unix.ByteSliceToString(value)
	case kind == unix.IFA_CACHEINFO && len(value) >= 8: // struct ifa_cacheinfo
		a.PreferredLft = binary.NativeEndian.Uint32(value)
		a.ValidLft = binary.NativeEndian.Uint32(value[4:])
	}
}

// eachAttr calls fn for each attribute of a netlink message (netlink(7)) up to the first
// malformed one.
func eachAttr(b []byte, fn func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		fn(binary.NativeEndian.Uint16(b[2:])&^flags, b[unix.SizeofRtAttr:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}

// nameCache resolves link indexes one by one, which is cheaper than a dump of all links on a node
// with a thousand pods.
type nameCache struct {
	fd    int
	links map[int]linkEntry
}

// linkEntry has the link's part of a HostAddr. The zero value is a removed link.
type linkEntry struct {
	name     string
	isolated bool
}

// get returns the entry of a link.
func (c *nameCache) get(index int) linkEntry {
	if c.links == nil {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return linkEntry{}
		}
		c.fd, c.links = fd, map[int]linkEntry{}
	}
	entry, known := c.links[index]
	if !known {
		entry = readEntry(c.fd, index)
		c.links[index] = entry
	}
	return entry
}

func (c *nameCache) close() {
	if c.links != nil {
		unix.Close(c.fd)
	}
}

// readEntry reads a link with SIOCGIFNAME and SIOCGIFFLAGS (netdevice(7)).
func readEntry(fd, index int) linkEntry {
	request, err := unix.NewIfreq("")
	if err != nil {
		return linkEntry{}
	}
	request.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request); err != nil {
		return linkEntry{}
	}
	entry := linkEntry{name: request.Name()}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err == nil {
		entry.isolated = isolated(request.Uint16())
	}
	return entry
}

// isolated reports whether a link with these flags (netdevice(7)) receives nothing from other
// machines. A tunnel has no ARP either, but is not a broadcast link.
func isolated(flags uint16) bool {
	const withoutARP = unix.IFF_BROADCAST | unix.IFF_NOARP
	return flags&unix.IFF_LOOPBACK != 0 || flags&unix.IFF_UP == 0 || flags&withoutARP == withoutARP
}
