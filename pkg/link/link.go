// Package link selects the network interface for a virtual IP, lists this host's links, addresses
// and sockets, and reports changes of links and addresses. It only reads: it writes no address
// and makes no decision from what it has read.
package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNotFound: no link matches; the error that wraps it names the criterion. The link may appear
// later, so callers wait and try again.
var ErrNotFound = errors.New("no such link")

// Link is one network interface at the time it was read.
type Link struct {
	// Index and Name identify it; a re-created link has the name but a new index.
	Index int
	Name  string
	// MAC is empty on a link without Ethernet addresses.
	MAC net.HardwareAddr
	// PortMACs are the Ethernet addresses of a bond's ports: some bond modes answer with them.
	PortMACs []net.HardwareAddr
	// Master is the index of the bridge, bond or team that carries the packets of this link,
	// its port; 0 if the link carries them itself.
	Master int
	// MTU in bytes.
	MTU int
	// Usable reports whether a virtual IP on this link can be reached now.
	Usable bool
	// Reason is a phrase that explains why the link is not usable; empty if it is.
	Reason string
}

// Reasons for a link that is not usable. A port's reason also names its master.
const (
	reasonLoopback  = "is the loopback"
	reasonDown      = "administratively down"
	reasonNoCarrier = "no carrier"
	reasonNoMAC     = "no Ethernet address"
	reasonNoARP     = "answers no ARP (NOARP)"
)

// dumpTries limits how often a dump that changed while it was read is read again.
const dumpTries = 5

// consistent returns the first result of read that did not change while it was read.
func consistent[T any](read func() (T, error)) (result T, err error) {
	for range dumpTries {
		if result, err = read(); !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return result, err
}

// byName returns the link with that name or alternative name.
func byName(name string) (Link, error) {
	found, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Link{}, fmt.Errorf("find link %q: %w on this host (see ip link)", name, ErrNotFound)
	}
	if err != nil {
		return Link{}, fmt.Errorf("read link %q: %w", name, err)
	}
	return describe(found)
}

// Get returns the link with that index, ErrNotFound if there is none.
func Get(index int) (Link, error) {
	found, err := netlink.LinkByIndex(index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Link{}, fmt.Errorf("find link with index %d: %w: it was removed meanwhile",
			index, ErrNotFound)
	}
	if err != nil {
		return Link{}, fmt.Errorf("read link with index %d: %w", index, err)
	}
	return describe(found)
}

// describe also reads the master: a port of a bridge or bond receives no IP packets.
func describe(found netlink.Link) (Link, error) {
	attrs := found.Attrs()
	result := Link{Index: attrs.Index, Name: attrs.Name, MAC: attrs.HardwareAddr, MTU: attrs.MTU}
	var masterName, masterType string
	if attrs.MasterIndex != 0 {
		master, err := netlink.LinkByIndex(attrs.MasterIndex)
		if err != nil {
			return Link{}, fmt.Errorf("read master of link %q: %w", attrs.Name, err)
		}
		masterName, masterType = master.Attrs().Name, master.Type()
	}
	if carriesPorts(masterType) {
		result.Master = attrs.MasterIndex
	}
	if found.Type() == "bond" {
		ports, err := portMACs(attrs.Index)
		if err != nil {
			return Link{}, fmt.Errorf("read ports of link %q: %w", attrs.Name, err)
		}
		result.PortMACs = ports
	}
	result.Reason = unusable(attrs.RawFlags, len(attrs.HardwareAddr), masterName, masterType)
	result.Usable = result.Reason == ""
	return result, nil
}

// carriesPorts reports whether a master of that type carries the packets of its ports. Open
// vSwitch carries them on other ports, and not on the master.
func carriesPorts(masterType string) bool {
	return masterType == "bridge" || masterType == "bond" || masterType == "team"
}

// follow returns the link that carries the packets of l: l itself, or its master.
func follow(l Link) (Link, error) {
	for range maxMasters {
		if l.Master == 0 {
			break
		}
		master, err := Get(l.Master)
		if err != nil {
			return Link{}, err
		}
		l = master
	}
	return l, nil
}

// maxMasters bounds a chain of masters, such as a bond that is a port of a bridge.
const maxMasters = 4

// maxPorts limits the ports of a bond that are read.
const maxPorts = 16

// portMACs returns the Ethernet addresses of a master's ports without duplicates. The kernel lists
// the ports only (IFLA_MASTER in the request, rtnetlink(7)): a node may have a thousand links.
func portMACs(master int) ([]net.HardwareAddr, error) {
	messages, err := consistent(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		request.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return nil, err
	}
	var all []net.HardwareAddr
	for _, message := range messages {
		mac, of := parsePort(message)
		equal := func(other net.HardwareAddr) bool { return bytes.Equal(other, mac) }
		if of == master && len(mac) == 6 && len(all) < maxPorts && !slices.ContainsFunc(all, equal) {
			all = append(all, mac)
		}
	}
	return all, nil
}

// parsePort decodes the body of RTM_NEWLINK: the link's Ethernet address and its master.
func parsePort(b []byte) (mac net.HardwareAddr, master int) {
	if len(b) < unix.SizeofIfInfomsg {
		return nil, 0
	}
	eachAttr(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFLA_ADDRESS:
			mac = append(net.HardwareAddr(nil), value...)
		case kind == unix.IFLA_MASTER && len(value) >= 4:
			master = int(binary.NativeEndian.Uint32(value))
		}
	})
	return mac, master
}

// unusable returns why a link with these flags (netdevice(7)) and master cannot carry a virtual
// IP, or "" if it can. IFF_RUNNING is off without carrier, on a bond without an active port and
// on a bridge without ports.
func unusable(flags uint32, macLen int, masterName, masterType string) string {
	switch {
	case flags&unix.IFF_LOOPBACK != 0:
		return reasonLoopback
	case carriesPorts(masterType) || masterType == "openvswitch":
		return fmt.Sprintf("is a port of the %s %s: use that one", masterType, masterName)
	case flags&unix.IFF_UP == 0:
		return reasonDown
	case flags&unix.IFF_RUNNING == 0:
		return reasonNoCarrier
	case macLen != 6:
		return reasonNoMAC
	case flags&unix.IFF_NOARP != 0:
		return reasonNoARP
	}
	return ""
}

// NodeAddress returns the address by which this node is known on the link with that index: the
// first global one of the family in a listing, without those in exclude. Permanent addresses come
// before those with a lifetime (DHCP, router advertisements). Temporary, tentative, deprecated
// and host-scope addresses never count. It returns false if there is none.
func NodeAddress(
	addresses []HostAddr, index int, family4 bool, exclude []netip.Addr,
) (netip.Addr, bool) {
	var fallback netip.Addr
	for _, a := range addresses {
		addr := a.Prefix.Addr()
		if a.Index != index || addr.Is4() != family4 || !a.global() || contains(exclude, addr) {
			continue
		}
		if a.Flags&unix.IFA_F_PERMANENT != 0 {
			return addr, true
		}
		if !fallback.IsValid() {
			fallback = addr
		}
	}
	return fallback, fallback.IsValid()
}

func contains(list []netip.Addr, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(a netip.Addr) bool { return a.Unmap() == addr })
}
