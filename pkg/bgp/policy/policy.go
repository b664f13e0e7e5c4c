package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/bgp"
)

// Node is the node that announces.
type Node struct {
	Name   string
	Labels map[string]string
}

// Peer is a peer of some nodes.
type Peer struct {
	bgp.PeerConfig
	// Object is the name by which advertisements select the peer; empty: that of the session.
	Object string
	// Nodes selects the nodes with a session; none: all.
	Nodes []Selector
}

// Advertisement selects addresses, and how which peers receive them.
type Advertisement struct {
	Name string
	// Pools are names of pools, PoolSelectors select others by their labels. Both empty: all pools.
	Pools         []string
	PoolSelectors []Selector
	// Services selects Services by their labels; none: all.
	Services []Selector
	// Nodes selects the nodes that announce; none: all.
	Nodes []Selector
	// Peers are names of peers; none: all.
	Peers []string
	// Attributes of the routes.
	Attributes bgp.Attributes
	// AggregationLength is the length of the announced prefix of each family: an address is
	// announced as the network of this length that contains it. 0: the address itself.
	AggregationLength [2]int
	// WithdrawWithoutEndpoints withdraws addresses of Services without a ready endpoint.
	WithdrawWithoutEndpoints bool
}

// Address is an address that this node serves.
type Address struct {
	Addr netip.Addr
	// ControlPlane: it is one of the control plane, which all advertisements without pools and
	// Services select.
	ControlPlane bool
	// Pool is the pool of an address of Services, with its labels.
	Pool       string
	PoolLabels map[string]string
	// Services are the labels of each Service that has the address.
	Services []map[string]string
	// Worse: every other node serves it better (B5).
	Worse bool
	// WithoutEndpoints: no Service of the address has a ready endpoint.
	WithoutEndpoints bool
}

// Peers returns the peers of a node.
func Peers(node Node, all []Peer) []Peer {
	var list []Peer
	for _, p := range all {
		if matchesAny(p.Nodes, node.Labels) {
			list = append(list, p)
		}
	}
	return list
}

// Routes returns what each of the peers receives from a node, by the name of the session. An
// address that no advertisement selects is not announced. If several select it for one peer, the
// route has the communities of all, and each other attribute from the first one by name that sets
// it.
func Routes(node Node, peers []Peer, ads []Advertisement, addresses []Address,
) map[string][]bgp.Route {
	ads = slices.SortedFunc(slices.Values(ads), func(a, b Advertisement) int {
		return cmp.Compare(a.Name, b.Name)
	})
	ads = slices.DeleteFunc(ads, func(a Advertisement) bool {
		return !matchesAny(a.Nodes, node.Labels)
	})
	result := make(map[string][]bgp.Route, len(peers))
	for _, peer := range peers {
		t := table{index: map[netip.Prefix]int{}}
		for _, address := range addresses {
			for _, ad := range ads {
				if ad.selects(address) && ad.goesTo(peer) {
					t.add(ad.prefix(address.Addr), address, ad.Attributes)
				}
			}
		}
		result[peer.Name] = t.routes()
	}
	return result
}

// goesTo reports whether a peer receives what the advertisement selects.
func (ad Advertisement) goesTo(p Peer) bool {
	return len(ad.Peers) == 0 || slices.Contains(ad.Peers, cmp.Or(p.Object, p.Name))
}

// selects reports whether the advertisement announces an address.
func (ad Advertisement) selects(a Address) bool {
	if a.ControlPlane {
		return ad.anyPool() && len(ad.Services) == 0
	}
	if ad.WithdrawWithoutEndpoints && a.WithoutEndpoints {
		return false
	}
	pool := ad.anyPool() || slices.Contains(ad.Pools, a.Pool) ||
		len(ad.PoolSelectors) > 0 && matchesAny(ad.PoolSelectors, a.PoolLabels)
	return pool && (len(ad.Services) == 0 ||
		slices.ContainsFunc(a.Services, func(labels map[string]string) bool {
			return matchesAny(ad.Services, labels)
		}))
}

// anyPool reports whether the advertisement is for all pools.
func (ad Advertisement) anyPool() bool { return len(ad.Pools) == 0 && len(ad.PoolSelectors) == 0 }

// prefix returns the prefix under which an address is announced.
func (ad Advertisement) prefix(a netip.Addr) netip.Prefix {
	bits := cmp.Or(ad.AggregationLength[bgp.FamilyOf(a)], a.BitLen())
	return netip.PrefixFrom(a, min(bits, a.BitLen())).Masked()
}

// table collects the routes of one peer.
type table struct {
	index map[netip.Prefix]int
	list  []bgp.Route
}

// add adds an address to the route of a prefix. A route of several addresses is worse only if it is
// for all of them.
func (t *table) add(p netip.Prefix, a Address, attributes bgp.Attributes) {
	i, known := t.index[p]
	if !known {
		i = len(t.list)
		t.index[p] = i
		t.list = append(t.list, bgp.Route{Prefix: p, Attributes: bgp.Attributes{Worse: a.Worse}})
	}
	r := &t.list[i]
	r.Worse = r.Worse && a.Worse
	r.ControlPlane = r.ControlPlane || a.ControlPlane
	r.Prepend = cmp.Or(r.Prepend, attributes.Prepend)
	r.LocalPref = cmp.Or(r.LocalPref, attributes.LocalPref)
	r.MED = cmp.Or(r.MED, attributes.MED)
	r.Communities = union(r.Communities, attributes.Communities, cmp.Compare)
	r.LargeCommunities = union(r.LargeCommunities, attributes.LargeCommunities,
		bgp.LargeCommunity.Compare)
}

// union returns the elements of two lists in order.
func union[T comparable](a, b []T, compare func(a, b T) int) []T {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

// routes returns the routes, those of the control plane first, and then by prefix.
func (t *table) routes() []bgp.Route {
	slices.SortStableFunc(t.list, func(a, b bgp.Route) int {
		if a.ControlPlane != b.ControlPlane {
			if a.ControlPlane {
				return -1
			}
			return 1
		}
		return a.Prefix.Compare(b.Prefix)
	})
	return t.list
}
