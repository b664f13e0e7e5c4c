package link

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Network is a usable link with the networks that it reaches without a gateway.
type Network struct {
	Link
	// Names are its alternative names.
	Names []string
	// Subnets are sorted. A link for Services alone, as many a VLAN, may have none.
	Subnets []netip.Prefix
	// Addresses are the host's own there: those with a network. A host route may be any program's virtual IP.
	Addresses []netip.Addr
	// Default reports whether a default route, of either family, leads through it.
	Default bool
	// Pod reports whether it looks like one end of a pair to a pod: it has no subnet, and is a veth.
	Pod bool
}

// Networks returns the usable links of this host, by name. Host routes and link-local prefixes are no subnets.
func Networks() ([]Network, error) {
	addresses, err := Addresses()
	if err != nil {
		return nil, err
	}
	links, err := allLinks()
	if err != nil {
		return nil, err
	}
	routes, err := mainRoutes()
	if err != nil {
		return nil, err
	}
	default4, _ := defaultLink(routes, true)
	default6, _ := defaultLink(routes, false)
	subnets, own := map[int][]netip.Prefix{}, map[int][]netip.Addr{}
	for _, p := range onLinkAddresses(addresses, nil) {
		subnets[p.index] = append(subnets[p.index], p.Prefix)
	}
	for _, a := range addresses {
		if isNetwork(a.Prefix.Masked()) {
			own[a.Index] = append(own[a.Index], a.Prefix.Addr())
		}
	}
	var all []Network
	for _, found := range links {
		index := found.Attrs().Index
		l, err := describe(found)
		if err != nil || !l.Usable {
			continue // removed meanwhile, or down: it carries nothing now
		}
		list := subnets[index]
		slices.SortFunc(list, comparePrefix)
		all = append(all, Network{
			Link: l, Names: found.Attrs().AltNames, Subnets: slices.Compact(list), Addresses: own[index],
			Default: index == default4 || index == default6,
			Pod:     len(list) == 0 && found.Type() == "veth",
		})
	}
	slices.SortFunc(all, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// allLinks lists the links. A dump during which something changed is read again.
func allLinks() (links []netlink.Link, err error) {
	for range dumpTries {
		links, err = netlink.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
