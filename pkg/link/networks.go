package link

import (
	"cmp"
	"net/netip"
	"slices"
)

// Network is a link with the networks that it reaches without a gateway.
type Network struct {
	Link
	Subnets []netip.Prefix // sorted
}

// Networks returns the usable links of this host that have a network of their own, by name. Host routes,
// link-local prefixes and the loopback are none.
func Networks() ([]Network, error) {
	addresses, err := Addresses()
	if err != nil {
		return nil, err
	}
	subnets := map[int][]netip.Prefix{}
	for _, p := range onLinkAddresses(addresses, nil) {
		subnets[p.index] = append(subnets[p.index], p.Prefix)
	}
	var all []Network
	for index, list := range subnets {
		found, err := Get(index)
		if err != nil || !found.Usable {
			continue // removed meanwhile, or down: it carries nothing now
		}
		slices.SortFunc(list, comparePrefix)
		all = append(all, Network{Link: found, Subnets: slices.Compact(list)})
	}
	slices.SortFunc(all, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
