// Package link finds the network interface a virtual IP belongs on, lists this host's
// addresses and reports when links and addresses change. It only reads: writing
// addresses is not its job, and neither is deciding anything from what it saw.
package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNotFound says that no link answers the description; the error that wraps it says
// which one was looked for. The link may appear later: callers wait and ask again.
var ErrNotFound = errors.New("no such link")

// Link is one network interface as it was when it was read.
type Link struct {
	// Index and Name identify it; a re-created link has the name but a new index.
	Index int
	Name  string
	// MAC is empty on a link without Ethernet addresses.
	MAC net.HardwareAddr
	// PortMACs are the Ethernet addresses of a bond's ports: some modes answer with those.
	PortMACs []net.HardwareAddr
	// Master is the index of the bridge, bond or team that carries the packets of this link,
	// its port; 0 if the link carries them itself.
	Master int
	// MTU in bytes.
	MTU int
	// Usable says that a virtual IP on this link can be reached now.
	Usable bool
	// Reason is why the link is not usable, as a human phrase; empty when it is.
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

// dumpTries is how often a dump that changed under the reader is read again.
const dumpTries = 5

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
		return Link{}, fmt.Errorf("find link with index %d: %w: it was removed meanwhile", index, ErrNotFound)
	}
	if err != nil {
		return Link{}, fmt.Errorf("read link with index %d: %w", index, err)
	}
	return describe(found)
}

// describe reads the master as well: a port of a bridge or bond receives no IP packets.
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

// carriesPorts reports whether a master of that type carries the packets of its ports itself. Open
// vSwitch does so with links that are ports, too, and not with the master.
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

// unusable returns why a link with these flags (netdevice(7)) and master cannot carry a
// virtual IP, or "" when it can. IFF_RUNNING is off without carrier, on a bond without
// an active port and on a bridge without ports.
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
// first global one of the family in a listing that is not in not, permanent ones before those with
// a lifetime (DHCP, router advertisements). Temporary, tentative, deprecated and host-scope
// addresses never count. False means that there is none.
func NodeAddress(addresses []HostAddr, index int, family4 bool, not []netip.Addr) (netip.Addr, bool) {
	var fallback netip.Addr
	for _, a := range addresses {
		addr := a.Prefix.Addr()
		if a.Index != index || addr.Is4() != family4 || !a.global() || contains(not, addr) {
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
	for _, one := range list {
		if one.Unmap() == addr {
			return true
		}
	}
	return false
}
