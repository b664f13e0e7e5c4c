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

// vipMaxAge is how long an address counts as a VIP after the last evidence.
const vipMaxAge = 10 * time.Minute

// vipHistory has the VIPs of the control plane.
type vipHistory struct {
	evidence map[netip.Addr]evidence
	versions map[string]string // of the Leases: one that is not written any more is no evidence
}

// evidence is the last instant at which an address was a VIP, and the port of the API there.
type evidence struct {
	at   time.Duration
	port uint16
}

func newVIPHistory() *vipHistory {
	return &vipHistory{evidence: map[netip.Addr]evidence{}, versions: map[string]string{}}
}

// adopt adds the VIPs that the former allocator recorded in the ledger.
func (v *vipHistory) adopt(l ipam.Ledger, port uint16, now time.Duration) {
	for addr, entries := range l {
		for _, entry := range entries {
			if _, known := v.evidence[addr]; known || entry.Service != ipam.ControlPlane {
				continue
			}
			e := evidence{at: now, port: port}
			if len(entry.Ports) > 0 {
				e.port = entry.Ports[0].Number
			}
			v.evidence[addr] = e
		}
	}
}

// observe reads the Leases of the control plane, and those of nodes that have a VIP, if they were
// written since the last call. port is that of VIPs without a known port.
func (v *vipHistory) observe(leases []*svc.Lease, port uint16, now time.Duration) {
	present := map[string]bool{}
	for _, l := range leases {
		present[l.Name] = true
		if v.versions[l.Name] == l.ResourceVersion {
			continue
		}
		v.versions[l.Name] = l.ResourceVersion
		for _, addr := range l.Info.ControlPlane {
			v.evidence[addr] = evidence{at: now, port: cmp.Or(v.evidence[addr].port, port)}
		}
		for _, a := range l.ControlPlane {
			v.evidence[a.Addr()] = evidence{now, a.Port()}
		}
	}
	maps.DeleteFunc(v.versions, func(name, _ string) bool { return !present[name] })
	maps.DeleteFunc(v.evidence, func(_ netip.Addr, e evidence) bool { return now-e.at > vipMaxAge })
}

// reserved returns the addresses of nodes, those that no host of their subnets can use, the
// networks of the cluster, and the VIPs, which can be shared.
func (a *Allocator) reserved() ipam.Reserved {
	all := ipam.Reserved{
		Addresses: map[netip.Addr]ipam.Reservation{}, Networks: a.cfg.Cache.Networks(),
	}
	leases := a.cfg.Cache.Leases()
	for _, p := range subnets(leases) {
		for addr, name := range netaddr.SubnetAddresses(p) {
			all.Addresses[addr] = ipam.Reservation{
				Reason: ipam.SubnetAddress, UsedBy: "subnet " + p.String() + " of the nodes, as its " + name,
			}
		}
	}
	for _, l := range leases {
		for _, addr := range l.Info.Addresses { // of links, which the Node object may not have
			all.Addresses[addr] = ipam.Reservation{UsedBy: "node " + l.Info.Node}
		}
	}
	for addr, node := range a.cfg.Cache.NodeAddresses() {
		all.Addresses[addr] = ipam.Reservation{UsedBy: "node " + node}
	}
	for addr, port := range a.controlPlaneVIPs(leases) {
		all.Addresses[addr] = ipam.Reservation{
			UsedBy: "the control plane", Service: ipam.ControlPlane,
			Ports: []ipam.Port{{Protocol: "TCP", Number: port}},
		}
	}
	return all
}

// subnets returns the prefixes that nodes have on their links, sorted.
func subnets(leases []*svc.Lease) []netip.Prefix {
	var all []netip.Prefix
	for _, l := range leases {
		for _, link := range l.Info.Links {
			for _, p := range link.Subnets {
				all = append(all, p.Masked())
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// controlPlaneVIPs returns the VIPs that are configured, in the control plane's Lease, or recently
// on a node, with their ports.
func (a *Allocator) controlPlaneVIPs(leases []*svc.Lease) map[netip.Addr]uint16 {
	a.vips.observe(leases, uint16(a.cfg.Port), a.cfg.Clock())
	all := map[netip.Addr]uint16{}
	for addr, e := range a.vips.evidence {
		all[addr] = e.port
	}
	for _, addr := range a.cfg.ControlPlane {
		all[addr] = uint16(a.cfg.Port)
	}
	return all
}
