package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/netaddr"
)

// Basis is the reason for which a link was selected. A greater one is better.
type Basis int

const (
	// ByDefaultRoute: the link has the default route, and no link has a better reason.
	ByDefaultRoute Basis = iota + 1
	// ByRoute: an on-link route of the link contains a virtual IP.
	ByRoute
	// ByAddress: the prefix of one of the link's own addresses contains a virtual IP.
	ByAddress
	// ByName: the link was given by name.
	ByName
)

// String returns the phrase that follows "chosen by".
func (b Basis) String() string {
	switch b {
	case ByDefaultRoute:
		return "the default route"
	case ByRoute:
		return "an on-link route"
	case ByAddress:
		return "the prefix of an own address"
	case ByName:
		return "its name"
	}
	return "nothing"
}

// Choice is a link with the reason to select it.
type Choice struct {
	Link
	Basis Basis
	// Bits is the prefix length of ByAddress and ByRoute.
	Bits int
}

// Better reports whether c has a better reason than other: a greater basis, then a longer prefix.
func (c Choice) Better(other Choice) bool {
	if c.Basis != other.Basis {
		return c.Basis > other.Basis
	}
	return c.Bits > other.Bits
}

// Select returns the link for virtual IPs, the first of Candidates. It may be unusable: see
// Link.Reason. ErrNotFound if there is none.
func Select(name string, vips []netip.Addr) (Choice, error) {
	all, err := Candidates(name, vips, true)
	if err != nil {
		return Choice{}, err
	}
	if len(all) == 0 {
		return Choice{}, fmt.Errorf("find link: %w: neither a prefix that contains %s "+
			"nor a default route (name one with --interface)", ErrNotFound, netaddr.Join(vips, " or "))
	}
	return all[0], nil
}

// Candidates returns the links for virtual IPs, the best first, without duplicates. With a name
// it is that link alone. Without one they are the links with an on-link prefix that contains one
// of vips, by address before by route, and then the link of the default route, of the families in
// the order of vips. The longest prefix comes first, then a usable link, then the lowest index. A
// port of a bridge, bond or team is replaced by its master. The loopback is never a candidate, and
// addresses that are VIPs or host routes are not prefixes. Routes are read only if routes is true
// and no address matches: there may be a million. ErrNotFound if no link has the name.
func Candidates(name string, vips []netip.Addr, routes bool) ([]Choice, error) {
	if name != "" {
		found, err := byName(name)
		if err == nil {
			found, err = follow(found)
		}
		if err != nil {
			return nil, err
		}
		return []Choice{{Link: found, Basis: ByName}}, nil
	}
	addresses, err := Addresses()
	if err != nil {
		return nil, err
	}
	var all choices
	for _, p := range onLinkAddresses(addresses, vips) {
		all.add(p, ByAddress, vips)
	}
	if len(all.list) == 0 && routes {
		if err := all.addRoutes(vips); err != nil {
			return nil, err
		}
	}
	return all.best()
}

// choices are candidates in the making.
type choices struct {
	list []Choice
	err  error
}

func (c *choices) addRoutes(vips []netip.Addr) error {
	routes, err := mainRoutes()
	if err != nil {
		return err
	}
	for _, p := range onLinkRoutes(routes) {
		c.add(p, ByRoute, vips)
	}
	for _, vip := range vips {
		if index, ok := defaultLink(routes, vip.Unmap().Is4()); ok {
			c.put(index, ByDefaultRoute, 0)
			break
		}
	}
	return nil
}

func (c *choices) add(p prefix, basis Basis, vips []netip.Addr) {
	if containsAny(p.Prefix, vips) {
		c.put(p.index, basis, p.Bits())
	}
}

func (c *choices) put(index int, basis Basis, bits int) {
	found, err := Get(index)
	if err == nil {
		found, err = follow(found)
	}
	switch {
	case errors.Is(err, ErrNotFound): // removed meanwhile
	case err != nil:
		c.err = errors.Join(c.err, err)
	case found.Reason != reasonLoopback:
		c.list = append(c.list, Choice{Link: found, Basis: basis, Bits: bits})
	}
}

// best returns the candidates in order, each link with its best reason.
func (c *choices) best() ([]Choice, error) {
	if c.err != nil {
		return nil, c.err
	}
	slices.SortStableFunc(c.list, func(a, b Choice) int {
		switch {
		case a.Better(b):
			return -1
		case b.Better(a):
			return 1
		case a.Usable != b.Usable && a.Usable:
			return -1
		case a.Usable != b.Usable:
			return 1
		}
		return a.Index - b.Index
	})
	var result []Choice
	for _, one := range c.list {
		if !slices.ContainsFunc(result, func(r Choice) bool { return r.Index == one.Index }) {
			result = append(result, one)
		}
	}
	return result, nil
}

// prefix is one on-link network of a link.
type prefix struct {
	netip.Prefix
	index int
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

// isNetwork reports whether a prefix distinguishes links: hosts, default routes and the link-local
// prefix, which every link has, do not.
func isNetwork(p netip.Prefix) bool {
	return p.IsValid() && p.Bits() > 0 && !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast()
}

// mainRoutes returns the unicast routes of the main table, of both families.
func mainRoutes() ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := consistent(func() ([]netlink.Route, error) {
		const fields = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, fields)
	})
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
	return slices.ContainsFunc(vips, func(vip netip.Addr) bool { return p.Contains(vip.Unmap()) })
}
