package link

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Network is a usable link with its on-link networks.
type Network struct {
	Link
	// Names are the link's alternative names.
	Names []string
	// Subnets are sorted. A link for Services alone, as many a VLAN, may have none.
	Subnets []netip.Prefix
	// Addresses are the host's own on the link: those with a network. A host route may be the
	// virtual IP of any program.
	Addresses []netip.Addr
	// Default reports whether the link has a default route of either family.
	Default bool
	// Pod reports whether the link looks like one end of a pair to a pod: a veth without a subnet.
	Pod bool
}

// Networks returns the usable links of this host, sorted by name. Host routes and link-local
// prefixes are not subnets. It returns an error if it cannot read one of the links: a link that it
// left out would count as removed.
func Networks() ([]Network, error) {
	addresses, err := Addresses()
	if err != nil {
		return nil, err
	}
	links, err := consistent(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
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
		l, err := describeUnlessRemoved(found)
		if err != nil {
			return nil, err
		}
		if !l.Usable {
			continue
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

// describeUnlessRemoved is describe for a link of a list. A link whose master was removed meanwhile
// is not usable.
func describeUnlessRemoved(found netlink.Link) (Link, error) {
	l, err := describe(found)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Link{}, nil
	}
	return l, err
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
