package svc

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

// Services returns every Service, in the order of namespace and name.
func (c *Cache) Services() []*Service {
	list := c.services.all()
	slices.SortFunc(list, func(a, b *Service) int { return strings.Compare(string(a.Owner()), string(b.Owner())) })
	return list
}

// Backend names the endpoints of a Service that serve an address of one family.
type Backend struct {
	Owner  ipam.Owner
	Family ipam.Family
}

// Endpoints returns, for each Service and family, the nodes with endpoints that take traffic.
func (c *Cache) Endpoints() map[Backend]placement.Endpoints {
	all := map[Backend]placement.Endpoints{}
	for _, s := range c.slices.all() {
		key := Backend{s.Owner, s.Family}
		have := all[key]
		if have == nil {
			all[key] = s.Nodes
			continue
		}
		merged := make(placement.Endpoints, len(have)+len(s.Nodes))
		for _, from := range []placement.Endpoints{have, s.Nodes} {
			for node, readiness := range from {
				if old, ok := merged[node]; !ok || better(readiness, old) {
					merged[node] = readiness
				}
			}
		}
		all[key] = merged
	}
	return all
}

// Servers returns the addresses ("address:port") of all API servers, sorted.
func (c *Cache) Servers() []string {
	var all []string
	for _, s := range c.slices.all() {
		all = append(all, s.servers...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxServers)]
}

// maxServers bounds how many API servers are asked, whatever the EndpointSlices list.
const maxServers = apiclient.MaxServers

// Nodes returns every Node by its name.
func (c *Cache) Nodes() map[string]*Node {
	all := map[string]*Node{}
	for _, n := range c.nodes.all() {
		all[n.Name] = n
	}
	return all
}

// Node returns one Node, nil if there is none of the name.
func (c *Cache) Node(name string) *Node {
	n, _ := c.nodes.get("", name)
	return n
}

// Lease returns one of the Leases, nil if there is none of the name.
func (c *Cache) Lease(name string) *Lease {
	l, _ := c.leases.get(c.cfg.Namespace, name)
	return l
}

// Leases returns the Leases of the Services part, but the seat's, in the order of their names.
func (c *Cache) Leases() []*Lease {
	list := c.leases.all()
	slices.SortFunc(list, func(a, b *Lease) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Leader returns the Lease whose holder gives out addresses, nil where there is none.
func (c *Cache) LeaderLease() *Lease {
	l, _ := c.seat.get(c.cfg.Namespace, c.cfg.Lease)
	return l
}

// Ledger returns which Service has which address, as far as this node has seen. Of an address that two
// shards have the first counts, as for the allocator. What a deleted Lease had counts for a while (S4).
func (c *Cache) Ledger() ipam.Ledger {
	shards := slices.DeleteFunc(c.leases.all(), func(l *Lease) bool { return l.Role != RoleLedger })
	slices.SortFunc(shards, shardOrder)
	all := ipam.Ledger{}
	for _, l := range slices.Backward(shards) {
		maps.Copy(all, l.Entries)
	}
	return c.WithDeletedEntries(all)
}

// WithDeletedEntries returns l, the ledger or what is left of it, with the entries of Leases that were deleted a short
// time ago.
func (c *Cache) WithDeletedEntries(l ipam.Ledger) ipam.Ledger { return c.vanished.restored(l) }

func shardOrder(a, b *Lease) int {
	return cmp.Or(len(a.Name)-len(b.Name), strings.Compare(a.Name, b.Name))
}

// Pools returns the IPPools by name, also those that cannot be used.
func (c *Cache) Pools() []*Pool {
	list := c.pools.all()
	slices.SortFunc(list, func(a, b *Pool) int { return strings.Compare(a.ObjectMeta.Name, b.ObjectMeta.Name) })
	return list
}

// KubeVIPPools returns the pools of kube-vip's ConfigMap, and what is wrong with its values.
func (c *Cache) KubeVIPPools() ([]ipam.Pool, []error) {
	for _, l := range c.legacy.all() {
		return l.Pools, l.Problems
	}
	return nil, nil
}

// Interfaces returns, by namespace, the interface for Services that name none, "" for all others.
func (c *Cache) Interfaces() map[string]string {
	for _, l := range c.legacy.all() {
		return l.Interfaces
	}
	return nil
}

// ControlPlane returns the control plane's virtual IPs and their ports, as far as Leases in this namespace tell
// them. That such a Lease is renewed no more is not looked at.
func (c *Cache) ControlPlane() map[netip.Addr]uint16 {
	all := map[netip.Addr]uint16{}
	for _, l := range c.leases.all() {
		for _, a := range l.ControlPlane {
			all[a.Addr()] = a.Port()
		}
	}
	return all
}

// Networks returns the cluster's own networks: that of its Services, and those of the nodes' pods. Where the
// former is not told, each Service's address is one.
func (c *Cache) Networks() []ipam.Network {
	if !c.cfg.Reader.KubeVIP {
		return nil // no address is given that is in no pool
	}
	var all []ipam.Network
	for _, one := range c.cidrs.all() {
		for _, p := range one.prefixes {
			all = append(all, ipam.Network{Prefix: p, Holder: "the network of the cluster's Services, " + p.String()})
		}
	}
	if len(all) == 0 {
		for _, s := range c.services.all() {
			for _, a := range s.ClusterIPs {
				all = append(all, ipam.Network{Prefix: netip.PrefixFrom(a, a.BitLen()), Holder: "Service " + string(s.Owner()) + " inside the cluster"})
			}
		}
	}
	for _, n := range c.nodes.all() {
		for _, p := range n.PodCIDRs {
			all = append(all, ipam.Network{Prefix: p, Holder: "the pods of node " + n.Name})
		}
	}
	slices.SortFunc(all, func(a, b ipam.Network) int { return strings.Compare(a.Holder, b.Holder) })
	return all
}

// NodeAddresses returns the addresses that Nodes have: no Service may have one.
func (c *Cache) NodeAddresses() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, n := range c.nodes.all() {
		for _, a := range n.Addresses {
			all[a] = n.Name
		}
	}
	return all
}
