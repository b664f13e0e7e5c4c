package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Select returns the link that virtual IPs belong on. With a name it is that link.
// Without one it is the link whose on-link prefix contains one of vips, by its addresses
// and else by its routes, and failing that the link of the default route, the families
// asked in the order of vips. The longest prefix wins, then a usable link, then the
// lowest index. The loopback is never chosen, and addresses that are VIPs or host routes
// are no prefixes.
//
// The link may well be unusable: see Link.Reason. ErrNotFound if there is none.
func Select(name string, vips []netip.Addr) (Link, error) {
	if name != "" {
		return byName(name)
	}
	addresses, err := Addresses()
	if err != nil {
		return Link{}, err
	}
	if found, ok, err := choose(onLinkAddresses(addresses, vips), vips); ok || err != nil {
		return found, err
	}
	routes, err := mainRoutes()
	if err != nil {
		return Link{}, err
	}
	if found, ok, err := choose(onLinkRoutes(routes), vips); ok || err != nil {
		return found, err
	}
	for _, vip := range vips {
		if index, ok := defaultLink(routes, vip.Unmap().Is4()); ok {
			return byIndex(index)
		}
	}
	return Link{}, fmt.Errorf("find link: %w: neither a prefix that contains %s nor a default route (name one with --interface)",
		ErrNotFound, join(vips))
}

// prefix is one network that a link reaches without a gateway.
type prefix struct {
	netip.Prefix
	index int
}

// choose returns the best link among those whose prefix contains a VIP, false if none
// does. The loopback is passed over.
func choose(prefixes []prefix, vips []netip.Addr) (Link, bool, error) {
	var best Link
	bits := -1
	for _, p := range prefixes {
		if p.Bits() < bits || !containsAny(p.Prefix, vips) {
			continue
		}
		found, err := byIndex(p.index)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Link{}, false, err
		}
		if found.Reason != reasonLoopback && (p.Bits() > bits || preferred(found, best)) {
			best, bits = found, p.Bits()
		}
	}
	return best, bits >= 0, nil
}

func preferred(a, b Link) bool {
	if a.Usable != b.Usable {
		return a.Usable
	}
	return a.Index < b.Index
}

func onLinkAddresses(addresses []HostAddr, vips []netip.Addr) []prefix {
	var result []prefix
	for _, a := range addresses {
		if p := a.Prefix.Masked(); isNetwork(p) && !contains(vips, a.Prefix.Addr()) {
			result = append(result, prefix{p, a.Index})
		}
	}
	return result
}

func onLinkRoutes(routes []netlink.Route) []prefix {
	var result []prefix
	for _, r := range routes {
		if r.Dst == nil || r.Gw != nil || r.Via != nil || r.LinkIndex == 0 || len(r.MultiPath) > 0 {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if p := netip.PrefixFrom(addr, bits); ok && isNetwork(p) {
			result = append(result, prefix{p, r.LinkIndex})
		}
	}
	return result
}

// isNetwork says whether a prefix tells one link from another: it is no host, no default
// route and not the link-local prefix that every link has.
func isNetwork(p netip.Prefix) bool {
	return p.IsValid() && p.Bits() > 0 && !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast()
}

// mainRoutes lists the unicast routes of the main table, both families.
func mainRoutes() ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	var routes []netlink.Route
	var err error
	for range dumpTries {
		routes, err = netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// defaultLink returns the link of the family's default route with the lowest metric.
func defaultLink(routes []netlink.Route, family4 bool) (int, bool) {
	index, metric := 0, 0
	for _, r := range routes {
		link := r.LinkIndex
		if len(r.MultiPath) > 0 {
			link = r.MultiPath[0].LinkIndex
		}
		if link == 0 || !isDefault(r) || (r.Family == netlink.FAMILY_V4) != family4 {
			continue
		}
		if index == 0 || r.Priority < metric {
			index, metric = link, r.Priority
		}
	}
	return index, index != 0
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	bits, _ := r.Dst.Mask.Size()
	return bits == 0
}

func containsAny(p netip.Prefix, vips []netip.Addr) bool {
	for _, vip := range vips {
		if p.Contains(vip.Unmap()) {
			return true
		}
	}
	return false
}

func join(vips []netip.Addr) string {
	names := make([]string, len(vips))
	for i, vip := range vips {
		names[i] = vip.String()
	}
	return strings.Join(names, " or ")
}
