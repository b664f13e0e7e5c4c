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

// Services returns all Services, sorted by namespace and name.
func (c *Cache) Services() []*Service {
	return sorted(c.services.all(), func(s *Service) string { return string(s.Key()) })
}

// Backend names the endpoints of a Service that serve an address of one family.
type Backend struct {
	Service ipam.ServiceKey
	Family  ipam.Family
}

// Endpoints returns the nodes with endpoints that accept traffic, by Service and family.
func (c *Cache) Endpoints() map[Backend]placement.Endpoints {
	all := map[Backend]placement.Endpoints{}
	for _, s := range c.slices.all() {
		key := Backend{s.Service, s.Family}
		have := all[key]
		if have == nil {
			all[key] = s.Nodes
			continue
		}
		merged := maps.Clone(have) // the map belongs to the EndpointSlice
		for node, readiness := range s.Nodes {
			if old, ok := merged[node]; !ok || betterReadiness(readiness, old) {
				merged[node] = readiness
			}
		}
		all[key] = merged
	}
	return all
}

// Servers returns the addresses ("address:port") of all API servers, sorted: at most
// apiclient.MaxServers, whatever the EndpointSlices list.
func (c *Cache) Servers() []string {
	var all []string
	for _, s := range c.slices.all() {
		all = append(all, s.servers...)
	}
	slices.Sort(all)
	return first(slices.Compact(all), apiclient.MaxServers)
}

// Nodes returns all Nodes by name.
func (c *Cache) Nodes() map[string]*Node {
	all := map[string]*Node{}
	for _, n := range c.nodes.all() {
		all[n.Name] = n
	}
	return all
}

// Node returns one Node, nil if there is none of that name.
func (c *Cache) Node(name string) *Node {
	n, _ := c.nodes.get("", name)
	return n
}

// NodeAddresses returns the addresses of all Nodes with the Nodes' names. No Service may have one.
func (c *Cache) NodeAddresses() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, n := range c.nodes.all() {
		for _, a := range n.Addresses {
			all[a] = n.Name
		}
	}
	return all
}

// Lease returns the Lease of a node, a shard or a control plane, nil if there is none of that name.
func (c *Cache) Lease(name string) *Lease {
	l, _ := c.leases.get(c.cfg.Namespace, name)
	return l
}

// Leases returns the Leases of nodes, shards and control planes, sorted by name.
func (c *Cache) Leases() []*Lease {
	return sorted(c.leases.all(), func(l *Lease) string { return l.Name })
}

// LeaderLease returns the Lease of the leading allocator, nil if there is none.
func (c *Cache) LeaderLease() *Lease {
	l, _ := c.leader.get(c.cfg.Namespace, c.cfg.Lease)
	return l
}

// Ledger returns the ledger as this node has seen it. If two shards have an address, the first one
// counts, as for the allocator. Entries of a deleted Lease count for a while (S4).
func (c *Cache) Ledger() ipam.Ledger {
	shards := slices.DeleteFunc(c.leases.all(), func(l *Lease) bool { return l.Role != RoleLedger })
	slices.SortFunc(shards, func(a, b *Lease) int { // by number: a shorter name has a smaller one
		return cmp.Or(len(a.Name)-len(b.Name), strings.Compare(a.Name, b.Name))
	})
	all := ipam.Ledger{}
	for _, l := range slices.Backward(shards) {
		maps.Copy(all, l.Entries)
	}
	return c.WithDeletedEntries(all)
}

// WithDeletedEntries returns l, a ledger, with the entries of Leases that were deleted a short time
// ago.
func (c *Cache) WithDeletedEntries(l ipam.Ledger) ipam.Ledger { return c.deleted.merge(l) }

// Pools returns all IPPools sorted by name, also invalid ones.
func (c *Cache) Pools() []*Pool {
	return sorted(c.pools.all(), func(p *Pool) string { return p.ObjectMeta.Name })
}

// KubeVIPPools returns the pools of kube-vip's ConfigMap, and the problems of its values.
func (c *Cache) KubeVIPPools() ([]ipam.Pool, []error) {
	for _, m := range c.kubevip.all() {
		return m.Pools, m.Problems
	}
	return nil, nil
}

// Interfaces returns the interface for Services that name none, by namespace. That of "" is for all
// other namespaces.
func (c *Cache) Interfaces() map[string]string {
	for _, m := range c.kubevip.all() {
		return m.Interfaces
	}
	return nil
}

// Networks returns the networks of the cluster's Services and of the nodes' pods. If the former are
// not known, the address of each Service is one. It returns nil if addresses only come from pools.
func (c *Cache) Networks() []ipam.Network {
	if !c.cfg.Reader.KubeVIP {
		return nil
	}
	var all []ipam.Network
	for _, one := range c.cidrs.all() {
		for _, p := range one.prefixes {
			usedBy := "the network of the cluster's Services, " + p.String()
			all = append(all, ipam.Network{Prefix: p, UsedBy: usedBy})
		}
	}
	if len(all) == 0 {
		for _, s := range c.services.all() {
			usedBy := "Service " + string(s.Key()) + " inside the cluster"
			for _, a := range s.ClusterIPs {
				all = append(all, ipam.Network{Prefix: netip.PrefixFrom(a, a.BitLen()), UsedBy: usedBy})
			}
		}
	}
	for _, n := range c.nodes.all() {
		for _, p := range n.PodCIDRs {
			all = append(all, ipam.Network{Prefix: p, UsedBy: "the pods of node " + n.Name})
		}
	}
	return sorted(all, func(n ipam.Network) string { return n.UsedBy })
}

// sorted sorts list by a text of each element, and returns it.
func sorted[T any](list []T, key func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	return list
}

// first returns at most n elements of list.
func first[T any](list []T, n int) []T { return list[:min(len(list), n)] }
