package allocator

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/svc"
)

// rememberControlPlane is for how long an address counts as the control plane's after the last sign of that.
const rememberControlPlane = 10 * time.Minute

// controlPlane remembers the control plane's virtual IPs.
type controlPlane struct {
	seen     map[netip.Addr]sighting
	versions map[string]string // of the control plane's Leases: one that is not written any more is no sign
}

// sighting is when there last was a sign of an address, and the port that the API has there.
type sighting struct {
	at   time.Duration
	port uint16
}

func newControlPlane() *controlPlane {
	return &controlPlane{seen: map[netip.Addr]sighting{}, versions: map[string]string{}}
}

// adopt takes over what the former allocator has noted in the ledger.
func (c *controlPlane) adopt(l ipam.Ledger, port uint16, now time.Duration) {
	for addr, holders := range l {
		for _, h := range holders {
			if _, known := c.seen[addr]; known || h.Owner != ipam.ControlPlane {
				continue
			}
			s := sighting{at: now, port: port}
			if len(h.Ports) > 0 {
				s.port = h.Ports[0].Number
			}
			c.seen[addr] = s
		}
	}
}

// look notes what the Leases say: that of the control plane, and those of nodes which have its address. port is
// the one of those that do not tell it.
func (c *controlPlane) look(leases []*svc.Lease, port uint16, now time.Duration) {
	present := map[string]bool{}
	for _, l := range leases {
		for _, addr := range l.Info.ControlPlane {
			c.seen[addr] = sighting{at: now, port: cmp.Or(c.seen[addr].port, port)}
		}
		if l.Role != svc.RoleControlPlane {
			continue
		}
		present[l.Name] = true
		if c.versions[l.Name] == l.ResourceVersion {
			continue
		}
		c.versions[l.Name] = l.ResourceVersion
		for _, a := range l.ControlPlane {
			c.seen[a.Addr()] = sighting{now, a.Port()}
		}
	}
	maps.DeleteFunc(c.versions, func(name, _ string) bool { return !present[name] })
	maps.DeleteFunc(c.seen, func(_ netip.Addr, s sighting) bool { return now-s.at > rememberControlPlane })
}

// reserved are the addresses of nodes, those that no host of their subnets can use, the networks of the cluster,
// and the control plane's addresses, which can be shared.
func (a *Allocator) reserved() ipam.Reserved {
	all := ipam.Reserved{Addresses: map[netip.Addr]ipam.Reservation{}, Networks: a.cfg.Cache.Networks()}
	for _, p := range a.subnets() {
		for addr, what := range netaddr.SubnetAddresses(p) {
			all.Addresses[addr] = ipam.Reservation{Reason: ipam.SubnetAddress, Holder: "subnet " + p.String() + " of the nodes, as its " + what}
		}
	}
	for _, l := range a.cfg.Cache.Leases() {
		for _, addr := range l.Info.Addresses { // those of links that the Node object does not have
			all.Addresses[addr] = ipam.Reservation{Holder: "node " + l.Info.Node}
		}
	}
	for addr, node := range a.cfg.Cache.NodeAddresses() {
		all.Addresses[addr] = ipam.Reservation{Holder: "node " + node}
	}
	for addr, port := range a.controlPlaneAddresses() {
		all.Addresses[addr] = ipam.Reservation{Holder: "the control plane", Owner: ipam.ControlPlane, Ports: []ipam.Port{{Protocol: "TCP", Number: port}}}
	}
	return all
}

// subnets returns what nodes have on their links, as they publish it, sorted.
func (a *Allocator) subnets() []netip.Prefix {
	var all []netip.Prefix
	for _, l := range a.cfg.Cache.Leases() {
		for _, link := range l.Info.Links {
			for _, p := range link.Subnets {
				all = append(all, p.Masked())
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// controlPlaneAddresses returns the virtual IPs that are configured, that their Lease names, or that a node had
// a short time ago, with their ports.
func (a *Allocator) controlPlaneAddresses() map[netip.Addr]uint16 {
	a.control.look(a.cfg.Cache.Leases(), uint16(a.cfg.Port), a.cfg.Clock())
	all := map[netip.Addr]uint16{}
	for addr, s := range a.control.seen {
		all[addr] = s.port
	}
	for _, addr := range a.cfg.ControlPlane {
		all[addr] = uint16(a.cfg.Port)
	}
	return all
}
