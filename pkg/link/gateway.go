package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateway returns the gateway of the default route of a family with the lowest metric. A link-local
// address has its link as zone. ErrNotFound if there is none.
func Gateway(family4 bool) (netip.Addr, error) {
	routes, err := mainRoutes()
	if err != nil {
		return netip.Addr{}, err
	}
	var found netip.Addr
	metric := 0
	for _, r := range routes {
		if !isDefault(r) || (r.Family == netlink.FAMILY_V4) != family4 {
			continue
		}
		gateway, index := r.Gw, r.LinkIndex
		if len(r.MultiPath) > 0 {
			gateway, index = r.MultiPath[0].Gw, r.MultiPath[0].LinkIndex
		}
		a, ok := withZone(gateway, index)
		if ok && (!found.IsValid() || r.Priority < metric) {
			found, metric = a, r.Priority
		}
	}
	if !found.IsValid() {
		family := "IPv6"
		if family4 {
			family = "IPv4"
		}
		return found, fmt.Errorf("find gateway: %w: the default route of %s has none (see ip route)",
			ErrNotFound, family)
	}
	return found, nil
}

// Router returns the link-local address of the only router on a link, with the link as zone: the
// one that sends router advertisements (RFC 4861 section 4.2), or is the gateway of a route there.
// ErrNotFound if there is none, and an error if there are several.
func Router(name string) (netip.Addr, error) {
	l, err := byName(name)
	if err != nil {
		return netip.Addr{}, err
	}
	neighbors, err := consistent(func() ([]netlink.Neigh, error) {
		return netlink.NeighList(l.Index, netlink.FAMILY_V6)
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list neighbours on %s: %w", name, err)
	}
	routes, err := mainRoutes()
	if err != nil {
		return netip.Addr{}, err
	}
	var found []netip.Addr
	add := func(ip net.IP) {
		if a, ok := withZone(ip, l.Index); ok && a.IsLinkLocalUnicast() && a.Is6() &&
			!slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	for _, n := range neighbors {
		if n.Flags&netlink.NTF_ROUTER != 0 && n.State&unix.NUD_FAILED == 0 {
			add(n.IP)
		}
	}
	for _, r := range routes {
		if r.LinkIndex == l.Index {
			add(r.Gw)
		}
	}
	switch len(found) {
	case 0:
		return netip.Addr{}, fmt.Errorf("find router on %s: %w: no router advertisement has come"+
			" (see ip -6 neighbor)", name, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return netip.Addr{}, fmt.Errorf("find router on %s: there are several, as %s and %s:"+
		" give the address of one", name, found[0], found[1])
}

// withZone converts an address. A link-local one of IPv6 gets the link as zone.
func withZone(ip net.IP, index int) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !ok || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		l, err := netlink.LinkByIndex(index)
		if err != nil {
			return netip.Addr{}, false
		}
		a = a.WithZone(l.Attrs().Name)
	}
	return a, true
}

// Loopback returns the loopback interface, on which addresses belong to the host alone.
func Loopback() (Link, error) { return byName("lo") }
